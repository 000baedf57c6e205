//! Every rule, on given times.

mod accusations;
mod presence;
mod probes;
mod rounds;

use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Action, Config, Event, Node, Record};
use crate::message::{Accusation, Addr, Alive, Message, State, Vsn};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// The address of a member, by the digit at the end of its name.
pub(super) fn addr(name: &str) -> Addr {
    let last = name.bytes().last().unwrap_or_default();
    Addr::V4([10, 0, 0, last])
}

pub(super) fn socket(name: &str) -> SocketAddr {
    addr(name).socket(7946)
}

pub(super) fn alive_of(name: &str, incarnation: u32) -> Alive {
    Alive {
        incarnation,
        node: name.to_owned(),
        addr: addr(name),
        port: 7946,
        meta: bytes::Bytes::new(),
        vsn: Vsn::OURS,
    }
}

pub(super) fn accusation(node: &str, incarnation: u32, from: &str) -> Accusation {
    Accusation {
        incarnation,
        node: node.to_owned(),
        from: from.to_owned(),
    }
}

/// A member under test, whose name is `us`, and the time.
pub(super) struct Bench {
    pub(super) node: Node,
    pub(super) now: Duration,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("us", addr("us"), 7946);
        adjust(&mut config);
        let now = Duration::from_secs(1000);
        let node = Node::new(config, StdRng::seed_from_u64(7), now);
        Self { node, now }
    }

    /// Others that are alive.
    pub(super) fn knowing(names: &[&str]) -> Self {
        let mut bench = Self::new();
        bench.meet(names);
        bench
    }

    pub(super) fn meet(&mut self, names: &[&str]) {
        for name in names {
            self.alive(alive_of(name, 1));
        }
        self.drain();
    }

    pub(super) fn handle(&mut self, message: Message) {
        self.node.handle(self.now, None, message);
    }

    pub(super) fn alive(&mut self, alive: Alive) {
        self.handle(Message::Alive(alive));
    }

    pub(super) fn suspect(&mut self, node: &str, incarnation: u32, from: &str) {
        self.handle(Message::Suspect(accusation(node, incarnation, from)));
    }

    pub(super) fn dead(&mut self, node: &str, incarnation: u32, from: &str) {
        self.handle(Message::Dead(accusation(node, incarnation, from)));
    }

    pub(super) fn state(&self, name: &str) -> Option<State> {
        self.node.record(name).map(|record| record.state)
    }

    pub(super) fn known(&self, name: &str) -> &Record {
        self.node.record(name).unwrap()
    }

    pub(super) fn own_incarnation(&self) -> u32 {
        self.known("us").alive.incarnation
    }

    /// What there is to do now.
    pub(super) fn drain(&mut self) -> Vec<Action> {
        self.node.poll(self.now)
    }

    pub(super) fn events(&mut self) -> Vec<Event> {
        let event = |action| match action {
            Action::Event(event) => Some(event),
            _ => None,
        };
        self.drain().into_iter().filter_map(event).collect()
    }

    /// Lets time pass, polling whenever something is due; all that there was to do, and when.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<(Duration, Action)> {
        let until = self.now + time;
        let mut all = Vec::new();
        loop {
            let due = self.node.next_deadline().max(self.now);
            self.now = due.min(until);
            all.extend(self.drain().into_iter().map(|action| (self.now, action)));
            if due > until {
                return all;
            }
        }
    }

    /// The messages that wait to be told to all, once each, oldest last.
    pub(super) fn queued(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        self.node
            .queues
            .members
            .take(u32::MAX, &mut usize::MAX.clone(), &mut messages);
        messages
    }

    /// What is queued about a node.
    pub(super) fn queued_about(&mut self, name: &str) -> Vec<Message> {
        let about = |message: &Message| match message {
            Message::Alive(alive) => alive.node == name,
            Message::Suspect(accusation) | Message::Dead(accusation) => accusation.node == name,
            _ => false,
        };
        self.queued().into_iter().filter(about).collect()
    }
}

/// The messages that were sent, and to whom.
pub(super) fn sent(actions: &[(Duration, Action)]) -> Vec<(SocketAddr, &Message)> {
    let messages = |(_, action): &'_ (Duration, Action)| -> Option<(SocketAddr, usize)> {
        match action {
            Action::Send { to, messages, .. } => Some((*to, messages.len())),
            _ => None,
        }
    };
    debug_assert!(actions.iter().filter_map(messages).all(|(_, len)| len > 0));
    let mut all = Vec::new();
    for (_, action) in actions {
        if let Action::Send { to, messages, .. } = action {
            all.extend(messages.iter().map(|message| (*to, message)));
        }
    }
    all
}
