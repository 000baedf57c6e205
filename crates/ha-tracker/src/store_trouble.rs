//! Since when the store is in trouble, for those who look at it: one line in the log when it begins,
//! one when it ends.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kv_core::StoreError;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::tracker::HaTracker;

/// Trouble is over when nothing went wrong for this long: a store that is slow now and then is told of
/// once, not each time.
const CALM: Duration = Duration::from_secs(10);

/// The store does not answer, or not in time. What is elected stays so, and goes on being served;
/// clusters that are new get no answer, and nothing fails over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTrouble {
    /// When it began, Unix ms.
    pub since_ms: i64,
    /// What went wrong last.
    pub what: String,
}

#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<Option<Trouble>>);

#[derive(Debug)]
struct Trouble {
    told: StoreTrouble,
    began: Instant,
    /// It is over if nothing else goes wrong until then.
    until: Instant,
}

impl Troubles {
    fn with<R>(&self, act: impl FnOnce(&mut Option<Trouble>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something went wrong. `next`: when the same would at the earliest go wrong again.
    pub(crate) fn seen(&self, clock: &Clock, what: String, next: Duration) {
        let now = Instant::now();
        let until = now + CALM.max(next);
        self.with(|trouble| match trouble {
            Some(trouble) => {
                trouble.told.what = what;
                trouble.until = trouble.until.max(until);
            }
            None => {
                tracing::warn!(
                    %what,
                    "the HA tracker's store is in trouble: elections stay as they are until it \
                     answers again"
                );
                let since_ms = clock.now_ms();
                *trouble = Some(Trouble {
                    told: StoreTrouble { since_ms, what },
                    began: now,
                    until,
                });
            }
        });
    }

    /// The store answered in time.
    pub(crate) fn answered(&self) {
        let ended = self.with(|trouble| trouble.take_if(|trouble| trouble.until <= Instant::now()));
        if let Some(trouble) = ended {
            let seconds = trouble.began.elapsed().as_secs();
            tracing::info!(seconds, "the HA tracker's store answers again");
        }
    }
}

impl HaTracker {
    /// The trouble with the store, if there is any: since when it is unreachable or slow. It is over
    /// once the store has answered in time for ten seconds.
    pub fn store_trouble(&self) -> Option<StoreTrouble> {
        let told = |trouble: &mut Option<Trouble>| trouble.as_ref().map(|t| t.told.clone());
        self.troubles.with(told)
    }

    /// Takes note of a call that failed, if that is the store's fault; whether it is.
    pub(crate) fn note_failure(&self, error: &StoreError, next: Duration) -> bool {
        let is_away = matches!(error, StoreError::Unavailable { .. });
        if is_away {
            let what = error.to_string();
            self.troubles.seen(&self.config.clock, what, next);
        }
        is_away
    }

    pub(crate) fn note_slow(&self, took: Duration, what: &str) {
        let store = self.store.name();
        let what = format!("{store}: {what} ({:.1} s)", took.as_secs_f64());
        self.troubles.seen(&self.config.clock, what, CALM);
    }
}
