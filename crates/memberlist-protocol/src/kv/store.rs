//! The keys of one member.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::codec::{BadValue, Origin};
use super::pair::KeyValuePair;
use super::state::{self, Pairs};
use crate::broadcast::Broadcast;
use crate::codec::Error;
use crate::message::Message;

/// What becomes of a key when something is said of it. [`Dskit`](super::Dskit) has the rules of Go's
/// members; a member whose entries say more has rules of its own, as long as all end with the same
/// value on either side.
pub trait Rules {
    /// Merges a pair into what is stored; `None` when that changes nothing.
    ///
    /// # Errors
    /// When the pair is passed over.
    fn merge(
        &mut self,
        stored: Option<&Entry>,
        incoming: Incoming,
        now_ms: i64,
    ) -> Result<Option<Merged>, Rejection>;
}

/// A pair that is to be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// What it says. Its value is not empty.
    pub pair: KeyValuePair,
    /// All of it as it came, with fields that only the rules know.
    pub bytes: Bytes,
    /// Who says it.
    pub origin: Origin,
}

/// What a merge has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What is stored from now on.
    pub stored: Stored,
    /// What is sent to others; `None` for what they need not know.
    pub told: Option<Told>,
}

/// A pair as it is stored and exchanged, with all of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// A pair, with fields that only the rules know.
    pub bytes: Bytes,
    /// Whether the key is deleted.
    pub deleted: bool,
    /// When it was deleted, in Unix milliseconds; else 0.
    pub update_time_ms: i64,
}

/// What is told of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// A pair, of which the value is what has changed.
    pub bytes: Bytes,
    /// The parts of the value that have changed; empty for all.
    pub contents: Vec<String>,
}

/// What a store holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Keys, deleted ones included. More are not taken.
    pub keys: usize,
    /// Bytes of keys and pairs together. What would add to them is not taken.
    pub bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            keys: 1 << 20,
            bytes: 1 << 30,
        }
    }
}

/// A key in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    stored: Stored,
    version: u64,
}

impl Entry {
    /// The pair.
    pub fn pair(&self) -> KeyValuePair {
        // What is stored was read when it came, or was written here.
        KeyValuePair::read(self.stored.bytes.clone()).unwrap_or_default()
    }

    /// The pair's bytes, with fields that only the rules know.
    pub fn bytes(&self) -> &Bytes {
        &self.stored.bytes
    }

    /// Whether the key was deleted.
    pub fn is_deleted(&self) -> bool {
        self.stored.deleted
    }

    /// When it was deleted, in Unix milliseconds; else 0.
    pub fn update_time_ms(&self) -> i64 {
        self.stored.update_time_ms
    }

    /// Grows by one with every change that is told. Never sent.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// What has changed, for the caller's watches and for other members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its version with the change.
    pub version: u64,
    /// What is sent: the change, and not what was received.
    pub told: Told,
}

impl Change {
    /// The change as an item of a broadcast queue: it takes the place of those of its key that it
    /// makes superfluous.
    pub fn broadcast(self) -> Broadcast {
        Broadcast {
            topic: self.key,
            contents: self.told.contents,
            version: self.version,
            // A type byte stands in front.
            len: self.told.bytes.len() + 1,
            message: Message::User(self.told.bytes),
        }
    }
}

/// Why something from another member was passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is not a pair.
    #[error(transparent)]
    Malformed(#[from] Error),
    /// Its codec is not registered: it belongs to others that use the ring.
    #[error("codec {0:?} is not registered")]
    UnknownCodec(String),
    /// Its value cannot be read.
    #[error("key {key:?}: {problem}")]
    BadValue {
        /// The key.
        key: String,
        /// What is wrong.
        problem: BadValue,
    },
    /// The key is stored with another codec.
    #[error("key {key:?} has codec {theirs:?}, and is stored with {ours:?}")]
    OtherCodec {
        /// The key.
        key: String,
        /// The codec that came.
        theirs: String,
        /// The codec that is stored.
        ours: String,
    },
    /// The store is full.
    #[error("key {0:?} does not fit: the store is full")]
    Full(String),
}

/// How much was passed over since the begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pairs with a codec that is not registered.
    pub unknown_codec: u64,
    /// Pairs that are malformed, or whose value is, or that came with another codec.
    pub invalid: u64,
    /// Pairs for which there was no room.
    pub full: u64,
}

/// What came of another member's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateOutcome {
    /// What it has changed.
    pub changes: Vec<Change>,
    /// How many pairs it had that could be read.
    pub pairs: usize,
    /// Where reading ended early. What stood before was merged.
    pub error: Option<Error>,
}

/// All keys of a member. Has no clock: times are given, in Unix milliseconds.
#[derive(Debug)]
pub struct Store<R> {
    pub(super) rules: R,
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    limits: StoreLimits,
    counts: Counts,
}

impl<R: Rules> Store<R> {
    /// An empty store.
    pub fn new(rules: R, limits: StoreLimits) -> Self {
        Self {
            rules,
            entries: BTreeMap::new(),
            bytes: 0,
            limits,
            counts: Counts::default(),
        }
    }

    /// The rules, and what they know.
    pub fn rules(&self) -> &R {
        &self.rules
    }

