//! Failovers: which replica is to be written for a cluster, and what a failover waits for.

mod due;
mod outlook;

pub(crate) use due::due_now;
pub use outlook::FailoverOutlook;
pub(crate) use outlook::outlook;
