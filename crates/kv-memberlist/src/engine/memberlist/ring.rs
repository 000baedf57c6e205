//! What is under the engine's lock: who is in the ring, and what its members hold.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use memberlist_protocol::kv::{Change, Rejection, Store, StoreLimits};
use memberlist_protocol::membership::{Action, Node, Priority};
use memberlist_protocol::message::{Message, NodeState, PushPull};

use super::pair::Pair;
use super::rules::OfView;
use crate::clock::now_ms;
use crate::engine::{Copies, MemberId};
use crate::status::OtherKey;
use crate::view::entry::EntryText;

/// One member's part in the ring, and all entries.
pub(super) struct Ring {
    node: Node,
    store: Store<OfView>,
}

impl Ring {
    pub(super) fn new(node: Node, rules: OfView) -> Self {
        Self {
            node,
            store: Store::new(rules, StoreLimits::default()),
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

    /// Takes the messages of a packet; how many of them are entries that are none.
    pub(super) fn take_messages(
        &mut self,
        now: Duration,
        from: Option<SocketAddr>,
        messages: Vec<Message>,
    ) -> u64 {
        let mut unreadable = 0;
        for message in messages {
            match message {
                Message::User(bytes) => unreadable += u64::from(!self.take(bytes)),
                other => self.node.handle(now, from, other),
            }
        }
        unreadable
    }

    /// Takes what another member says of an entry, and repeats it if it was news; whether it could be
    /// read.
    pub(super) fn take(&mut self, pair: Bytes) -> bool {
        match self.store.receive(pair, now_ms()) {
            Ok(Some(change)) => self.tell(change, Priority::Relayed),
            Ok(None) => {}
            Err(rejection) => return !matches!(rejection, Rejection::Malformed(_)),
        }
        true
    }

    fn tell(&mut self, change: Change, priority: Priority) {
        self.node.broadcast(priority, change.broadcast());
    }

    /// Holds an entry of this member from now on, and has it told to all.
    pub(super) fn hold(&mut self, entry: EntryText) {
        if let Some(pair) = Pair::of(&entry) {
            let change = self.store.put(entry.key, pair.to_stored());
            self.tell(change, Priority::Own);
        }
    }

    pub(super) fn forget(&mut self, keys: &[String]) {
        for key in keys {
            self.store.forget(key);
        }
    }

    /// All that this member knows.
    pub(super) fn state(&self, join: bool) -> PushPull {
        PushPull {
            join,
            nodes: self.node.states(),
            // An entry has a few ten thousand bytes at most: its length can be said.
            user_state: self.store.local_state().unwrap_or_default(),
        }
    }

    pub(super) fn merge_nodes(&mut self, now: Duration, nodes: Vec<NodeState>) {
        self.node.merge(now, nodes);
    }

    /// Keys of other components.
    pub(super) fn other_keys(&self) -> Vec<OtherKey> {
        self.store.rules().other_keys()
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.store.len()
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
        for (key, entry) in self.ring.store.list("") {
            let holder = own.or_else(|| other.filter(|_| self.is_told(key)));
            if let Some(id) = holder {
                show(id, key, &Pair::stored(entry).text(0));
            }
        }
    }

    fn any_other(&self, key: &str, is_wanted: &dyn Fn(&MemberId, &str) -> bool) -> bool {
        let Some(entry) = self.ring.store.get(key).filter(|_| self.is_told(key)) else {
            return false;
        };
        let text = Pair::stored(entry).text(0);
        self.others.iter().any(|id| is_wanted(id, &text))
    }
}
