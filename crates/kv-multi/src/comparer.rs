//! The comparisons of a multi store: one at a time, shared by all callers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_core::{Value, lock};
use tokio::time::Instant;

use crate::compare::compare;
use crate::comparison::{CompareError, Comparison};
use crate::metrics::Metrics;
use crate::roles::Roles;

/// What the last comparison of a state found.
struct Last<V> {
    comparison: Option<Arc<Comparison<V>>>,
    /// The generation whose secondary was found complete.
    complete: Option<u64>,
}

/// Compares the two stores of [`Roles`].
///
/// Lock order: `failed`, then the roles' state or `last`; those two are never held together.
pub(crate) struct Comparer<V> {
    roles: Arc<Roles<V>>,
    settle: Duration,
    metrics: Metrics,
    /// The last failure of a comparison. Locked while a comparison runs.
    failed: tokio::sync::Mutex<Option<(Instant, CompareError)>>,
    last: Mutex<Last<V>>,
}

impl<V: Value> Comparer<V> {
    pub(crate) fn new(roles: Arc<Roles<V>>, settle: Duration, metrics: Metrics) -> Self {
        Self {
            roles,
            settle,
            metrics,
            failed: tokio::sync::Mutex::new(None),
            last: Mutex::new(Last {
                comparison: None,
                complete: None,
            }),
        }
    }

    /// See [`MultiStore::compare`](crate::MultiStore::compare).
    pub(crate) async fn compare(
        &self,
        max_age: Duration,
    ) -> Result<Arc<Comparison<V>>, CompareError> {
        let asked = Instant::now();
        let mut failed = self.failed.lock().await;
        // If each caller started a comparison after waiting for the last one, the queue would grow
        // without bound.
        if let Some((at, error)) = &*failed
            && *at > asked
        {
            return Err(error.clone());
        }
        let state = self.roles.state();
        if let Some(last) = self.last(max_age) {
            return Ok(last);
        }
        let route = self.roles.route(&state);
        let new = match compare(&route, self.settle, state.generation).await {
            Ok(new) => new,
            Err(error) => {
                *failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
        };
        let mirrored = self.roles.while_in(|now| {
            if now.generation != state.generation {
                return Err(CompareError::Switched);
            }
            if now.mirror_enabled {
                self.metrics.compared(&new);
            }
            Ok(now.mirror_enabled)
        })?;
        let mut last = lock(&self.last);
        if mirrored && new.behind() == 0 {
            last.complete = Some(new.generation);
        }
        last.comparison = Some(Arc::clone(&new));
        Ok(new)
    }

    /// The last comparison, if it is not too old and there was no switch since.
    pub(crate) fn last(&self, max_age: Duration) -> Option<Arc<Comparison<V>>> {
        let last = lock(&self.last).comparison.clone()?;
        let is_new = last.ended.elapsed() <= max_age;
        (is_new && last.generation == self.roles.state().generation).then_some(last)
    }

    /// Whether a comparison has found the secondary of this generation complete while mirroring was
    /// on.
    pub(crate) fn is_complete(&self, generation: u64) -> bool {
        lock(&self.last).complete == Some(generation)
    }

    /// Shows how many keys a backfill has not copied yet, unless it belongs to an earlier state.
    pub(crate) fn show_pending(&self, generation: u64, keys: usize) {
        self.roles.while_in(|now| {
            if now.generation == generation {
                let keys = i64::try_from(keys).unwrap_or(i64::MAX);
                self.metrics.backfill_pending.set(keys);
            }
        });
    }
}
