//! Whole rings in simulated time: members that know only what packets bring them. What happens follows
//! from the seed.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by several tests, each of which uses a part; a failed check panics"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use memberlist_protocol::codec::{self, PacketOptions, Wire};
use memberlist_protocol::kv::{
    BadValue, Codec, Dskit, Entry, MergedValue, Origin, Retention, Store, StoreLimits,
};
use memberlist_protocol::membership::{Action, Config, Event, Node, Priority};
use memberlist_protocol::message::{Addr, Message, PushPull, State};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 7946;

/// What happens next: when, in which order, and what.
type Due = Reverse<(Duration, u64, usize)>;

enum What {
    /// A member is polled, if this is still when it wanted to be.
    Poll(usize),
    Packet {
        from: usize,
        to: SocketAddr,
        messages: Vec<Message>,
    },
}

/// A ring, and the network between its members.
pub(crate) struct Ring {
    pub(crate) members: Vec<Member>,
    pub(crate) now: Duration,
    due: BinaryHeap<Due>,
    what: BTreeMap<usize, What>,
    next: usize,
    pub(crate) loss: f64,
    pub(crate) traffic: Traffic,
    rng: StdRng,
}

/// What was sent, framed as on the wire and not compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) packets: usize,
    pub(crate) packet_bytes: usize,
    pub(crate) exchanges: usize,
    pub(crate) exchange_bytes: usize,
}

pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) address: SocketAddr,
    /// It runs, and is not stopped.
    runs: bool,
    /// Members of other parts are not reached.
    pub(crate) part: u32,
    pub(crate) store: Store<Dskit>,
    pub(crate) events: Vec<Event>,
}

const CODEC: &str = "largest";

/// The larger value wins.
struct Largest;

impl Codec for Largest {
    fn merge(
        &self,
        stored: &Bytes,
        incoming: &Bytes,
        _: Origin,
    ) -> Result<Option<MergedValue>, BadValue> {
        Ok((incoming > stored).then(|| MergedValue {
            value: incoming.clone(),
            change: incoming.clone(),
        }))
    }

    /// As Mimir's: a value replaces only what is the same.
    fn contents(&self, value: &Bytes) -> Result<Vec<String>, BadValue> {
        Ok(vec![String::from_utf8_lossy(value).into_owned()])
    }
}

fn store() -> Store<Dskit> {
    let mut store = Store::of_dskit(Retention::default(), StoreLimits::default());
    store.register(CODEC, Arc::new(Largest));
    store
}

pub(crate) fn name(number: usize) -> String {
    format!("node-{number}")
}

pub(crate) fn addr(number: usize) -> Addr {
    Addr::V4([10, 0, 0, u8::try_from(number).unwrap()])
}

impl Ring {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            members: Vec::new(),
            now: SECOND,
            due: BinaryHeap::new(),
            what: BTreeMap::new(),
            next: 0,
            loss: 0.0,
            traffic: Traffic::default(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A ring in which each member has joined by the first.
    pub(crate) fn of(count: usize, seed: u64) -> Self {
        let mut ring = Self::new(seed);
        for number in 0..count {
            ring.start(&name(number), addr(number));
            if number > 0 {
                ring.push_pull(number, ring.members[0].address);
            }
        }
        ring.until(30 * SECOND, "all know all", |ring| ring.agree(count));
        ring
    }

    pub(crate) fn start(&mut self, name: &str, addr: Addr) -> usize {
        let number = self.members.len();
        let config = Config::new(name, addr, PORT);
        let rng = StdRng::seed_from_u64(self.rng.random());
        self.members.push(Member {
            node: Node::new(config, rng, self.now),
            address: addr.socket(PORT),
            runs: true,
            part: 0,
            store: store(),
            events: Vec::new(),
        });
        self.poll(number);
        number
    }

    fn schedule(&mut self, at: Duration, what: What) {
        self.next += 1;
        self.what.insert(self.next, what);
        self.due.push(Reverse((at, self.next as u64, self.next)));
    }

    /// The members that listen where a packet goes to.
    fn at(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let part = self.members[from].part;
        self.members
            .iter()
            .position(|member| member.address == to && member.runs && member.part == part)
    }

    pub(crate) fn poll(&mut self, number: usize) {
        if !self.members[number].runs {
            return;
        }
        let actions = self.members[number].node.poll(self.now);
        for action in actions {
            match action {
                Action::Send { to, messages, .. } => {
                    self.traffic.packets += 1;
                    self.traffic.packet_bytes += framed(&messages);
                    if self.rng.random::<f64>() >= self.loss {
                        let delay = Duration::from_millis(self.rng.random_range(1..20));
                        let from = number;
                        self.schedule(self.now + delay, What::Packet { from, to, messages });
                    }
                }
                Action::PushPull { with } => self.push_pull(number, with),
                Action::Event(event) => self.members[number].events.push(event),
            }
        }
        let next = self.members[number].node.next_deadline();
        self.schedule(next.max(self.now), What::Poll(number));
    }

    /// The answer is made before the question is read, as on the wire.
    pub(crate) fn push_pull(&mut self, from: usize, to: SocketAddr) {
        let Some(to) = self.at(from, to) else { return };
        let (asked, answered) = (self.state(from), self.state(to));
        self.traffic.exchanges += 1;
        for state in [&asked, &answered] {
            self.traffic.exchange_bytes += codec::push_pull(state).unwrap().len();
        }
        self.merge(to, asked);
        self.merge(from, answered);
    }

    fn state(&self, number: usize) -> PushPull {
        let member = &self.members[number];
        PushPull {
            join: false,
            nodes: member.node.states(),
            user_state: member.store.local_state().unwrap(),
        }
    }

    fn merge(&mut self, number: usize, state: PushPull) {
        let now_ms = self.now_ms();
        let member = &mut self.members[number];
        member.node.merge(self.now, state.nodes);
        let outcome = member.store.receive_state(state.user_state, now_ms);
        assert_eq!(outcome.error, None);
        for change in outcome.changes {
            member.node.broadcast(Priority::Relayed, change.broadcast());
        }
        self.poll(number);
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.now.as_millis()).unwrap()
    }

