//! Whole rings in simulated time: members that know only what packets bring them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use memberlist_protocol::broadcast::Broadcast;
use memberlist_protocol::membership::{Action, Config, Event, Node, Priority};
use memberlist_protocol::message::{Accusation, Addr, Message, State};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SECOND: Duration = Duration::from_secs(1);
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
struct Ring {
    members: Vec<Member>,
    now: Duration,
    due: BinaryHeap<Due>,
    what: BTreeMap<usize, What>,
    next: usize,
    loss: f64,
    packets: usize,
    rng: StdRng,
}

struct Member {
    node: Node,
    address: SocketAddr,
    /// It runs, and is not stopped.
    runs: bool,
    /// Members of other parts are not reached.
    part: u32,
    seen: BTreeSet<Bytes>,
    events: Vec<Event>,
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

fn addr(number: usize) -> Addr {
    Addr::V4([10, 0, 0, u8::try_from(number).unwrap()])
}

impl Ring {
    fn new(seed: u64) -> Self {
        Self {
            members: Vec::new(),
            now: SECOND,
            due: BinaryHeap::new(),
            what: BTreeMap::new(),
            next: 0,
            loss: 0.0,
            packets: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// A ring in which each member has joined by the first.
    fn of(count: usize, seed: u64) -> Self {
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

    fn start(&mut self, name: &str, addr: Addr) -> usize {
        let number = self.members.len();
        let config = Config::new(name, addr, PORT);
        let rng = StdRng::seed_from_u64(self.rng.random());
        self.members.push(Member {
            node: Node::new(config, rng, self.now),
            address: addr.socket(PORT),
            runs: true,
            part: 0,
            seen: BTreeSet::new(),
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

    fn poll(&mut self, number: usize) {
        if !self.members[number].runs {
            return;
        }
        let actions = self.members[number].node.poll(self.now);
        for action in actions {
            match action {
                Action::Send { to, messages, .. } => {
                    self.packets += 1;
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
    fn push_pull(&mut self, from: usize, to: SocketAddr) {
        let Some(to) = self.at(from, to) else { return };
        let (asked, answered) = (
            self.members[from].node.states(),
            self.members[to].node.states(),
        );
        self.members[to].node.merge(self.now, asked);
        self.members[from].node.merge(self.now, answered);
        self.poll(to);
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
    fn deliver(&mut self, number: usize, source: SocketAddr, messages: Vec<Message>) {
        for message in messages.into_iter().rev() {
            let member = &mut self.members[number];
            match message {
                Message::User(bytes) => {
                    if member.seen.insert(bytes.clone()) {
                        member.node.broadcast(Priority::Relayed, text(bytes));
                    }
                }
                other => member.node.handle(self.now, Some(source), other),
            }
        }
        self.poll(number);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Lets time pass until the condition holds; how long that took.
    fn until(&mut self, most: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = self.now;
        while !holds(self) {
            assert!(self.now - began < most, "not within {most:?}: {what}");
            self.pass(SECOND / 10);
        }
        self.now - began
    }

    fn stop(&mut self, number: usize) {
        self.members[number].runs = false;
    }

    fn go_on(&mut self, number: usize) {
        self.members[number].runs = true;
        self.poll(number);
    }

    /// What member `who` takes the member with this name for.
    fn state(&self, who: usize, of: &str) -> Option<State> {
        let record = self.members[who].node.record(of);
        record.map(|record| record.state)
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|&number| self.members[number].runs)
    }

    /// Whether all that run take this member for that.
    fn all_take(&self, of: &str, wanted: &[Option<State>]) -> bool {
        self.running()
            .filter(|&who| self.members[who].node.config().name != of)
            .all(|who| wanted.contains(&self.state(who, of)))
    }

    /// Whether all that run know `alive` living members.
    fn agree(&self, alive: usize) -> bool {
        self.running().all(|number| {
            let records = self.members[number].node.records();
            records
                .filter(|record| record.state == State::Alive)
                .count()
                == alive
        })
    }

    /// Whether all that run take member 1 for alive, with this incarnation.
    fn all_know(&self, incarnation: u32) -> bool {
        self.running().all(|who| {
            let record = self.members[who].node.record("node-1");
            record.is_some_and(|record| {
                record.state == State::Alive && record.alive.incarnation == incarnation
            })
        })
    }

    fn has_event(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.members
            .iter()
            .any(|member| member.events.iter().any(&wanted))
    }

    fn write(&mut self, number: usize, value: &'static str) {
        let bytes = Bytes::from_static(value.as_bytes());
        let member = &mut self.members[number];
        member.seen.insert(bytes.clone());
        member.node.broadcast(Priority::Own, text(bytes));
    }

    fn have(&self, value: &'static str) -> usize {
        let bytes = Bytes::from_static(value.as_bytes());
        self.running()
            .filter(|&number| self.members[number].seen.contains(&bytes))
            .count()
    }
}

/// What member 2 says of member 1.
fn accusation(incarnation: u32) -> Accusation {
    Accusation {
        incarnation,
        node: name(1),
        from: name(2),
    }
}

fn text(bytes: Bytes) -> Broadcast {
    Broadcast {
        topic: String::from_utf8_lossy(&bytes).into_owned(),
        contents: Vec::new(),
        version: 1,
        len: bytes.len() + 1,
        message: Message::User(bytes),
    }
}

#[test]
fn members_find_each_other() {
    for (count, most) in [(2, 2), (10, 3), (100, 6)] {
        let mut ring = Ring::new(count as u64);
        for number in 0..count {
            ring.start(&name(number), addr(number));
            if number > 0 {
                ring.push_pull(number, ring.members[0].address);
            }
        }
        let took = ring.until(most * SECOND, "all know all", |ring| ring.agree(count));
        println!("{count} members know all after {took:?}");
        ring.pass(60 * SECOND);
        assert!(ring.agree(count));
        assert!(!ring.has_event(|event| matches!(event, Event::Suspected { .. })));
    }
}

#[test]
fn a_message_reaches_all_within_a_second() {
    let mut ring = Ring::of(100, 3);
    ring.write(17, "value");
    ring.until(SECOND, "all have it", |ring| ring.have("value") == 100);
    // And then it ends.
    ring.pass(5 * SECOND);
    for member in &ring.members {
        assert_eq!(member.node.waiting(Priority::Own), (0, 0));
        assert_eq!(member.node.waiting(Priority::Relayed), (0, 0));
    }
    let before = ring.packets;
    ring.pass(60 * SECOND);
    // Pings and their answers, every 5 s, are all that is left.
    assert!(ring.packets - before < 100 * 12 * 2 + 200);
}

#[test]
fn a_killed_member_is_found_by_all() {
    for count in [3, 10, 100] {
        let mut ring = Ring::of(count, 5);
        ring.stop(1);
        let most = if count == 100 { 120 } else { 75 };
        let took = ring.until(most * SECOND, "all take it for dead", |ring| {
            ring.all_take("node-1", &[Some(State::Dead), None])
        });
        println!("{count} members know of a death after {took:?}");
        assert!(ring.agree(count - 1), "and for no other");
        ring.until(900 * SECOND, "all forget it", |ring| {
            ring.all_take("node-1", &[None])
        });
        assert!(ring.agree(count - 1));
    }
}

#[test]
fn a_member_that_leaves_is_gone_at_once_and_can_come_back_elsewhere() {
    let mut ring = Ring::of(10, 6);
    ring.members[1].node.leave(ring.now);
    ring.poll(1);
    let took = ring.until(5 * SECOND, "it has left", |ring| {
        ring.members[1].node.has_left()
    });
    assert!(took < 3 * SECOND, "{took:?}");
    ring.stop(1);
    ring.until(2 * SECOND, "all know", |ring| {
        ring.all_take("node-1", &[Some(State::Left)])
    });
    // Under its name, at another address, with an incarnation that begins again.
    let number = ring.start("node-1", addr(77));
    ring.push_pull(number, ring.members[0].address);
    ring.until(3 * SECOND, "all know it again", |ring| ring.agree(10));
    for who in ring.running() {
        let record = ring.members[who].node.record("node-1").unwrap();
        assert_eq!(record.alive.addr, addr(77));
    }
}

#[test]
fn a_member_that_crashed_comes_back_under_its_name() {
    let mut ring = Ring::of(5, 7);
    // Its earlier run has refuted something: the new one begins below.
    let source = ring.members[2].address;
    ring.deliver(1, source, vec![Message::Suspect(accusation(1))]);
    ring.until(3 * SECOND, "all believe it", |ring| ring.all_know(2));
    ring.stop(1);
    // Sooner than the others have noticed.
    ring.pass(2 * SECOND);
    let number = ring.start("node-1", addr(1));
    ring.push_pull(number, ring.members[0].address);
    ring.until(5 * SECOND, "all believe the new run", |ring| {
        ring.all_know(3)
    });
    ring.pass(60 * SECOND);
    assert!(ring.agree(5) && ring.all_know(3));
}

#[test]
fn a_name_at_another_address_is_refused_until_the_old_one_is_forgotten() {
    let mut ring = Ring::of(5, 8);
    let number = ring.start("node-1", addr(66));
    ring.push_pull(number, ring.members[0].address);
    ring.pass(5 * SECOND);
    assert!(ring.has_event(|event| matches!(event, Event::Conflict { .. })));
    assert_eq!(
        ring.members[2].node.record("node-1").unwrap().alive.addr,
        addr(1)
    );
    ring.stop(1);
    ring.until(200 * SECOND, "the name is free", |ring| {
        ring.running()
            .filter(|&who| who != number)
            .all(|who| ring.state(who, "node-1").is_none())
    });
    ring.push_pull(number, ring.members[0].address);
    ring.until(5 * SECOND, "it is taken", |ring| ring.agree(5));
}

#[test]
fn a_false_accusation_is_refuted() {
    let mut ring = Ring::of(10, 9);
    let source = ring.members[2].address;
    ring.deliver(3, source, vec![Message::Suspect(accusation(1))]);
    assert_eq!(ring.state(3, "node-1"), Some(State::Suspect));
    ring.until(3 * SECOND, "all believe it again", |ring| ring.all_know(2));
    ring.deliver(4, source, vec![Message::Dead(accusation(2))]);
    assert_eq!(ring.state(4, "node-1"), Some(State::Dead));
    ring.until(3 * SECOND, "all believe it again", |ring| ring.all_know(3));
    assert!(ring.agree(10));
}

#[test]
fn a_member_that_was_stopped_is_taken_back_and_accuses_no_other() {
    let mut ring = Ring::of(10, 10);
    ring.stop(1);
    ring.until(120 * SECOND, "it is dead for all", |ring| {
        ring.all_take("node-1", &[Some(State::Dead), None])
    });
    ring.go_on(1);
    // Gossip to the recently dead tells it, or its own exchange of states does.
    ring.until(40 * SECOND, "all have it back", |ring| ring.agree(10));
    let of_itself = |event: &Event| matches!(event, Event::Suspected { by, .. } if by == "node-1");
    assert!(!ring.has_event(of_itself));
}

#[test]
fn the_parts_of_a_split_ring_find_each_other_again() {
    let mut ring = Ring::of(10, 11);
    for number in 0..4 {
        ring.members[number].part = 1;
    }
    // Not so long that all are dead and forgotten: then a member has to join again.
    let doubts = |state| matches!(state, Some(State::Dead | State::Suspect));
    ring.until(60 * SECOND, "each part doubts the other", |ring| {
        doubts(ring.state(0, "node-9")) && doubts(ring.state(9, "node-0"))
    });
    for member in &mut ring.members {
        member.part = 0;
    }
    ring.until(90 * SECOND, "all know all", |ring| ring.agree(10));
}

#[test]
fn after_a_long_split_one_join_heals_all() {
    let mut ring = Ring::of(10, 12);
    for number in 0..4 {
        ring.members[number].part = 1;
    }
    ring.pass(600 * SECOND);
    for member in &mut ring.members {
        member.part = 0;
    }
    ring.pass(60 * SECOND);
    assert_eq!(ring.state(0, "node-9"), None, "forgotten");
    ring.push_pull(0, ring.members[9].address);
    ring.until(10 * SECOND, "all know all", |ring| ring.agree(10));
}

#[test]
fn a_lossy_network_kills_no_member() {
    let mut ring = Ring::of(20, 13);
    ring.loss = 0.2;
    ring.pass(600 * SECOND);
    let died = ring.has_event(|event| matches!(event, Event::Gone { .. }));
    assert!(!died);
    ring.loss = 0.0;
    ring.until(30 * SECOND, "all believe in all", |ring| ring.agree(20));
}
