//! Failover without loss: of one cluster at one distributor, who may send which sample times, and
//! when. [`ClusterState`] is a state machine without I/O and without a clock.
//!
//! # The protocol
//!
//! A *term* is the time for which one replica is elected. A distributor accepts samples of the
//! elected replica, and *holds* (answers 202, and keeps the compressed body of) those of standbys,
//! only while a [`Claim`] of its own for this term is open in the store.
//!
//! A term ends by a [`Plan`]. When it appears, every distributor stops accepting and holding, lets
//! what is in flight finish, and closes its claim, with the newest sample time that it forwarded
//! (its watermark) and the oldest that it holds of the successor. When all claims are closed, the
//! *boundary* is the highest watermark. Only then is the successor elected. Of the successor,
//! samples later than the boundary and a guard are accepted, and no others.
//!
//! What is held of the successor is replayed first. In one series, samples of one stretch of time
//! shorter than the scrape interval (a *slice*) cannot be two. So each distributor forwards what it
//! holds up to a slice after the oldest sample that any of them still holds, publishes how far it
//! has come, and waits for the others. A claim for the new term opens when all have finished.
//!
//! A distributor that dies stops its heartbeat ([`Fleet`]). Others then close its claim for it: as
//! if it had accepted everything up to its last heartbeat and the time after which it counts as
//! dead. What it held is lost.
//!
//! # How to drive it
//!
//! One [`ClusterState`] per (tenant, cluster), behind a lock; no call waits or takes long. Every
//! call gets a [`Context`] (the time, and the fleet's heartbeats) and adds [`Effect`]s to a list, to
//! be carried out in order after the call:
//!
//! - requests: [`ClusterState::request`] before the downstream is asked; if it answers
//!   [`Fate::Accept`], [`ClusterState::finished`] exactly once after the downstream answered, or the
//!   sender went away. Most requests need no lock: [`Lane::judge`] answers them from atomics while
//!   the claim is open, and [`Ticket::end`] ends them;
//! - the election as stored, after each change and refresh: [`ClusterState::elected`];
//! - records as stored: [`ClusterState::claim_seen`] for every claim of another distributor,
//!   [`ClusterState::plan_seen`], from a watch or a survey, in any order, repeated or not;
//! - [`ClusterState::tick`]: every 100 ms while [`ClusterState::is_busy`], else every second;
//! - ends of effects: [`ClusterState::claim_written`], [`ClusterState::plan_written`],
//!   [`ClusterState::surveyed`], [`ClusterState::replayed`]. Each effect ends exactly once, and a
//!   store call that was given up may still take place.
//!
//! The driver writes this instance's heartbeat every fifth of the time after which a [`Fleet`]
//! considers it dead, from before its first claim on, and keeps the [`Fleet`].
//!
//! [`Failovers`] is such a driver: over a [`kv_core::Store`], with traits for the tracker
//! ([`Elections`]), the downstream ([`Replayer`]) and the limits ([`Rules`]).
//!
//! With a store that is linearizable [`Settings::settle_ms`] is 0, and a survey reads the store. With
//! gossip it is at least the time in which a write reaches all members.
#![warn(clippy::future_not_send)]

mod cluster;
mod driver;
mod faults;
mod fleet;
mod hold;
mod limits;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

pub use cluster::{ClusterState, Lane, Snapshot, Ticket};
pub use driver::{
    Accepted, Decision, Elections, FailoverHandle, Failovers, Parts, Replayer, Rules,
    register_metrics, start,
};
pub use faults::Faults;
pub use fleet::Fleet;
pub use hold::Budget;
pub use limits::{FailoverConfig, FailoverLimits, FailoverMode, records_prefix, refusal};
pub use terms::{Claim, ClaimStage, DONE_MS, NEVER_MS, Plan, PlanStage, Reason, Term};