    fn step(&mut self, until: Duration) -> bool {
        let Some(Reverse((at, _, _))) = self.due.peek() else {
            return false;
        };
        if *at > until {
            self.now = until;
            return false;
        }
        let Some(Reverse((at, _, id))) = self.due.pop() else {
            return false;
        };
        self.now = self.now.max(at);
        match self.what.remove(&id) {
            Some(What::Poll(number)) if self.members[number].node.next_deadline() <= self.now => {
                self.poll(number);
            }
            Some(What::Packet { from, to, messages }) => {
                let source = self.members[from].address;
                if let Some(number) = self.at(from, to) {
                    self.deliver(number, source, messages);
                }
            }
            Some(What::Poll(_)) | None => {}
        }
        true
    }

    /// Go's members take the newest message first, so nothing may depend on order.
    pub(crate) fn deliver(&mut self, number: usize, source: SocketAddr, messages: Vec<Message>) {
        let now_ms = self.now_ms();
        for message in messages.into_iter().rev() {
            let member = &mut self.members[number];
            match message {
                Message::User(bytes) => {
                    if let Some(change) = member.store.receive(bytes, now_ms).unwrap() {
                        member.node.broadcast(Priority::Relayed, change.broadcast());
                    }
                }
                other => member.node.handle(self.now, Some(source), other),
            }
        }
        self.poll(number);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time pass until the condition holds; how long that took.
    pub(crate) fn until(
        &mut self,
        most: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let began = self.now;
        while !holds(self) {
            assert!(self.now - began < most, "not within {most:?}: {what}");
            self.pass(SECOND / 10);
        }
        self.now - began
    }

    pub(crate) fn stop(&mut self, number: usize) {
        self.members[number].runs = false;
    }

    pub(crate) fn go_on(&mut self, number: usize) {
        self.members[number].runs = true;
        self.poll(number);
    }

    /// What member `who` takes the member with this name for.
    pub(crate) fn taken_for(&self, who: usize, of: &str) -> Option<State> {
        let record = self.members[who].node.record(of);
        record.map(|record| record.state)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|&number| self.members[number].runs)
    }

    /// Whether all that run take this member for that.
    pub(crate) fn all_take(&self, of: &str, wanted: &[Option<State>]) -> bool {
        self.running()
            .filter(|&who| self.members[who].node.config().name != of)
            .all(|who| wanted.contains(&self.taken_for(who, of)))
    }

    /// Whether all that run know `alive` living members.
    pub(crate) fn agree(&self, alive: usize) -> bool {
        self.running().all(|number| {
            let records = self.members[number].node.records();
            records
                .filter(|record| record.state == State::Alive)
                .count()
                == alive
        })
    }

    /// Whether all that run take member 1 for alive, with this incarnation.
    pub(crate) fn all_know(&self, incarnation: u32) -> bool {
        self.running().all(|who| {
            let record = self.members[who].node.record("node-1");
            record.is_some_and(|record| {
                record.state == State::Alive && record.alive.incarnation == incarnation
            })
        })
    }

    pub(crate) fn has_event(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.members
            .iter()
            .any(|member| member.events.iter().any(&wanted))
    }

    /// A member writes a key.
    pub(crate) fn write(&mut self, number: usize, key: &str, value: &str) {
        let now_ms = self.now_ms();
        let value = Bytes::copy_from_slice(value.as_bytes());
        let member = &mut self.members[number];
        let version = member.store.get(key).map_or(0, Entry::version);
        let change = member.store.write(key, CODEC, value, version, now_ms);
        member
            .node
            .broadcast(Priority::Own, change.unwrap().broadcast());
    }

    /// How many of those that run have the key with this value.
    pub(crate) fn have(&self, key: &str, value: &str) -> usize {
        let has = |number: &usize| {
            let entry = self.members[*number].store.get(key);
            entry.is_some_and(|entry| entry.pair().value == value.as_bytes())
        };
        self.running().filter(has).count()
    }
}

/// Bytes of messages in one packet.
fn framed(messages: &[Message]) -> usize {
    let encoded: Vec<Bytes> = messages.iter().map(codec::message).collect();
    let packets = codec::compounds(&encoded).into_iter().map(|message| {
        let payload = codec::packet(&message, &Wire::default(), PacketOptions::default()).unwrap();
        codec::packet_frame("10.0.0.1:7946", &payload)
            .unwrap()
            .len()
    });
    packets.sum()
}
