//! Failovers: which replica to write for a cluster, and what a failover is waiting for.

mod due;
mod outlook;
mod overdue;

pub(crate) use due::{due_now, is_elected_by_arrival};
pub use outlook::FailoverOutlook;
pub(crate) use outlook::outlook;
pub(crate) use overdue::{Rules, is_overdue};
