//! The run: a queue of events, and what each does.

mod checks;
mod nodes;
mod replicas;
mod stores;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use ha_failover::{
    Budget, ClusterState, Context, Counts, Effect, Fate, Fleet, Outcome, Output, Reason, Request,
    Slice, Ticket, Wait,
};

use super::rng::Rng;
use super::scenario::{Class, Mishap, Scenario};
use super::senders::{Body, Replica, Sample};
use super::sink::{Delivery, Sink};
use super::store::{Done, Key, Operation, Value, View};

/// When the simulation begins, Unix ms.
pub(crate) const START_MS: i64 = 1_700_000_000_000;
const UPDATE_MS: i64 = 15_000;
const FAILOVER_MS: i64 = 30_000;
const BACKOFF_MS: i64 = 90_000;
/// What a distributor takes for the interval of a replica that it does not know well.
const UNKNOWN_INTERVAL_MS: i64 = 60_000;
const DEAD_AFTER_MS: i64 = 5_000;
const DOWNSTREAM_TIMEOUT_MS: i64 = 4_000;
/// How long a distributor lets a request wait for what takes a moment.
const WAIT_MS: i64 = 3_000;

/// What a run has led to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub violations: Vec<String>,
    pub elections: u64,
    pub stored: u64,
    pub doubled: u64,
    pub counts: Counts,
    pub longest_gap_ms: i64,
    pub most_held: u64,
    pub trace: String,
}

/// A distributor.
pub(crate) struct Node {
    pub(crate) name: String,
    life: u32,
    is_alive: bool,
    is_foreign: bool,
    clock_ms: i64,
    cut_off_until_ms: i64,
    /// Watch events that wait for the end of being cut off.
    waiting: VecDeque<(Key, Value)>,
    /// When the last watch event arrives: they arrive in order.
    watched_ms: i64,
    fleet: Fleet,
    state: ClusterState<Rc<Body>>,
    budget: Arc<Budget>,
    view: View,
    seen: BTreeMap<usize, Seen>,
    /// How often each replica sends here.
    cadences: BTreeMap<usize, Cadence>,
    replay: Option<(Slice<Rc<Body>>, usize)>,
    jitter_ms: i64,
}

/// The mean gap between two requests, weighed by its length, and the time that it covers, ms.
#[derive(Debug, Clone, Copy, Default)]
struct Cadence {
    came_ms: i64,
    /// Since it came last.
    was_refused: bool,
    mean_ms: i64,
    covers_ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    at_ms: i64,
    is_refused: bool,
}

/// What goes to the sink.
#[derive(Debug, Clone)]
struct Forward {
    node: usize,
    life: u32,
    body: Rc<Body>,
    samples: Vec<Sample>,
    term: i64,
    /// Of a request that waits for the answer: its ticket, except at a foreign distributor.
    live: Option<(Option<Ticket>, Sender)>,
    sent_ms: i64,
}

#[derive(Debug, Clone)]
enum Event {
    Scrape {
        replica: usize,
        life: u32,
        target: usize,
    },
    Shard {
        replica: usize,
        life: u32,
        shard: usize,
    },
    Send {
        replica: usize,
        life: u32,
        shard: usize,
    },
    Arrive {
        node: usize,
        life: u32,
        body: Rc<Body>,
        sender: Sender,
        /// Until when it waits at the distributor for a claim, or a term's end.
        until_ms: i64,
    },
    Answer {
        body: Rc<Body>,
        sender: Sender,
        answer: Answer,
    },
    AtSink(Forward),
    FromSink(Forward, Outcome),
    Commit(Commit),
    Done {
        node: usize,
        life: u32,
        done: Done,
    },
    Watch {
        node: usize,
        life: u32,
        key: Key,
        value: Value,
    },
    Replay {
        node: usize,
        life: u32,
    },
    Tick {
        node: usize,
        life: u32,
    },
    Poll {
        node: usize,
        life: u32,
    },
    Beat {
        node: usize,
        life: u32,
    },
    Mishap(Mishap),
    StartReplica(usize),
    StartNode(usize),
}

/// Which attempt of a sender a request is: its life, and a number.
type Sender = (u32, u32);

/// A call of the store that takes place.
#[derive(Debug, Clone)]
struct Commit {
    node: usize,
    life: u32,
    name: String,
    operation: Operation,
    /// Whether the caller gets the answer.
    is_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Taken,
    RetryLater(i64),
    Lost,
}

struct At(i64, u64, Event);

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for At {}
impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

pub(crate) struct World {
    scenario: Scenario,
    rng: Rng,
    now_ms: i64,
    queue: BinaryHeap<Reverse<At>>,
    events: u64,
    bodies: u64,
    replicas: Vec<Replica>,
    nodes: Vec<Node>,
    central: View,
    sink: Sink,
    store_slow_until_ms: i64,
    store_down_until_ms: i64,
    sink_slow_until_ms: i64,
    sink_down_until_ms: i64,
    sink_stores: bool,
    /// Newest sample time of each term that the sink acknowledged.
    acknowledged: BTreeMap<i64, i64>,
    /// The longest interval that a distributor has learned, ms.
    longest_interval_ms: i64,
    report: Report,
    is_traced: bool,
}

