//! [`ElectionGate`]: asked before each failover.

use crate::ReplicaDesc;

/// Why another replica is to be elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailoverCause {
    /// A poll found the elected one overdue.
    Poll,
    /// A request of the successor came while the elected one was overdue.
    Arrival,
    /// An operator asked for it.
    ByHand,
    /// A failover without loss, which the gate had begun, is complete: the gate is not asked for it.
    Lossless,
}

impl FailoverCause {
    /// One word, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Arrival => "arrival",
            Self::ByHand => "by_hand",
            Self::Lossless => "lossless",
        }
    }
}

/// An election that is to replace the elected replica of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Failover<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Its cluster.
    pub cluster: &'a str,
    /// The election that it ends, as this tracker knows it.
    pub ends: &'a ReplicaDesc,
    /// The replica to elect.
    pub successor: &'a str,
    /// Why.
    pub cause: FailoverCause,
    /// Unix ms.
    pub now_ms: i64,
}

/// The answer of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateAnswer {
    /// The replica may be elected now.
    Go,
    /// Not now: nothing is written. The next poll, or the next request of the successor, asks again.
    NotYet,
}

/// Decides when a failover may take place. Without a gate, each may at once.
///
/// It is asked before each call of the store that would elect another replica, by a poll, an arriving
/// request or an operator, and again before each repetition; not before the election for a cluster
/// that has none. If the stored election is no longer the one that [`Failover::ends`], nothing is
/// written.
///
/// A gate must answer at once. One that has said [`GateAnswer::NotYet`] and is ready can also elect
/// by itself, with [`HaTracker::elect`](crate::HaTracker::elect).
pub trait ElectionGate: Send + Sync + 'static {
    /// Whether this failover may take place now.
    fn ask(&self, failover: &Failover<'_>) -> GateAnswer;
}
