//! Distinguishes a silent replica from an outage of the store.
//!
//! While the store hangs, its entries are not refreshed, so afterwards every replica seems to have
//! been silent. A tracker that does not see the elected replica itself (because it sends to another
//! distributor) would elect the other replica at once, and both would be accepted until all
//! trackers know.
//!
//! So a tracker probes the store at every poll of its clusters, and measures its calls. While the
//! store does not answer, nothing fails over. After a disturbance (the store did not answer, a call
//! was slow, a watch was interrupted, or the tracker has just started), a failover waits once, for
//! the time in which every tracker that sees the replica refreshes its entry. A failover is delayed
//! by at most that time, so a store that is always slow does not prevent it.

mod outage;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::atomic_time::AtomicTime;
use crate::clock::saturating_ms;

pub use outage::StoreOutage;
pub(crate) use outage::StoreOutages;

/// A call that takes longer is a disturbance: other trackers' refreshes may have been as slow.
pub(crate) const SLOW_CALL: Duration = Duration::from_secs(1);
/// A store that does not answer within this time is unavailable.
pub(crate) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(5);

/// A tracker's view of its store's health.
#[derive(Debug)]
pub(crate) struct StoreHealth {
    start: Instant,
    /// Since when the store does not answer, ms since `start`.
    failing_since: AtomicTime,
    /// Time of the last disturbance, ms since `start`, which counts as one.
    last_disturbance_ms: AtomicI64,
}

/// Whether failovers are allowed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failovers {
    /// The age of an entry is the silence of its replica.
    Allowed,
    /// After a disturbance: an entry has to be too old for this long.
    After {
        /// Now, ms since the tracker's start.
        now_ms: i64,
        /// How long to wait, ms.
        wait_ms: i64,
    },
    /// The store does not answer.
    Blocked {
        /// It has not answered for some time.
        is_unavailable: bool,
    },
}

impl Failovers {
    /// How long reading the entry may take for a failover. One that has waited for other trackers
    /// trusts the store, unless it is unavailable.
    pub(crate) fn read_limit(self) -> Duration {
        match self {
            Self::Allowed => SLOW_CALL,
            Self::After { .. } | Self::Blocked { .. } => UNAVAILABLE_AFTER,
        }
    }
}

impl Default for StoreHealth {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            failing_since: AtomicTime::new(Some(0)),
            last_disturbance_ms: AtomicI64::new(0),
        }
    }
}

impl StoreHealth {
    fn now_ms(&self) -> i64 {
        saturating_ms(self.start.elapsed())
    }

    /// Others may not have been able to refresh their entries.
    pub(crate) fn disturbed(&self) {
        self.last_disturbance_ms
            .store(self.now_ms(), Ordering::Relaxed);
    }

    /// Records the result of a call that began at `began`.
    pub(crate) fn timed(&self, began: Instant) {
        if began.elapsed() > SLOW_CALL {
            self.disturbed();
        }
    }

    /// The store does not answer.
    pub(crate) fn fails(&self) {
        self.failing_since.set_if_none(self.now_ms());
    }

    /// The store answers.
    pub(crate) fn answers(&self) {
        if self.failing_since.take().is_some() {
            self.disturbed();
        }
    }

    /// `refresh`: the time in which every tracker that sees a replica refreshes its entry.
    pub(crate) fn failovers(&self, refresh: Duration) -> Failovers {
        let (now_ms, wait_ms) = (self.now_ms(), saturating_ms(refresh));
        if let Some(since_ms) = self.failing_since.get() {
            let is_unavailable =
                now_ms.saturating_sub(since_ms) >= saturating_ms(UNAVAILABLE_AFTER);
            return Failovers::Blocked { is_unavailable };
        }
        let disturbance_ms = self.last_disturbance_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(disturbance_ms) >= wait_ms {
            Failovers::Allowed
        } else {
            Failovers::After { now_ms, wait_ms }
        }
    }
}
