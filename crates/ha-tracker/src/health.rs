//! Telling a silent replica from a silent store.
//!
//! While the store hangs nobody refreshes its entries, so that afterwards every entry looks as if
//! its replica had been silent. A tracker that does not see the elected replica itself (its sender
//! has a connection to another) would elect the other one at once, and both would be accepted until
//! all trackers know.
//!
//! So a tracker asks the store at every look whether it answers, and times its calls. While the
//! store does not answer, nothing fails over. After trouble (it did not answer, a call took long, a
//! watch was interrupted, or the tracker has just started), an entry that is too old is given the
//! time in which every tracker that sees the replica refreshes it; then it fails over. A failover is
//! put off by that time at the most, so that a store which is always slow holds none back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kv_core::StoreError;
use tokio::time::Instant;

use crate::clock::saturating_ms;
use crate::tracker::HaTracker;

/// A call that takes longer is trouble: others may have waited as long with their refreshes.
pub(crate) const SLOW_CALL: Duration = Duration::from_secs(1);
/// A store that takes longer to answer, or does not for this long, is away.
pub(crate) const AWAY: Duration = Duration::from_secs(5);
/// What is asked for: a key that no cluster can have, since it has no `/`.
const HEALTH_KEY: &str = "health";
/// Stands for no time at all.
const NEVER: i64 = -1;

/// What a tracker knows of its store's health.
#[derive(Debug)]
pub(crate) struct Health {
    start: Instant,
    /// Since when the store does not answer, ms since `start`.
    failing_since_ms: AtomicI64,
    /// When trouble was last seen, ms since `start`.
    trouble_ms: AtomicI64,
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
    No {
        /// And has not for some time.
        away: bool,
    },
}

/// Since when a cluster's failover waits, ms since the tracker's start.
#[derive(Debug)]
pub(crate) struct Waiting(AtomicI64);

impl Default for Health {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            failing_since_ms: AtomicI64::new(0),
            trouble_ms: AtomicI64::new(0),
        }
    }
}

impl Health {
    fn now_ms(&self) -> i64 {
        saturating_ms(self.start.elapsed())
    }

    /// Others may not have been able to refresh their entries.
    pub(crate) fn trouble(&self) {
        self.trouble_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// What a call that began at `began` says.
    pub(crate) fn timed(&self, began: Instant) {
        if began.elapsed() > SLOW_CALL {
            self.trouble();
        }
    }

    fn fails(&self) {
        let now_ms = self.now_ms();
        let _ = self.failing_since_ms.compare_exchange(
            NEVER,
            now_ms,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    fn answers(&self) {
        if self.failing_since_ms.swap(NEVER, Ordering::Relaxed) != NEVER {
            self.trouble();
        }
    }

    /// `refresh`: the time in which every tracker that sees a replica refreshes its entry.
    pub(crate) fn failovers(&self, refresh: Duration) -> Failovers {
        let (now_ms, wait_ms) = (self.now_ms(), saturating_ms(refresh));
        let since_ms = self.failing_since_ms.load(Ordering::Relaxed);
        if since_ms != NEVER {
            let away = now_ms.saturating_sub(since_ms) >= saturating_ms(AWAY);
            return Failovers::No { away };
        }
        if now_ms.saturating_sub(self.trouble_ms.load(Ordering::Relaxed)) >= wait_ms {
            Failovers::Allowed
        } else {
            Failovers::After { now_ms, wait_ms }
        }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self(AtomicI64::new(NEVER))
    }
}

impl Waiting {
    /// The entry was refreshed.
    pub(crate) fn over(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }

    /// How much longer it waits, ms, in all of `wait_ms` if it has not begun.
    pub(crate) fn remaining_ms(&self, now_ms: i64, wait_ms: i64) -> i64 {
        match self.0.load(Ordering::Relaxed) {
            NEVER => wait_ms,
            since_ms => wait_ms
                .saturating_sub(now_ms.saturating_sub(since_ms))
                .max(0),
        }
    }

    /// Whether a cluster whose entry is too old may fail over now; begins to wait if it has to.
    pub(crate) fn allows(&self, failovers: Failovers) -> bool {
        match failovers {
            Failovers::Allowed => true,
            Failovers::No { away } => {
                if away {
                    // The wait begins anew when the store is back.
                    self.over();
                }
                false
            }
            Failovers::After { now_ms, wait_ms } => {
                let begun =
                    self.0
                        .compare_exchange(NEVER, now_ms, Ordering::Relaxed, Ordering::Relaxed);
                begun.is_err_and(|since_ms| now_ms.saturating_sub(since_ms) >= wait_ms)
            }
        }
    }
}

impl HaTracker {
    /// Asks the store whether it answers, as often as clusters are looked at, until shutdown.
    pub(crate) async fn keep_asking(self: Arc<Self>) {
        let ask = async {
            loop {
                self.ask().await;
                self.metrics.skews.settle();
                tokio::time::sleep(self.pause_between_looks()).await;
            }
        };
        tokio::select! {
            () = ask => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    async fn ask(&self) {
        let began = Instant::now();
        let mut call = self.store.get(HEALTH_KEY);
        let answer = match tokio::time::timeout(AWAY, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                self.health.fails();
                self.note_slow(AWAY, "does not answer");
                call.await
            }
        };
        self.health.timed(began);
        match answer {
            Err(error @ StoreError::Unavailable { .. }) => {
                self.health.fails();
                self.note_failure(&error, Duration::ZERO);
            }
            _ => {
                self.health.answers();
                match began.elapsed() {
                    took if took > SLOW_CALL => self.note_slow(took, "took too long to answer"),
                    _ => self.troubles.answered(),
                }
            }
        }
    }
}
