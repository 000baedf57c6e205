//! Outages of the store: shown on pages, and logged when they begin and when they end.

use std::sync::Mutex;
use std::time::Duration;

use kv_core::{StoreError, lock};
use tokio::time::Instant;

use crate::clock::Clock;

/// An outage is over when there was no failure for this long: a store that is slow from time to
/// time is logged once, not each time.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// The store does not answer, or not in time. Elections stay as they are, new clusters are refused,
/// and nothing fails over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOutage {
    /// When it began, Unix ms.
    pub since_ms: i64,
    /// What went wrong last.
    pub what: String,
}

/// Records failures of the store.
#[derive(Debug)]
pub(crate) struct StoreOutages {
    /// Name of the store.
    store: &'static str,
    clock: Clock,
    /// Locked alone.
    current: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    shown: StoreOutage,
    began: Instant,
    /// It is over if there is no other failure until then.
    until: Instant,
}

impl StoreOutages {
    pub(crate) fn new(store: &'static str, clock: Clock) -> Self {
        Self {
            store,
            clock,
            current: Mutex::new(None),
        }
    }

    pub(crate) fn current(&self) -> Option<StoreOutage> {
        let current = lock(&self.current);
        current.as_ref().map(|outage| outage.shown.clone())
    }

    /// Records a failed call if the store is the cause; returns whether it is. `next`: time until
    /// the same call could fail again, at the earliest.
    pub(crate) fn failed(&self, error: &StoreError, next: Duration) -> bool {
        let is_unavailable = matches!(error, StoreError::Unavailable { .. });
        if is_unavailable {
            self.note(error.to_string(), next);
        }
        is_unavailable
    }

    /// Records a call that took this long; `what` describes it.
    pub(crate) fn slow(&self, took: Duration, what: &str) {
        let (store, seconds) = (self.store, took.as_secs_f64());
        self.note(format!("{store}: {what} ({seconds:.1} s)"), QUIET_PERIOD);
    }

    fn note(&self, what: String, next: Duration) {
        let now = Instant::now();
        let until = now + QUIET_PERIOD.max(next);
        match &mut *lock(&self.current) {
            Some(outage) => {
                outage.shown.what = what;
                outage.until = outage.until.max(until);
            }
            current => {
                tracing::warn!(
                    %what,
                    "the HA tracker's store is failing: elections do not change until it answers \
                     again"
                );
                let since_ms = self.clock.now_ms();
                *current = Some(Outage {
                    shown: StoreOutage { since_ms, what },
                    began: now,
                    until,
                });
            }
        }
    }

    /// The store answered in time.
    pub(crate) fn answered(&self) {
        let ended = lock(&self.current).take_if(|outage| outage.until <= Instant::now());
        if let Some(outage) = ended {
            let seconds = outage.began.elapsed().as_secs();
            tracing::info!(seconds, "the HA tracker's store answers again");
        }
    }
}