/// Durations and bounds of one cluster. Times are in ms.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The first sample of a new elected replica is later than the last one of its predecessor by
    /// more than this. At least the difference between the replicas' clocks, plus the duration of a
    /// scrape.
    pub guard_ms: i64,
    /// Length of the slices of a replay. Shorter than the shortest scrape interval.
    pub slice_ms: i64,
    /// A write is known to all distributors after this time: 0 if the store is linearizable.
    pub settle_ms: i64,
    /// The elected replica is late if no distributor has recorded it for this long: from then on
    /// standbys are refused instead of held. Above the time after which the tracker refreshes an
    /// entry, below the one after which it fails over.
    pub late_after_ms: i64,
    /// A request is held for at most this long. Above `late_after_ms`.
    pub hold_ms: i64,
    /// The elected replica may be silent for this long after a request of it was refused: the longest
    /// time between two attempts of a sender, and more for jitter.
    pub backoff_ms: i64,
    /// Interval of the elected replica's samples. A pause of more than two that a standby can fill
    /// is a hole.
    pub interval_ms: i64,
    /// How far a sample can be ahead of its receipt and still move the watermark; one that is
    /// farther ahead counts as this far.
    pub ahead_ms: i64,
    /// A claim that a living distributor does not close is given up after this long.
    pub close_timeout_ms: i64,
    /// Bytes that this distributor may hold of this cluster.
    pub hold_bytes: u64,
}

impl Default for Settings {
    /// For the tracker's default timeouts, Prometheus's interval of 15 s, and a linearizable store.
    fn default() -> Self {
        Self {
            guard_ms: 1_000,
            slice_ms: 4_000,
            settle_ms: 0,
            late_after_ms: 24_000,
            hold_ms: 45_000,
            backoff_ms: 90_000,
            interval_ms: 15_000,
            ahead_ms: 5_000,
            close_timeout_ms: 60_000,
            hold_bytes: 64 << 20,
        }
    }
}

/// The longest pause that is none, of a replica that sends so often, ms.
pub(crate) fn most_pause_ms(interval_ms: i64) -> i64 {
    interval_ms.saturating_mul(2)
}

/// What is known outside of a cluster's state when it is called.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time by this machine's clock, Unix ms.
    pub now_ms: i64,
    /// The heartbeats.
    pub fleet: &'a Fleet,
}

/// A request of one replica of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The replica that sent it.
    pub replica: &'a str,
    /// Its oldest sample time, Unix ms.
    pub oldest_ms: i64,
    /// Its newest sample time, Unix ms.
    pub newest_ms: i64,
    /// What holding its body would cost.
    pub bytes: u64,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Forward it: only the samples after `after_ms`, if that is given.
    Accept {
        /// To be ended once: [`ClusterState::finished`].
        ticket: Ticket,
        /// Samples up to this time are dropped as deduplicated.
        after_ms: Option<i64>,
    },
    /// Answer that it was accepted, and drop it: the elected replica has sent it, or all is well.
    Deduplicate,
    /// Answer that it was accepted: its body is kept.
    Held,
    /// Answer 503 with this Retry-After: the sender's own queue keeps it.
    RetryLater {
        /// When to try again.
        after: Duration,
        /// Why.
        why: Wait,
    },
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// No election is known yet.
    NoElection,
    /// This distributor's claim for the term is not open yet.
    Opening,
    /// The term is ending.
    Election,
    /// What was held is being replayed.
    Replay,
    /// It is of a standby, and the elected replica is late.
    Late,
    /// It is of a standby, and the downstream refuses the elected replica.
    Stalled,
}

impl Wait {
    /// In words, as the end of `try again: `.
    pub fn why(self) -> &'static str {
        match self {
            Wait::NoElection => "no replica of the cluster is elected yet",
            Wait::Opening => "this distributor joins the cluster's term",
            Wait::Election => "another replica of the cluster is being elected",
            Wait::Replay => "samples that were held for the failover are being forwarded",
            Wait::Late => "the cluster's elected replica is late, and this one may succeed it",
            Wait::Stalled => "the downstream does not accept the elected replica's samples now",
        }
    }
}

