//! Who is in the ring: one member's part in finding that out, as a state machine.
//!
//! [`Node::handle`] is given what arrives and [`Node::poll`] the time; what is to be sent comes back
//! as [`Action`]s. [`Node::next_deadline`] is when to poll next, unless something arrives before.
//! Times are durations since any moment that the caller chooses, and never go back.
//!
//! - `rules`: what a member believes of another, given what is said of it. The rules are those of
//!   Go's members to the letter: all must come to the same end from the same messages.
//! - `probe`: asks one member after the other whether it is there, itself and by others.
//! - `suspicion`: how long one that did not answer has to say that it is alive.
//! - `gossip`: what is sent to whom, and when whole states are exchanged.
//! - `table`: what is known of all.
//!
//! What would crash Go's members, or make them refuse all exchanges, is neither believed nor
//! repeated: see [`Refusal`].

mod gossip;
mod probe;
mod rules;
mod schedule;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use self::schedule::{Prober, Rounds, Turns};
use self::suspicion::Suspicion;
use self::table::Table;
use crate::broadcast::{Broadcast, Queue, transmit_limit};
use crate::message::{Addr, Alive, Message, NodeState, Ping, Source, State, Vsn};

pub use self::table::Record;

/// The port of members that name none.
pub const DEFAULT_PORT: u16 = 7946;

/// Bytes of messages about members that wait to be sent, at most.
const MAX_MEMBER_QUEUE: usize = 8 << 20;

/// Beyond this lateness, a poll is taken for the end of a stall of this process.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// What a member is told about itself and the ring. [`Config::new`] has the values of dskit.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name, unique in the ring; 1 to [`MAX_NAME`] bytes.
    pub name: String,
    /// Where others reach it. For Go's members, another width of the same address is another
    /// address: a member that comes back must have the same.
    pub addr: Addr,
    /// Where others reach it.
    pub port: u16,
    /// Told to all; at most [`crate::message::MAX_META`] bytes.
    pub meta: Bytes,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// How long an answer may take before others are asked to probe as well; less than
    /// `probe_interval`.
    pub probe_timeout: Duration,
    /// How many others are asked.
    pub indirect_checks: usize,
    /// The number of probe intervals that a suspected member of a small ring has to answer.
    pub suspicion_factor: u32,
    /// How many times as long it has if nobody else confirms the suspicion.
    pub suspicion_max_factor: u32,
    /// How many steps of bad health this member counts; its probes last longer by as many intervals.
    pub max_health_score: u32,
    /// Time between two rounds of gossip.
    pub gossip_interval: Duration,
    /// Members that a round goes to.
    pub gossip_nodes: usize,
    /// How long dead members are gossiped to, and remembered.
    pub gossip_to_dead: Duration,
    /// How long a dead member's name is kept for its address; zero for as long as it is remembered.
    pub reclaim_after: Duration,
    /// Times the decimal digits of the number of members: how often a message is sent.
    pub retransmit_factor: u32,
    /// Time between two exchanges of whole states; zero for none. Rings of more than 32 members take
    /// longer.
    pub push_pull_interval: Duration,
    /// Bytes of the messages of a packet, at most. Cortex's members refuse packets of 1 MiB.
    pub packet_budget: usize,
    /// Bytes of the messages of users that wait in each of both queues, at most.
    pub max_user_queue: usize,
    /// Members that are remembered, at most.
    pub max_nodes: usize,
}

/// Most bytes of a name.
pub const MAX_NAME: usize = 512;

impl Config {
    /// The settings of dskit, but for a packet budget that Cortex's members accept as well.
    pub fn new(name: impl Into<String>, addr: Addr, port: u16) -> Self {
        Self {
            name: name.into(),
            addr,
            port,
            meta: Bytes::new(),
            probe_interval: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(2),
            indirect_checks: 3,
            suspicion_factor: 4,
            suspicion_max_factor: 6,
            max_health_score: 8,
            gossip_interval: Duration::from_millis(200),
            gossip_nodes: 3,
            gossip_to_dead: Duration::from_secs(30),
            reclaim_after: Duration::ZERO,
            retransmit_factor: 4,
            push_pull_interval: Duration::from_secs(30),
            packet_budget: 900_000,
            max_user_queue: 64 << 20,
            max_nodes: 10_000,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// These messages are to be sent in one packet, or in several if they are more than 255.
    Send {
        /// Where to.
        to: SocketAddr,
        /// At least one.
        messages: Vec<Message>,
        /// Whether the receiver is known to check checksums.
        checksum: bool,
    },
    /// Whole states are to be exchanged with a member: it is sent [`Node::states`], and what it answers
    /// is for [`Node::merge`].
    PushPull {
        /// The member.
        with: SocketAddr,
    },
    /// Something to know.
    Event(Event),
}

/// What has happened in the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member is there, for the first time or again.
    Joined(String),
    /// A member has another address, other metadata or other versions.
    Changed(String),
    /// A member does not answer.
    Suspected {
        /// The member.
        node: String,
        /// Who says so.
        by: String,
    },
    /// A member that was suspected has said that it is alive.
    Cleared(String),
    /// A member has left, or is dead.
    Gone {
        /// The member.
        node: String,
        /// [`State::Left`] or [`State::Dead`].
        state: State,
    },
    /// A member that has gone is forgotten.
    Forgotten(String),
    /// Others said something of this member that is wrong, and were told better.
    Refuted {
        /// The incarnation that this member has now.
        incarnation: u32,
    },
    /// Two members have the same name. The one that came later is not believed.
    Conflict {
        /// The name.
        node: String,
        /// Where the member is that is known.
        known: SocketAddr,
        /// Where the other one says that it is.
        claimed: SocketAddr,
    },
    /// What was said of a member is neither believed nor repeated.
    Refused {
        /// The name, shortened.
        node: String,
        /// Why.
        why: Refusal,
    },
}

/// Why nothing is believed of what is said of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its versions are none that this crate speaks with: Go's members that hear of it would refuse
    /// every exchange of states from then on.
    Versions,
    /// Its metadata is too long.
    Meta,
    /// It has no name, or one that is too long.
    Name,
    /// There are too many members.
    Full,
    /// It is about this member, and its incarnation cannot be exceeded.
    Incarnation,
}

