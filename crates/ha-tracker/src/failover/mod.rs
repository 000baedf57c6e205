//! Failovers: which replica to write for a cluster, and what a failover is waiting for.

mod due;
mod outlook;

pub(crate) use due::due_now;
pub use outlook::FailoverOutlook;
pub(crate) use outlook::outlook;
