//! Outcomes of writes to the secondary: counted, logged, shown.

use std::sync::Mutex;
use std::time::SystemTime;

use kv_core::{LogThrottle, Value, lock};

use crate::metrics::Metrics;
use crate::mirror::{Mirror, Task};
use crate::status::MirrorFailure;

/// Why a write was cancelled.
pub(crate) const GIVEN_UP: &str = "not written in time for a switch or the shutdown";

/// Counts each write to the secondary once, and logs failures.
pub(crate) struct Outcomes {
    metrics: Metrics,
    /// Locked alone.
    last_error: Mutex<Option<MirrorFailure>>,
    mirror_log: LogThrottle,
    backfill_log: LogThrottle,
}

impl Outcomes {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            last_error: Mutex::new(None),
            mirror_log: LogThrottle::default(),
            backfill_log: LogThrottle::default(),
        }
    }

    /// The last write that was not mirrored.
    pub(crate) fn last_error(&self) -> Option<MirrorFailure> {
        lock(&self.last_error).clone()
    }

    /// A task ended, or failed because of `problem`.
    pub(crate) fn record<V>(&self, key: &str, task: &Task<V>, problem: Option<String>) {
        match (task, problem) {
            (Task::Follow(_), None) => {
                self.metrics.mirror_writes.inc();
            }
            (Task::Follow(_), Some(error)) => self.not_mirrored(key, error),
            (Task::Copy(_), None) => {
                self.metrics.backfill_copied.inc();
            }
            (Task::Copy(_), Some(error)) => self.not_copied(key, &error),
        }
    }

    /// Records the waiting tasks as given up.
    pub(crate) fn give_up<V: Value>(&self, queue: &Mirror<V>) {
        for (key, task) in queue.give_up() {
            self.record(&key, &task, Some(GIVEN_UP.to_owned()));
        }
    }

    fn not_mirrored(&self, key: &str, error: String) {
        self.metrics.mirror_writes.inc();
        self.metrics.mirror_errors.inc();
        if let Some(suppressed) = self.mirror_log.admit() {
            tracing::warn!(
                key,
                error,
                suppressed,
                "a write was not mirrored to the secondary store"
            );
        }
        let failure = MirrorFailure {
            at: SystemTime::now(),
            key: key.to_owned(),
            error,
        };
        *lock(&self.last_error) = Some(failure);
    }

    fn not_copied(&self, key: &str, error: &str) {
        self.metrics.backfill_failed.inc();
        if let Some(suppressed) = self.backfill_log.admit() {
            tracing::warn!(
                key,
                error,
                suppressed,
                "a key could not be copied to the secondary store; it is tried again after the next comparison"
            );
        }
    }
}