impl Refusal {
    /// The reason in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Versions => "protocol versions that no member of the ring can accept",
            Self::Meta => "metadata that is too long",
            Self::Name => "no name, or one that is too long",
            Self::Full => "more members than are remembered",
            Self::Incarnation => "an incarnation that cannot be exceeded",
        }
    }
}

/// Which of the two queues of users' messages one waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// It was written here: it is sent first.
    Own,
    /// It was received, and is repeated.
    Relayed,
}

/// One member's part in the ring.
pub struct Node {
    config: Config,
    table: Table,
    suspicions: BTreeMap<String, Suspicion>,
    prober: Prober,
    rounds: Rounds,
    queues: Queues,
    health_score: u32,
    leaving: bool,
    seq_no: u32,
    actions: VecDeque<Action>,
    rng: StdRng,
}

struct Queues {
    members: Queue,
    own: Queue,
    relayed: Queue,
}

impl Node {
    /// A member that knows itself only. All it draws comes from `rng`.
    pub fn new(config: Config, mut rng: StdRng, now: Duration) -> Self {
        let prober = Prober::new(now + within(&mut rng, config.probe_interval));
        let rounds = Rounds {
            gossip_at: now + within(&mut rng, config.gossip_interval),
            push_pull_at: (!config.push_pull_interval.is_zero())
                .then(|| now + within(&mut rng, config.push_pull_interval)),
            turns: Turns::default(),
        };
        let alive = Alive {
            incarnation: 1,
            node: config.name.clone(),
            addr: config.addr,
            port: config.port,
            meta: config.meta.clone(),
            vsn: Vsn::OURS,
        };
        let mut node = Self {
            table: Table::new(alive.clone(), now),
            suspicions: BTreeMap::new(),
            prober,
            rounds,
            queues: Queues {
                members: Queue::new(MAX_MEMBER_QUEUE),
                own: Queue::new(config.max_user_queue),
                relayed: Queue::new(config.max_user_queue),
            },
            health_score: 0,
            leaving: false,
            seq_no: rng.random(),
            actions: VecDeque::new(),
            config,
            rng,
        };
        node.tell_of(Message::Alive(alive));
        node
    }

    /// Takes a message that came in a packet; `from` is the address that the packet names. Messages
    /// of users are not for this.
    pub fn handle(&mut self, now: Duration, from: Option<SocketAddr>, message: Message) {
        match message {
            Message::Ping(ping) => self.answer(&ping, from),
            Message::IndirectPing(ping) => self.relay(now, ping, from),
            Message::Ack { seq_no, .. } => self.ack(seq_no),
            Message::Nack { seq_no } => self.prober.nack(seq_no),
            Message::Suspect(accusation) => self.suspect(now, accusation),
            Message::Alive(alive) => self.alive(now, alive),
            Message::Dead(accusation) => self.dead(now, accusation),
            Message::User(_) | Message::Error(_) => {}
        }
    }

    /// The answer to a ping that came over a stream; none if it is for another member.
    pub fn answer_stream(&self, ping: &Ping) -> Option<Message> {
        self.is_for_us(ping).then_some(Message::Ack {
            seq_no: ping.seq_no,
            payload: None,
        })
    }

    /// Does what is due, and returns what there is to do.
    pub fn poll(&mut self, now: Duration) -> Vec<Action> {
        self.forgive_stall(now);
        self.poll_probe(now);
        self.poll_relays(now);
        self.poll_suspicions(now);
        self.poll_rounds(now);
        self.actions.drain(..).collect()
    }

    /// When to poll, unless something arrives before; zero for at once.
    pub fn next_deadline(&self) -> Duration {
        if !self.actions.is_empty() {
            return Duration::ZERO;
        }
        self.next_timer()
    }

    fn next_timer(&self) -> Duration {
        let suspicions = self.suspicions.values();
        suspicions
            .map(Suspicion::deadline)
            .chain(self.rounds.push_pull_at)
            .chain([self.rounds.gossip_at])
            .fold(self.prober.next_deadline(), Duration::min)
    }

