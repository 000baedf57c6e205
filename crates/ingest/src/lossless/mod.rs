//! The push path's part in failovers without loss: what is held, what is cut, and the replay.
//!
//! Who may accept what is decided by [`ha_failover::Failovers`]. A request asks it once for its
//! cluster, before anything is forwarded, and reports once how that ended.

mod admission;
mod held;
mod metrics;
mod replay;

pub(crate) use admission::{Admitted, Judgement, admit};
pub use held::{Failovers, HeldBody};
pub(crate) use metrics::FailoverMetrics;