    /// Takes a user message of another member; `None` when nothing has changed, and nothing is to be
    /// relayed.
    ///
    /// # Errors
    /// When it is passed over, which is counted as well.
    pub fn receive(&mut self, message: Bytes, now_ms: i64) -> Result<Option<Change>, Rejection> {
        let pair = KeyValuePair::read(message.clone()).map_err(Rejection::from);
        let merged = pair.and_then(|pair| self.receive_pair(pair, message, now_ms));
        if let Err(rejection) = &merged {
            self.count(rejection);
        }
        merged
    }

    fn receive_pair(
        &mut self,
        pair: KeyValuePair,
        bytes: Bytes,
        now_ms: i64,
    ) -> Result<Option<Change>, Rejection> {
        let incoming = Incoming {
            pair,
            bytes,
            origin: Origin::Member,
        };
        self.merge(incoming, now_ms)
    }

    /// Takes all that another member holds. Pairs that are passed over are counted.
    pub fn receive_state(&mut self, state: Bytes, now_ms: i64) -> StateOutcome {
        let mut outcome = StateOutcome::default();
        for pair in Pairs::new(state) {
            let pair = match pair {
                Ok(pair) => pair,
                Err(error) => {
                    self.counts.invalid += 1;
                    outcome.error = Some(error);
                    break;
                }
            };
            match self.receive(pair, now_ms) {
                Ok(change) => outcome.changes.extend(change),
                // As dskit does: what follows may be anything.
                Err(Rejection::Malformed(error)) => {
                    outcome.error = Some(error);
                    break;
                }
                Err(_) => {}
            }
            outcome.pairs += 1;
        }
        outcome
    }

    /// Stores what the caller has merged already, by the same rules, whatever the bounds; what is to
    /// be told of it, which is all of it.
    pub fn put(&mut self, key: String, stored: Stored) -> Change {
        let told = Told {
            bytes: stored.bytes.clone(),
            contents: Vec::new(),
        };
        let version = self.replace(&key, stored, true);
        Change { key, version, told }
    }

    /// Forgets a key. Other members keep it.
    pub fn forget(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= key.len() + entry.stored.bytes.len();
        }
    }

    /// What is stored for a key. Deleted keys are there until they are forgotten.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The keys that begin with a prefix, in order.
    pub fn list<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (&'s str, &'s Entry)> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// How many keys are stored, deleted ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is stored.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and pairs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was passed over.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// All that is stored, for an exchange of states.
    ///
    /// # Errors
    /// When a pair is longer than 4 GiB.
    pub fn local_state(&self) -> Result<Bytes, Error> {
        let mut state = Vec::with_capacity(self.bytes + 4 * self.entries.len());
        for entry in self.entries.values() {
            state::append(&mut state, &entry.stored.bytes)?;
        }
        Ok(state.into())
    }

    fn count(&mut self, rejection: &Rejection) {
        let counter = match rejection {
            Rejection::UnknownCodec(_) => &mut self.counts.unknown_codec,
            Rejection::Full(_) => &mut self.counts.full,
            _ => &mut self.counts.invalid,
        };
        *counter += 1;
    }

    pub(super) fn merge(
        &mut self,
        mut incoming: Incoming,
        now_ms: i64,
    ) -> Result<Option<Change>, Rejection> {
        if incoming.pair.value.is_empty() {
            incoming.pair.value = Bytes::from_static(super::value::EMPTY);
        }
        let key = incoming.pair.key.clone();
        let known = self.entries.get(&key);
        if known.is_some_and(|entry| entry.stored.bytes == incoming.bytes) {
            // Most that is received was received before.
            return Ok(None);
        }
        let before = known.map(|entry| key.len() + entry.stored.bytes.len());
        if before.is_none() {
            // Before the rules keep anything of it.
            self.check_room(&key, None, key.len() + incoming.bytes.len())?;
        }
        let Some(merged) = self.rules.merge(known, incoming, now_ms)? else {
            return Ok(None);
        };
        let after = key.len() + merged.stored.bytes.len();
        self.check_room(&key, before, after)?;
        let version = self.replace(&key, merged.stored, merged.told.is_some());
        Ok(merged.told.map(|told| Change { key, version, told }))
    }

    /// Whether so many bytes fit in place of those of before.
    fn check_room(&self, key: &str, before: Option<usize>, after: usize) -> Result<(), Rejection> {
        let less = before.unwrap_or(0);
        let grows_over = after > less && self.bytes - less + after > self.limits.bytes;
        let is_one_too_many = before.is_none() && self.entries.len() >= self.limits.keys;
        if grows_over || is_one_too_many {
            return Err(Rejection::Full(key.to_owned()));
        }
        Ok(())
    }

    /// Stores a pair; the version of its key.
    fn replace(&mut self, key: &str, stored: Stored, is_told: bool) -> u64 {
        self.bytes += key.len() + stored.bytes.len();
        if let Some(entry) = self.entries.get_mut(key) {
            self.bytes -= key.len() + entry.stored.bytes.len();
            entry.stored = stored;
            entry.version += u64::from(is_told);
            return entry.version;
        }
        let entry = Entry { stored, version: 1 };
        self.entries.insert(key.to_owned(), entry);
        1
    }
}
