//! Terms, and the two records that distributors write about them.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// No time: before every sample.
pub const NEVER_MS: i64 = i64::MIN;
/// No more samples: after every sample.
pub const DONE_MS: i64 = i64::MAX;

/// The time for which one replica is elected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The elected replica.
    pub replica: SmolStr,
    /// When it was elected, Unix ms.
    pub elected_at: i64,
    /// How many times the elected replica had changed then.
    pub changes: i64,
}

/// What one distributor has published about one cluster. It has one writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Grows with each version.
    pub version: i64,
    /// The term it is about.
    pub term: Term,
    /// What the distributor does in it.
    pub stage: ClaimStage,
}

/// What a distributor does in a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimStage {
    /// It forwards what the previous term's standby, now elected, left with it.
    Replaying {
        /// Everything of that replica before this time is forwarded, ms; [`DONE_MS`] at the end.
        next_ms: i64,
    },
    /// It may accept samples of the elected replica, and hold those of others. It has nothing to
    /// replay.
    Open,
    /// It accepts nothing more of the elected replica, and nothing is in flight.
    Closed {
        /// The plan that it closed for: its version and successor as one number.
        plan: i64,
        /// Newest sample time of the elected replica that it may have forwarded, ms.
        watermark_ms: i64,
        /// Nothing that it holds of the plan's successor is older, ms; [`DONE_MS`] if nothing.
        next_ms: i64,
        /// When the last request of the elected replica came, Unix ms; [`NEVER_MS`] if none did.
        seen_ms: i64,
        /// Whether that request was refused, and the replica may wait before it tries again.
        was_refused: bool,
    },
}

impl Claim {
    /// Progress of a replay in `term`: nothing older is to come from this distributor.
    pub(crate) fn replayed_until(&self, term: &Term) -> Option<i64> {
        if self.term.changes > term.changes {
            return Some(DONE_MS);
        }
        if self.term != *term {
            return None;
        }
        match self.stage {
            ClaimStage::Replaying { next_ms } => Some(next_ms),
            ClaimStage::Open | ClaimStage::Closed { .. } => Some(DONE_MS),
        }
    }
}

/// How a term ends, and where in sample time the next one begins. All distributors write it, by
/// compare-and-swap of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Grows with each version.
    pub version: i64,
    /// The term that it ends.
    pub from: Term,
    /// The replica to be elected.
    pub successor: SmolStr,
    /// Why.
    pub reason: Reason,
    /// The instance that carries it out.
    pub elector: SmolStr,
    /// Where the term that it ends began, ms of sample time; [`NEVER_MS`] if there is no boundary.
    pub floor_ms: i64,
    /// How far it has come.
    pub stage: PlanStage,
}

/// How far a plan has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStage {
    /// Claims are being closed.
    Gathering,
    /// All claims are closed.
    Fixed {
        /// Newest sample time that was forwarded in the term, ms.
        boundary_ms: i64,
        /// The distributors that hold samples of the successor, and from which time on.
        participants: Vec<(SmolStr, i64)>,
    },
    /// The term continues.
    Withdrawn {
        /// The elected replica is not overdue until this time, Unix ms.
        until_ms: i64,
    },
}

impl Plan {
    /// Tells plans apart, the same at all distributors: two that are begun in the same millisecond for
    /// different successors have one version. FNV-1a.
    pub(crate) fn id(&self) -> i64 {
        let bytes = self.version.to_le_bytes();
        let all = bytes.iter().chain(self.successor.as_bytes());
        let hash = all.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash.cast_signed()
    }

    /// Whether it replaces another one. Of two of one version, the one that wins in the store, whose
    /// merge compares them as text.
    pub(crate) fn is_newer_than(&self, other: &Plan) -> bool {
        (self.version, &self.successor, &self.elector)
            > (other.version, &other.successor, &other.elector)
    }

    /// Whether it ends this term, and is in progress.
    pub(crate) fn ends(&self, term: &Term) -> bool {
        self.from == *term && !matches!(self.stage, PlanStage::Withdrawn { .. })
    }

    /// Whether this term is the one that it leads to.
    pub(crate) fn leads_to(&self, term: &Term) -> bool {
        matches!(self.stage, PlanStage::Fixed { .. })
            && self.successor == term.replica
            && self.from.changes.checked_add(1) == Some(term.changes)
    }
}

/// Why a term should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The elected replica is overdue.
    Overdue,
    /// The elected replica came back after a pause that a standby can fill.
    Hole {
        /// Its first sample time after the pause, ms.
        oldest_ms: i64,
        /// How often it sent before the pause, ms.
        interval_ms: i64,
    },
    /// An operator asked for it.
    ByHand,
}
