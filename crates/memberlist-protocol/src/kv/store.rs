//! The keys of one member, by dskit's rules.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::codec::{BadValue, Codec, Origin};
use super::pair::KeyValuePair;
use super::state::{self, Pairs};
use super::value;
use crate::broadcast::Broadcast;
use crate::codec::Error;
use crate::message::Message;

/// What a store holds, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Keys, deleted ones included. More are not taken.
    pub keys: usize,
    /// Bytes of keys and values together. What would add to them is not taken.
    pub bytes: usize,
    /// How long a deleted key is kept, so that members that have it hear of it: dskit's
    /// `obsolete_entries_timeout`.
    pub keep_deleted: Duration,
    /// How long deleted parts of a value are kept: dskit's `left_ingesters_timeout`.
    pub keep_deleted_parts: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            keys: 1 << 20,
            bytes: 1 << 30,
            keep_deleted: Duration::from_secs(30),
            keep_deleted_parts: Duration::from_secs(300),
        }
    }
}

/// A key in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value, as it is sent.
    pub value: Bytes,
    /// The name of its codec.
    pub codec: Arc<str>,
    /// Grows by one with every change. Never sent.
    pub version: u64,
    /// Whether the key was deleted. It is not revived: it goes with the sweep, and may come then.
    pub deleted: bool,
    /// When it was deleted, in Unix milliseconds; else 0.
    pub update_time_ms: i64,
}

/// What has changed, for the caller's watches and for other members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key's version with the change.
    pub version: u64,
    /// The parts of the value that have changed.
    pub contents: Vec<String>,
    /// What is sent: the change, and not what was received.
    pub pair: KeyValuePair,
}

