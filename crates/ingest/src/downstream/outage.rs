//! Since when a downstream fails: one line in the log when it begins, one when it is over.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ha_tracker::Clock;
use tokio::time::Instant;

/// It is over with the first answer that arrives this long after the last failure: a downstream
/// that fails from time to time is logged once, not each time.
const CALM: Duration = Duration::from_secs(10);

/// Requests to a downstream fail, and senders get 503.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownstreamOutage {
    /// The downstream's name.
    pub name: String,
    /// When it began, Unix ms.
    pub since_ms: i64,
    /// Requests that have failed since.
    pub failures: u64,
    /// The last answer to senders.
    pub what: String,
}

/// Of one downstream.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Whether there is any: successes check only this.
    is_failing: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    told: DownstreamOutage,
    began: Instant,
    last: Instant,
}

impl Outage {
    fn with<R>(&self, act: impl FnOnce(&mut Option<State>) -> R) -> R {
        act(&mut kv_core::lock(&self.state))
    }

    pub(super) fn failed(&self, name: &str, what: &str) {
        let now = Instant::now();
        self.is_failing.store(true, Ordering::Relaxed);
        self.with(|state| {
            let state = state.get_or_insert_with(|| {
                tracing::warn!(
                    downstream = name,
                    "requests to a downstream fail; senders keep their samples and try again: {what}"
                );
                State {
                    told: DownstreamOutage {
                        name: name.to_owned(),
                        since_ms: Clock::System.now_ms(),
                        failures: 0,
                        what: String::new(),
                    },
                    began: now,
                    last: now,
                }
            });
            state.told.failures += 1;
            what.clone_into(&mut state.told.what);
            state.last = now;
        });
    }

    pub(super) fn answered(&self) {
        if !self.is_failing.load(Ordering::Relaxed) {
            return;
        }
        let over = self.with(|state| {
            let over = state.take_if(|state| state.last.elapsed() >= CALM);
            self.is_failing.store(state.is_some(), Ordering::Relaxed);
            over
        });
        if let Some(State { told, began, .. }) = over {
            tracing::info!(
                downstream = told.name,
                seconds = began.elapsed().as_secs(),
                failures = told.failures,
                "the downstream answers again"
            );
        }
    }

    pub(super) fn now(&self) -> Option<DownstreamOutage> {
        self.with(|state| state.as_ref().map(|state| state.told.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_until_it_has_been_quiet_for_a_while() {
        let outage = Outage::default();
        outage.answered();
        assert_eq!(outage.now(), None);
        outage.failed("far", "503");
        for _ in 0..5 {
            tokio::time::advance(CALM / 2).await;
            outage.answered();
            outage.failed("far", "timed out");
        }
        let now = outage.now().unwrap();
        assert_eq!((now.failures, now.what.as_str()), (6, "timed out"));
        tokio::time::advance(CALM - Duration::from_millis(1)).await;
        outage.answered();
        assert!(outage.now().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        // Without an answer it is not known.
        assert!(outage.now().is_some());
        outage.answered();
        assert_eq!(outage.now(), None);
        outage.failed("far", "again");
        assert_eq!(outage.now().unwrap().failures, 1);
    }
}