    /// A poll that comes much too late: this process did not run. That others have not answered
    /// meanwhile says nothing, so the answers that are waited for get the time that was lost.
    fn forgive_stall(&mut self, now: Duration) {
        let late = now.saturating_sub(self.next_timer());
        if late > STALLED_AFTER {
            self.prober.postpone(late);
            for suspicion in self.suspicions.values_mut() {
                suspicion.postpone(late);
            }
        }
    }

    /// All that is known of members, for an exchange of whole states.
    pub fn states(&self) -> Vec<NodeState> {
        let state = |record: &Record| NodeState {
            alive: record.alive.clone(),
            state: record.state,
        };
        self.table.iter().map(state).collect()
    }

    /// Takes what another member knows of all. One's own [`Node::states`] for the answer must be made
    /// before, as Go's members do.
    pub fn merge(&mut self, now: Duration, states: Vec<NodeState>) {
        for state in states {
            self.merge_state(now, state);
        }
    }

    /// What is known of members, those that are gone until they are forgotten, by name.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.table.iter()
    }

    /// What is known of a member.
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.table.get(name)
    }

    /// Members that are not dead and have not left, this one included.
    pub fn present(&self) -> usize {
        self.table.iter().filter(|record| record.is_here()).count()
    }

    /// What this member is told about itself.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Steps of bad health: others do not answer, or say that this member does not. 0 is healthy.
    pub fn health_score(&self) -> u32 {
        self.health_score
    }

    /// Has a message sent to all members, which take it from each other. `len` are its bytes without
    /// the message's type.
    pub fn broadcast(&mut self, priority: Priority, item: Broadcast) {
        match priority {
            Priority::Own => self.queues.own.push(item),
            Priority::Relayed => self.queues.relayed.push(item),
        }
    }

    /// Begins a round of gossip now, ahead of its time.
    pub fn gossip_soon(&mut self, now: Duration) {
        self.rounds.gossip_at = self.rounds.gossip_at.min(now);
    }

    /// Whether a message of a user about this waits to be sent.
    pub fn is_waiting(&self, priority: Priority, topic: &str) -> bool {
        self.queue(priority).has(topic)
    }

    fn queue(&self, priority: Priority) -> &Queue {
        match priority {
            Priority::Own => &self.queues.own,
            Priority::Relayed => &self.queues.relayed,
        }
    }

    /// Messages of users that wait to be sent: how many, and their bytes.
    pub fn waiting(&self, priority: Priority) -> (usize, usize) {
        let queue = self.queue(priority);
        (queue.len(), queue.bytes())
    }

    /// Tells the others that this member leaves. It goes on to answer, and believes nothing of itself
    /// any more; [`Node::has_left`] is when it can stop.
    pub fn leave(&mut self, now: Duration) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.say_own_end(now);
    }

    /// Whether this member has left, and has said so often enough, or no other one is there.
    pub fn has_left(&self) -> bool {
        let alone = self.present() == 0;
        self.leaving && (alone || !self.queues.members.has(&self.config.name))
    }

    /// Where answers to this member's pings go.
    fn source(&self) -> Source {
        Source {
            addr: self.config.addr,
            port: self.config.port,
            node: self.config.name.clone(),
        }
    }

    fn next_seq_no(&mut self) -> u32 {
        self.seq_no = self.seq_no.wrapping_add(1);
        self.seq_no
    }

    fn event(&mut self, event: Event) {
        self.actions.push_back(Action::Event(event));
    }

    fn score(&mut self, worse: u32) {
        let max = self.config.max_health_score.saturating_sub(1);
        self.health_score = self.health_score.saturating_add(worse).min(max);
    }

    /// Queues a message about a member, in place of what was queued about it.
    fn tell_of(&mut self, message: Message) {
        let (topic, len) = match &message {
            Message::Alive(alive) => (&alive.node, alive_len(alive)),
            Message::Suspect(accusation) | Message::Dead(accusation) => {
                let names = accusation.node.len() + accusation.from.len();
                (&accusation.node, ACCUSATION_LEN + names)
            }
            _ => return,
        };
        let item = Broadcast {
            topic: topic.clone(),
            contents: Vec::new(),
            version: 0,
            len,
            message,
        };
        self.queues.members.push(item);
    }

    fn transmit_limit(&self, nodes: usize) -> u32 {
        transmit_limit(self.config.retransmit_factor, nodes)
    }
}

/// Bytes of an accusation besides its names, at most: type, keys, tags of lengths, a number.
const ACCUSATION_LEN: usize = 40;

/// Bytes of an encoded message, at most.
fn alive_len(alive: &Alive) -> usize {
    const KEYS_AND_NUMBERS: usize = 72;
    KEYS_AND_NUMBERS + alive.node.len() + alive.meta.len() + alive.addr.as_bytes().len()
}

/// A random part of a time: rounds of members that start together do not coincide.
fn within(rng: &mut StdRng, time: Duration) -> Duration {
    time.mul_f64(rng.random::<f64>())
}