impl Change {
    /// The change as an item of a broadcast queue: it takes the place of those of its key that it
    /// makes superfluous.
    pub fn broadcast(&self) -> Broadcast {
        let bytes = self.pair.to_bytes();
        Broadcast {
            topic: self.pair.key.clone(),
            contents: self.contents.clone(),
            version: self.version,
            // A type byte stands in front.
            len: bytes.len() + 1,
            message: Message::User(bytes),
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

/// Why a write from here was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key has changed since it was read: read it and try again, at most some ten times.
    #[error("the key has changed meanwhile")]
    Changed,
    /// The value does not win over the one that is stored: dskit tries again after a second.
    #[error("the merge has changed nothing")]
    Unchanged,
    /// The write cannot be made.
    #[error(transparent)]
    Rejected(#[from] Rejection),
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
pub struct Store {
    codecs: HashMap<Arc<str>, Arc<dyn Codec>>,
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    limits: StoreLimits,
    counts: Counts,
}

/// What a merge makes of an entry.
struct Next {
    value: Bytes,
    change: Bytes,
    contents: Vec<String>,
}

impl Next {
    /// The merge of a value into an entry; `None` if it changes nothing.
    fn of(
        codec: &dyn Codec,
        entry: &Entry,
        incoming: &Bytes,
        origin: Origin,
    ) -> Result<Option<Self>, BadValue> {
        let Some(merged) = codec.merge(&entry.value, incoming, origin)? else {
            return Ok(None);
        };
        let contents = codec.contents(&merged.change)?;
        let next = Self {
            value: merged.value,
            change: merged.change,
            contents,
        };
        Ok(Some(next).filter(|next| !next.contents.is_empty()))
    }

    /// A value of which all is new.
    fn whole(codec: &dyn Codec, value: &Bytes) -> Result<Self, BadValue> {
        Ok(Self {
            contents: codec.contents(value)?,
            value: value.clone(),
            change: value.clone(),
        })
    }

    /// Without the parts that were deleted long ago.
    fn swept(mut self, codec: &dyn Codec, before_ms: i64) -> Result<Self, BadValue> {
        if let Some(swept) = codec.sweep(&self.value, before_ms) {
            self.value = swept;
        }
        if let Some(swept) = codec.sweep(&self.change, before_ms) {
            self.contents = codec.contents(&swept)?;
            self.change = swept;
        }
        Ok(self)
    }
}

impl Store {
    /// An empty store.
    pub fn new(limits: StoreLimits) -> Self {
        Self {
            codecs: HashMap::new(),
            entries: BTreeMap::new(),
            bytes: 0,
            limits,
            counts: Counts::default(),
        }
    }

    /// Keeps values of this codec from now on. Register all before joining: pairs of others are passed
    /// over and not relayed.
    pub fn register(&mut self, name: &str, codec: Arc<dyn Codec>) {
        self.codecs.insert(name.into(), codec);
    }

    /// Takes a user message of another member; `None` when nothing has changed, and nothing is to be
    /// relayed.
    ///
    /// # Errors
    /// When it is passed over, which is counted as well.
    pub fn receive(&mut self, message: Bytes, now_ms: i64) -> Result<Option<Change>, Rejection> {
        let merged = KeyValuePair::read(message)
            .map_err(Rejection::from)
            .and_then(|pair| self.merge(pair, Origin::Member, now_ms));
        if let Err(rejection) = &merged {
            self.count(rejection);
        }
        merged
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

    /// Writes a value that was made from the one of `version`, 0 if there was none.
    ///
    /// # Errors
    /// When the key has changed since, the merge changes nothing, or the write cannot be made.
    pub fn write(
        &mut self,
        key: &str,
        codec: &str,
        value: Bytes,
        version: u64,
        now_ms: i64,
    ) -> Result<Change, WriteError> {
        let stored = self.entries.get(key).map_or(0, |entry| entry.version);
        if version != stored && version > 0 {
            return Err(WriteError::Changed);
        }
        let origin = if version > 0 {
            Origin::Local
        } else {
            Origin::Member
        };
        let pair = KeyValuePair {
            key: key.to_owned(),
            value,
            codec: codec.to_owned(),
            ..KeyValuePair::default()
        };
        self.merge(pair, origin, now_ms)?
            .ok_or(WriteError::Unchanged)
    }

    /// Deletes a key; `None` when it is not there or deleted already.
    ///
    /// # Errors
    /// When its value cannot be read.
    pub fn delete(&mut self, key: &str, now_ms: i64) -> Result<Option<Change>, Rejection> {
        let Some(entry) = self.entries.get(key).filter(|entry| !entry.deleted) else {
            return Ok(None);
        };
        let pair = KeyValuePair {
            key: key.to_owned(),
            value: entry.value.clone(),
            codec: entry.codec.to_string(),
            deleted: true,
            update_time_ms: now_ms,
        };
        self.merge(pair, Origin::Member, now_ms)
    }

    /// What is stored for a key. Deleted keys are there until they are swept.
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

    /// Bytes of all keys and values.
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
    /// When a value is longer than 4 GiB.
    pub fn local_state(&self) -> Result<Bytes, Error> {
        // A pair takes some ten bytes besides key and value.
        let mut state = Vec::with_capacity(self.bytes + 32 * self.entries.len());
        for (key, entry) in &self.entries {
            let pair = entry.pair(key.clone(), entry.value.clone());
            state::append(&mut state, &pair.to_bytes())?;
        }
        Ok(state.into())
    }

    /// Removes the keys that were deleted long ago, and returns them. Other members do the same by
    /// themselves: nothing is sent.
    pub fn sweep(&mut self, now_ms: i64) -> Vec<String> {
        let before = now_ms.saturating_sub(millis(self.limits.keep_deleted));
        let old = self.entries.extract_if(.., |_, entry| {
            entry.deleted && entry.update_time_ms < before
        });
        let mut removed = Vec::new();
        for (key, entry) in old {
            self.bytes -= key.len() + entry.value.len();
            removed.push(key);
        }
        removed
    }

    fn count(&mut self, rejection: &Rejection) {
        let counter = match rejection {
            Rejection::UnknownCodec(_) => &mut self.counts.unknown_codec,
            Rejection::Full(_) => &mut self.counts.full,
            _ => &mut self.counts.invalid,
        };
        *counter += 1;
    }

    /// dskit's merge of a pair: the value by its codec; a deletion if it is newer, and of a known key.
    fn merge(
        &mut self,
        mut pair: KeyValuePair,
        origin: Origin,
        now_ms: i64,
    ) -> Result<Option<Change>, Rejection> {
        let Some((name, codec)) = self.codecs.get_key_value(&*pair.codec) else {
            return Err(Rejection::UnknownCodec(pair.codec));
        };
        let (name, codec) = (Arc::clone(name), Arc::clone(codec));
        if pair.value.is_empty() {
            pair.value = Bytes::from_static(value::EMPTY);
        }
        let Some(entry) = self.entries.get(&pair.key) else {
            return self.insert(pair, name, &*codec, now_ms);
        };
        if entry.codec != name {
            return Err(Rejection::OtherCodec {
                key: pair.key,
                theirs: pair.codec,
                ours: entry.codec.to_string(),
            });
        }
        let bad = |problem| Rejection::BadValue {
            key: pair.key.clone(),
            problem,
        };
        let changed = Next::of(&*codec, entry, &pair.value, origin).map_err(bad)?;
        let becomes_deleted = pair.deleted && pair.update_time_ms > entry.update_time_ms;
        if changed.is_none() && (!becomes_deleted || entry.deleted) {
            return Ok(None);
        }
        // A deletion alone is sent with all of the value.
        let next = match changed {
            Some(next) => next,
            None => Next::whole(&*codec, &entry.value).map_err(bad)?,
        };
        let next = next
            .swept(&*codec, self.parts_before(now_ms))
            .map_err(bad)?;
        self.check_room(&pair.key, next.value.len(), entry.value.len(), false)?;
        let mut entry = entry.clone();
        entry.value = next.value;
        // What has changed may be nothing but old deleted parts: those are not sent.
        let change = (!next.contents.is_empty()).then(|| {
            entry.version += 1;
            if becomes_deleted {
                entry.deleted = true;
                entry.update_time_ms = pair.update_time_ms;
            }
            entry.change(&pair.key, next.change, next.contents)
        });
        self.put(pair.key, entry);
        Ok(change)
    }

    /// A key that is not known. One that was deleted is not taken: it may have been swept here.
    fn insert(
        &mut self,
        pair: KeyValuePair,
        codec_name: Arc<str>,
        codec: &dyn Codec,
        now_ms: i64,
    ) -> Result<Option<Change>, Rejection> {
        if pair.deleted {
            return Ok(None);
        }
        // What cannot be read must not get in: it could never be merged.
        let next = Next::whole(codec, &pair.value)
            .and_then(|next| next.swept(codec, self.parts_before(now_ms)))
            .map_err(|problem| Rejection::BadValue {
                key: pair.key.clone(),
                problem,
            })?;
        if next.contents.is_empty() {
            return Ok(None);
        }
        self.check_room(&pair.key, pair.key.len() + next.value.len(), 0, true)?;
        let entry = Entry {
            value: next.value,
            codec: codec_name,
            version: 1,
            deleted: false,
            update_time_ms: 0,
        };
        let change = entry.change(&pair.key, next.change, next.contents);
        self.put(pair.key, entry);
        Ok(Some(change))
    }

    /// Parts that were deleted before are swept.
    fn parts_before(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(millis(self.limits.keep_deleted_parts))
    }

    /// Whether `more` bytes fit in place of `less`.
    fn check_room(
        &self,
        key: &str,
        more: usize,
        less: usize,
        is_new: bool,
    ) -> Result<(), Rejection> {
        let grows_over = more > less && self.bytes - less + more > self.limits.bytes;
        let is_one_too_many = is_new && self.entries.len() >= self.limits.keys;
        if grows_over || is_one_too_many {
            return Err(Rejection::Full(key.to_owned()));
        }
        Ok(())
    }

    fn put(&mut self, key: String, entry: Entry) {
        self.bytes += key.len() + entry.value.len();
        let key_length = key.len();
        if let Some(old) = self.entries.insert(key, entry) {
            self.bytes -= key_length + old.value.len();
        }
    }
}

impl Entry {
    /// The pair that tells of this entry, with a value.
    fn pair(&self, key: String, value: Bytes) -> KeyValuePair {
        KeyValuePair {
            key,
            value,
            codec: self.codec.to_string(),
            deleted: self.deleted,
            update_time_ms: self.update_time_ms,
        }
    }

    fn change(&self, key: &str, change: Bytes, contents: Vec<String>) -> Change {
        Change {
            version: self.version,
            contents,
            pair: self.pair(key.to_owned(), change),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