impl World {
    pub(crate) fn new(scenario: Scenario, is_traced: bool) -> Self {
        let mut rng = Rng::new(scenario.seed ^ 0x5eed);
        let replicas: Vec<Replica> = (0..scenario.replicas)
            .map(|index| Replica::new(index, &scenario, &mut rng))
            .collect();
        let sink = Sink::new(scenario.targets * scenario.series_per_target);
        let mut world = Self {
            rng,
            now_ms: START_MS,
            queue: BinaryHeap::new(),
            events: 0,
            bodies: 0,
            replicas,
            nodes: Vec::new(),
            central: View::default(),
            sink,
            store_slow_until_ms: 0,
            store_down_until_ms: 0,
            sink_slow_until_ms: 0,
            sink_down_until_ms: 0,
            sink_stores: false,
            acknowledged: BTreeMap::new(),
            longest_interval_ms: 0,
            report: Report::default(),
            is_traced,
            scenario,
        };
        for index in 0..world.scenario.distributors {
            let node = world.node(index, 0);
            world.nodes.push(node);
            world.start_node(index);
        }
        for index in 0..world.scenario.replicas {
            world.start_replica(index);
        }
        for (at_ms, mishap) in world.scenario.mishaps.clone() {
            world.at(at_ms, Event::Mishap(mishap));
        }
        world
    }

    pub(crate) fn trace(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.is_traced {
            let text = text(self);
            let _ = writeln!(self.report.trace, "{:>9} {text}", self.now_ms - START_MS);
        }
    }

    pub(crate) fn violated(&mut self, what: &str) {
        self.trace(|_| format!("VIOLATION {what}"));
        let at_ms = self.now_ms - START_MS;
        if self.report.violations.len() < 5 {
            self.report
                .violations
                .push(format!("at {at_ms} ms: {what}"));
        }
    }

    fn after(&mut self, delay_ms: i64, event: Event) {
        self.events += 1;
        let at_ms = self.now_ms + delay_ms.max(0);
        self.queue.push(Reverse(At(at_ms, self.events, event)));
    }

    fn at(&mut self, at_ms: i64, event: Event) {
        self.after(START_MS + at_ms - self.now_ms, event);
    }

