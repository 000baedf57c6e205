//! Telling a silent replica from a silent store.
//!
//! While the store cannot be reached nobody refreshes its entries, so that afterwards every entry
//! looks as if its replica had been silent. A tracker that does not see the elected replica itself
//! (its sender has a connection to another) would elect the other one at once, and both would be
//! accepted until all trackers know. So after a failed call a cluster's entry is first read, and it
//! only fails over if the entry is still old after those who see the replica had the time to refresh
//! it. Each failover is put off once, however often the store fails.

use std::sync::atomic::{AtomicI64, Ordering};

const NO_OUTAGE: i64 = i64::MIN;
const FAILING: i64 = i64::MAX;

/// What one cluster's calls to the store say about the age of its entry.
#[derive(Debug)]
pub(crate) struct Outage(AtomicI64);

/// Whether an old entry may lead to a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failover {
    /// The replica is silent.
    Allowed,
    /// A call failed: read the entry first.
    ProbeFirst,
    /// The store is back; others are refreshing the entry, if they see the replica.
    Wait,
}

impl Default for Outage {
    fn default() -> Self {
        Self(AtomicI64::new(NO_OUTAGE))
    }
}

impl Outage {
    /// A call about this cluster failed.
    pub(crate) fn failed(&self) {
        self.0.store(FAILING, Ordering::Relaxed);
    }

    /// The entry was written, by anybody: its age means something again.
    pub(crate) fn over(&self) {
        self.0.store(NO_OUTAGE, Ordering::Relaxed);
    }

    /// The store answers again; no failover before `until_ms`.
    pub(crate) fn answered(&self, until_ms: i64) {
        self.0.store(until_ms, Ordering::Relaxed);
    }

    /// `failed_lately`: whether a call about any cluster has.
    pub(crate) fn failover(&self, now_ms: i64, failed_lately: bool) -> Failover {
        match self.0.load(Ordering::Relaxed) {
            FAILING => Failover::ProbeFirst,
            NO_OUTAGE if failed_lately => Failover::ProbeFirst,
            until_ms if now_ms < until_ms => Failover::Wait,
            _ => Failover::Allowed,
        }
    }
}
