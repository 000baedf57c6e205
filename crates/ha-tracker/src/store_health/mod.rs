//! Telling a silent replica from a silent store.
//!
//! While the store hangs, its entries are not refreshed, so that afterwards every entry looks as if
//! its replica had been silent. A tracker that does not see the elected replica itself (its sender
//! has a connection to another) would elect the other one at once, and both would be accepted until
//! all trackers know.
//!
//! So a tracker probes the store at every poll of its clusters, and times its calls. While the store
//! does not answer, nothing fails over. After trouble (it did not answer, a call took long, a watch
//! was interrupted, or the tracker has just started), an entry that is too old is given the time in
//! which every tracker that sees the replica refreshes it; then it fails over. A failover is put off
//! by that time at the most, so that a store which is always slow prevents none.

mod trouble;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::atomic_time::AtomicTime;
use crate::clock::saturating_ms;

pub use trouble::StoreTrouble;
pub(crate) use trouble::Troubles;

/// A call that takes longer is trouble: others may have waited as long with their refreshes.
pub(crate) const SLOW_CALL: Duration = Duration::from_secs(1);
/// A store that takes longer to answer, or does not for this long, is unavailable.
pub(crate) const UNAVAILABLE_AFTER: Duration = Duration::from_secs(5);

/// What a tracker knows of its store's health.
#[derive(Debug)]
pub(crate) struct StoreHealth {
    start: Instant,
    /// Since when the store does not answer, ms since `start`.
    failing_since: AtomicTime,
    /// When trouble was last seen, ms since `start`, which counts as trouble too.
    last_trouble_ms: AtomicI64,
}

/// What that means for failovers now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failovers {
    /// The age of an entry is the silence of its replica.
    Allowed,
    /// There was trouble: an entry has to be too old for this long.
    After {
        /// Now, ms since the tracker's start.
        now_ms: i64,
        /// How long to wait, ms.
        wait_ms: i64,
    },
    /// The store does not answer.
    Blocked {
        /// And has not for some time.
        is_unavailable: bool,
    },
}

impl Default for StoreHealth {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            failing_since: AtomicTime::new(Some(0)),
            last_trouble_ms: AtomicI64::new(0),
        }
    }
}

impl StoreHealth {
    fn now_ms(&self) -> i64 {
        saturating_ms(self.start.elapsed())
    }

    /// Others may not have been able to refresh their entries.
    pub(crate) fn trouble(&self) {
        self.last_trouble_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// What a call that began at `began` says.
    pub(crate) fn timed(&self, began: Instant) {
        if began.elapsed() > SLOW_CALL {
            self.trouble();
        }
    }

    /// The store does not answer.
    pub(crate) fn fails(&self) {
        self.failing_since.set_if_none(self.now_ms());
    }

    /// The store answers.
    pub(crate) fn answers(&self) {
        if self.failing_since.take().is_some() {
            self.trouble();
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
        let trouble_ms = self.last_trouble_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(trouble_ms) >= wait_ms {
            Failovers::Allowed
        } else {
            Failovers::After { now_ms, wait_ms }
        }
    }
}