    pub(crate) fn run(mut self) -> Report {
        let end_ms = START_MS + self.scenario.until_ms;
        while let Some(Reverse(At(at_ms, _, event))) = self.queue.pop() {
            if at_ms > end_ms {
                break;
            }
            self.now_ms = at_ms;
            self.handle(event);
        }
        self.check_end();
        self.report.stored = self.sink.stored;
        self.report.doubled = self.sink.doubled;
        self.report
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Scrape {
                replica,
                life,
                target,
            } => self.scrape(replica, life, target),
            Event::Shard {
                replica,
                life,
                shard,
            } => self.shard(replica, life, shard),
            Event::Send {
                replica,
                life,
                shard,
            } => self.send(replica, life, shard),
            Event::Answer {
                body,
                sender,
                answer,
            } => self.answer(&body, sender, answer),
            Event::Arrive {
                node,
                life,
                body,
                sender,
                until_ms,
            } => self.arrive(node, life, &body, sender, until_ms),
            Event::AtSink(forward) => self.at_sink(forward),
            Event::FromSink(forward, outcome) => self.answered_by_sink(&forward, outcome),
            Event::Commit(commit) => self.commit(commit),
            Event::Done { node, life, done } if self.lives(node, life) => self.done(node, done),
            Event::Watch {
                node,
                life,
                key,
                value,
            } if self.lives(node, life) => {
                self.watch(node, key, value);
            }
            Event::Replay { node, life } if self.lives(node, life) => self.replay_next(node),
            Event::Tick { node, life } if self.lives(node, life) => self.tick(node),
            Event::Poll { node, life } if self.lives(node, life) => self.poll(node),
            Event::Beat { node, life } if self.lives(node, life) => self.beat(node),
            Event::Mishap(mishap) => self.mishap(mishap),
            Event::StartReplica(replica) => self.start_replica(replica),
            Event::StartNode(node) => {
                let life = self.nodes[node].life;
                self.nodes[node] = self.node(node, life);
                self.start_node(node);
            }
            _ => {}
        }
    }

    pub(crate) fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].is_alive && self.nodes[node].life == life
    }

    // The sink.

    fn at_sink(&mut self, forward: Forward) {
        self.trace(|world| {
            let (name, body) = (&world.nodes[forward.node].name, &forward.body);
            let newest_ms = body.newest_ms() - START_MS;
            format!(
                "{name} -> sink: request {} of r{}, to {newest_ms}",
                body.id, body.replica
            )
        });
        let is_down = self.now_ms < self.sink_down_until_ms;
        let stores = !is_down || (self.sink_stores && self.rng.chance(50));
        if stores {
            let delivery = Delivery {
                request: forward.body.id,
                replica: forward.body.replica,
                term: forward.term,
                guard_ms: self.scenario.settings.guard_ms,
                is_skewed: self.scenario.future_replica,
                ahead_ms: forward.sent_ms + self.scenario.settings.ahead_ms,
            };
            for sample in &forward.samples {
                let violated = self.sink.store(*sample, delivery);
                if let Some(what) = violated
                    && self.scenario.class.is_ordered()
                {
                    self.violated(&format!("{what}, by {}", self.nodes[forward.node].name));
                }
            }
        }
        let outcome = match (is_down, self.sink_stores) {
            (false, _) => Outcome::Done,
            (true, true) => Outcome::Unknown,
            (true, false) => Outcome::NotStored,
        };
        if outcome == Outcome::Unknown {
            self.sink.uncertain.insert(forward.body.id);
        }
        let delay_ms = self.sink_delay_ms();
        self.after(delay_ms, Event::FromSink(forward, outcome));
    }

    pub(crate) fn sink_delay_ms(&mut self) -> i64 {
        if self.now_ms < self.sink_slow_until_ms {
            return self.rng.range(100, DOWNSTREAM_TIMEOUT_MS / 2);
        }
        self.rng.range(1, 40)
    }

    // What goes wrong.

    fn mishap(&mut self, mishap: Mishap) {
        self.trace(|_| format!("mishap {mishap:?}"));
        let until_ms = |for_ms: i64| self.now_ms + for_ms;
        match mishap {
            Mishap::KillElected { restart_ms } => {
                if let Some(index) = self.elected() {
                    self.kill_replica(index, restart_ms);
                }
            }
            Mishap::KillReplica { restart_ms } => {
                let index = self.rng.below(self.replicas.len());
                self.kill_replica(index, restart_ms);
            }
            Mishap::KillDistributor { restart_ms } => {
                let node = self.rng.below(self.nodes.len());
                let alive = self.nodes.iter().filter(|node| node.is_alive).count();
                if self.nodes[node].is_alive && alive > 1 {
                    self.kill_node(node, restart_ms);
                }
            }
            Mishap::CutOff { for_ms } => {
                let until_ms = until_ms(for_ms);
                let node = self.rng.below(self.nodes.len());
                self.nodes[node].cut_off_until_ms = until_ms;
            }
            Mishap::StoreSlow { for_ms } => self.store_slow_until_ms = until_ms(for_ms),
            Mishap::StoreDown { for_ms } => self.store_down_until_ms = until_ms(for_ms),
            Mishap::DownstreamSlow { for_ms } => self.sink_slow_until_ms = until_ms(for_ms),
            Mishap::DownstreamDown { for_ms, stores } => {
                self.sink_down_until_ms = until_ms(for_ms);
                self.sink_stores = stores;
            }
            Mishap::HandOver => self.hand_over(),
        }
    }

    fn elected(&self) -> Option<usize> {
        let view = if self.scenario.gossip {
            &self.nodes.iter().find(|node| node.is_alive)?.view
        } else {
            &self.central
        };
        let (term, _) = view.entry()?;
        self.replica_named(&term.replica)
    }

    pub(crate) fn replica_named(&self, name: &str) -> Option<usize> {
        self.replicas.iter().position(|one| one.name == name)
    }

    fn kill_replica(&mut self, index: usize, restart_ms: Option<i64>) {
        if !self.replicas[index].is_alive {
            return;
        }
        // One replica is always there, or comes back.
        let alive = self.replicas.iter().filter(|one| one.is_alive).count();
        let restart_ms = if alive == 1 {
            Some(restart_ms.unwrap_or(20_000))
        } else {
            restart_ms
        };
        for shard in &self.replicas[index].shards {
            if let Some(body) = &shard.sending {
                self.sink.uncertain.insert(body.id);
            }
        }
        self.replicas[index].kill(self.now_ms);
        self.trace(|_| format!("r{index} dies, restart after {restart_ms:?}"));
        if let Some(restart_ms) = restart_ms {
            self.after(restart_ms, Event::StartReplica(index));
        }
    }

    fn hand_over(&mut self) {
        let elected = self.elected();
        let others: Vec<usize> = (0..self.replicas.len())
            .filter(|one| Some(*one) != elected && self.replicas[*one].is_alive)
            .collect();
        let nodes: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].is_alive && !self.nodes[*node].is_foreign)
            .collect();
        if others.is_empty() || nodes.is_empty() {
            return;
        }
        let (replica, node) = (self.rng.pick(&others), self.rng.pick(&nodes));
        let name = self.replicas[replica].name.clone();
        self.call(node, |state, cx, out| {
            state.begin(&name, Reason::ByHand, cx, out);
        });
    }
}
