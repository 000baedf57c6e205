//! What is under the engine's lock: who is in the ring, and what its members hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memberlist_protocol::broadcast::Broadcast;
use memberlist_protocol::membership::{Action, Node, Priority};
use memberlist_protocol::message::{Message, NodeState, PushPull};

use super::others::OtherKeys;
use super::pair::Pair;
use crate::engine::{Copies, EntrySink, MemberId};
use crate::status::OtherKey;
use crate::view::entry::{EntryText, MAX_TEXT, fingerprint};

/// One member's part in the ring, and all entries.
pub(super) struct Ring {
    node: Node,
    entries: BTreeMap<String, Held>,
    /// Bytes of keys and texts.
    held: usize,
    others: OtherKeys,
    /// Of the entry that changed last.
    version: u64,
    sink: Arc<dyn EntrySink>,
    /// Of the values: entries with other codecs are others' and passed over.
    codec: &'static str,
    /// A deletion that is older is not believed where its key is not known.
    keep_tombstones: Duration,
}

/// What the messages of a packet brought.
pub(super) struct Taken {
    /// Of the entries.
    pub(super) keys: Vec<String>,
    /// Entries that are none.
    pub(super) unreadable: u64,
}

/// Bytes of keys and texts beyond which no further keys of others are taken.
const MAX_HELD: usize = 1 << 30;

/// An entry, as all members hold it.
struct Held {
    text: String,
    is_live: bool,
    epoch: u64,
    /// See [`fingerprint`].
    fingerprint: u64,
}

impl Ring {
    pub(super) fn new(
        node: Node,
        sink: Arc<dyn EntrySink>,
        codec: &'static str,
        keep_tombstones: Duration,
    ) -> Self {
        Self {
            node,
            entries: BTreeMap::new(),
            held: 0,
            others: OtherKeys::default(),
            version: 0,
            sink,
            codec,
            keep_tombstones,
        }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    pub(super) fn poll(&mut self, now: Duration) -> Vec<Action> {
        self.node.poll(now)
    }

    /// Takes the messages of a packet.
    pub(super) fn take_messages(
        &mut self,
        now: Duration,
        from: Option<SocketAddr>,
        messages: Vec<Message>,
    ) -> Taken {
        let (mut keys, mut unreadable) = (Vec::new(), 0);
        for message in messages {
            match message {
                Message::User(bytes) => match Pair::read(bytes) {
                    Ok(pair) => keys.extend(self.take_pair(pair)),
                    Err(_) => unreadable += 1,
                },
                other => self.node.handle(now, from, other),
            }
        }
        Taken { keys, unreadable }
    }

    /// Takes an entry of another member, and repeats it if it was news; its key, if its codec is known.
    pub(super) fn take_pair(&mut self, pair: Pair) -> Option<String> {
        let size = pair.base.key.len() + pair.base.value.len() / 3 * 4;
        if pair.base.codec != self.codec {
            self.others.note(&pair.base);
            return None;
        }
        if pair.base.key.is_empty() || size > MAX_TEXT {
            return None;
        }
        let known = self.entries.get(&pair.base.key);
        let is_forgotten = pair.base.deleted && self.is_old(pair.base.update_time_ms);
        if known.is_none() && (is_forgotten || self.held >= MAX_HELD) {
            return Some(pair.base.key);
        }
        let text = pair.text(known.map_or(0, |held| held.epoch));
        let is_same = known.is_some_and(|held| Some(held.fingerprint) == fingerprint(&text));
        let sender = pair.sender();
        if !is_same && let Some(now) = self.sink.receive(&pair.base.key, &text, sender) {
            self.hold(now, Priority::Relayed);
        }
        Some(pair.base.key)
    }

    fn is_old(&self, written_ms: i64) -> bool {
        let age = crate::clock::now_ms().saturating_sub(written_ms);
        i128::from(age) > self.keep_tombstones.as_millis() as i128
    }

    /// Holds an entry from now on, and has it told to all.
    pub(super) fn hold(&mut self, entry: EntryText, priority: Priority) {
        let (Some(pair), Some(fingerprint)) = (Pair::of(&entry), fingerprint(&entry.text)) else {
            return;
        };
        let bytes = pair.to_bytes();
        self.version += 1;
        let broadcast = Broadcast {
            topic: entry.key.clone(),
            contents: Vec::new(),
            version: self.version,
            len: 1 + bytes.len(),
            message: Message::User(bytes),
        };
        self.node.broadcast(priority, broadcast);
        let held = Held {
            epoch: pair.epoch().unwrap_or(0),
            fingerprint,
            text: entry.text,
            is_live: entry.is_live,
        };
        self.held += entry.key.len() + held.text.len();
        let before = self.entries.get(&entry.key);
        self.held -= before.map_or(0, |before| entry.key.len() + before.text.len());
        self.entries.insert(entry.key, held);
    }

    pub(super) fn forget(&mut self, keys: Vec<String>) {
        for key in keys {
            let held = self.entries.remove(&key);
            self.held -= held.map_or(0, |held| key.len() + held.text.len());
        }
    }

    /// All that this member knows.
    pub(super) fn state(&self, join: bool) -> PushPull {
        let mut user_state = Vec::new();
        for (key, held) in &self.entries {
            let entry = EntryText {
                key: key.clone(),
                text: held.text.clone(),
                is_live: held.is_live,
            };
            if let Some(pair) = Pair::of(&entry) {
                pair.append_to(&mut user_state);
            }
        }
        PushPull {
            join,
            nodes: self.node.states(),
            user_state: user_state.into(),
        }
    }

    pub(super) fn merge_nodes(&mut self, now: Duration, nodes: Vec<NodeState>) {
        self.node.merge(now, nodes);
    }

    /// Keys of other components.
    pub(super) fn other_keys(&self) -> Vec<OtherKey> {
        self.others.all()
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Shows the entries as copies: `own` is this member, `others` those that live.
    pub(super) fn copies<'a>(
        &'a self,
        own: &'a MemberId,
        others: &'a BTreeSet<MemberId>,
    ) -> RingCopies<'a> {
        RingCopies {
            ring: self,
            own,
            others,
        }
    }
}

/// The entries as copies. Every member holds all of them: so one is this member's while others may not
/// have been told of it yet, and from then on that of any member.
pub(super) struct RingCopies<'a> {
    ring: &'a Ring,
    own: &'a MemberId,
    others: &'a BTreeSet<MemberId>,
}

impl RingCopies<'_> {
    fn is_told(&self, key: &str) -> bool {
        !self.ring.node.is_waiting(Priority::Own, key)
    }
}

impl Copies for RingCopies<'_> {
    fn own_id(&self) -> &MemberId {
        self.own
    }

    fn for_each(
        &self,
        of: &dyn Fn(&MemberId) -> bool,
        show: &mut dyn FnMut(&MemberId, &str, &str),
    ) {
        let own = of(self.own).then_some(self.own);
        // One of them stands for all.
        let other = self.others.iter().find(|id| of(id));
        for (key, held) in &self.ring.entries {
            let holder = own.or_else(|| other.filter(|_| self.is_told(key)));
            if let Some(id) = holder {
                show(id, key, &held.text);
            }
        }
    }

    fn any_other(&self, key: &str, is_wanted: &dyn Fn(&MemberId, &str) -> bool) -> bool {
        let Some(held) = self.ring.entries.get(key).filter(|_| self.is_told(key)) else {
            return false;
        };
        self.others.iter().any(|id| is_wanted(id, &held.text))
    }
}
