//! A failover that waits for other trackers to refresh the entry.

use crate::atomic_time::AtomicTime;
use crate::store_health::Failovers;

/// Since when a cluster's failover waits, ms since the tracker's start.
#[derive(Debug)]
pub(crate) struct FailoverWait(AtomicTime);

impl Default for FailoverWait {
    fn default() -> Self {
        Self(AtomicTime::new(None))
    }
}

impl FailoverWait {
    /// The entry was refreshed.
    pub(crate) fn end(&self) {
        self.0.set(None);
    }

    /// Remaining wait, ms; all of `wait_ms` if it has not begun.
    pub(crate) fn remaining_ms(&self, now_ms: i64, wait_ms: i64) -> i64 {
        match self.0.get() {
            None => wait_ms,
            Some(since_ms) => wait_ms
                .saturating_sub(now_ms.saturating_sub(since_ms))
                .max(0),
        }
    }

    /// Whether a cluster whose entry is too old may fail over now; begins to wait if necessary.
    pub(crate) fn allows(&self, failovers: Failovers) -> bool {
        match failovers {
            Failovers::Allowed => true,
            Failovers::Blocked { is_unavailable } => {
                if is_unavailable {
                    // The wait restarts when the store is back.
                    self.end();
                }
                false
            }
            Failovers::After { now_ms, wait_ms } => {
                let begun = self.0.set_if_none(now_ms);
                begun.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= wait_ms)
            }
        }
    }
}