/// How an accepted request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The downstream stored it, or refused it for good: the sender will not send it again.
    Done,
    /// The downstream refused it for now, and certainly stored nothing of it.
    NotStored,
    /// It failed for now: parts of it may be stored.
    Unknown,
    /// The sender went away: it died, or tries again soon. Parts of it may be stored.
    Abandoned,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<B> {
    /// Store this as this instance's claim for the cluster, whatever is stored. One at a time. Ends
    /// with [`ClusterState::claim_written`].
    WriteClaim(Claim),
    /// Store this as the cluster's plan if the version of the stored one is `over` (0: none is
    /// stored). If not, report what is stored with [`ClusterState::plan_seen`]. Ends with
    /// [`ClusterState::plan_written`].
    WritePlan {
        /// The version that it replaces.
        over: i64,
        /// The plan.
        plan: Plan,
    },
    /// Read the cluster's plan and all claims, and report each with [`ClusterState::plan_seen`] and
    /// [`ClusterState::claim_seen`]. Reads must begin after this. Ends with
    /// [`ClusterState::surveyed`].
    Survey {
        /// To be returned.
        number: u64,
    },
    /// Elect this replica by compare-and-swap of the cluster's entry, if the entry still is of this
    /// term, however young it is. Nothing is reported but the entry.
    Elect {
        /// The term that ends.
        from: Term,
        /// The replica to elect.
        successor: SmolStr,
    },
    /// Forward parts of held requests. Ends with [`ClusterState::replayed`].
    Replay(Slice<B>),
    /// The claim opened, or the replica that it is for changed: requests that wait can be judged
    /// again.
    Wake,
}

/// A part of what is held.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice<B> {
    /// To be returned.
    pub number: u64,
    /// The replica that sent it, now elected.
    pub replica: SmolStr,
    /// Only samples before this time, ms; [`DONE_MS`] for all.
    pub before_ms: i64,
    /// Nothing may be sent after this time, Unix ms by this machine's clock: others may consider
    /// this distributor dead, and continue without it.
    pub until_ms: i64,
    /// To be forwarded one after another, in this order. Each is tried again until it is stored or
    /// refused for good. What was forwarded in part (an earlier slice) is not sent again.
    pub bodies: Arc<[Part<B>]>,
}

/// A part of a held request: its samples after `after_ms`, and before the end of the slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<B> {
    /// Only samples after this time, ms.
    pub after_ms: i64,
    /// What was held.
    pub body: B,
}

/// What happened, for metrics. Grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were held.
    pub held: u64,
    /// Held requests that the elected replica's watermark passed.
    pub passed: u64,
    /// Held requests that were dropped because they were held for the longest time.
    pub expired: u64,
    /// Requests dropped because the hold was full.
    pub evicted: u64,
    /// Requests of standbys that were not held because their samples are in the future.
    pub ahead: u64,
    /// Requests of the elected replica whose samples are in the future.
    pub elected_ahead: u64,
    /// Held requests that were forwarded.
    pub replayed: u64,
    /// Held requests of the elected replica that could not be forwarded.
    pub lost: u64,
    /// Plans begun here.
    pub plans: u64,
    /// Plans of this instance that were withdrawn: the hole that they were for did not exist, or the
    /// replica that was overdue had been refused elsewhere.
    pub withdrawn: u64,
    /// Boundaries fixed here.
    pub boundaries: u64,
    /// Claims of dead distributors that were closed for them.
    pub given_up: u64,
    /// Elections that were not by a plan.
    pub foreign: u64,
}

/// Effects and counts of calls.
#[derive(Debug)]
pub struct Output<B> {
    /// To be carried out in this order.
    pub effects: Vec<Effect<B>>,
    /// To be added to the metrics.
    pub counts: Counts,
}

impl<B> Default for Output<B> {
    fn default() -> Self {
        Self {
            effects: Vec::new(),
            counts: Counts::default(),
        }
    }
}
