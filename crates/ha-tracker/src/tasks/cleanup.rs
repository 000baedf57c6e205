//! Removes clusters that no longer send.

use std::sync::Arc;
use std::time::Duration;

use kv_core::{CasOutcome, CasUpdate, Store, StoreError};

use crate::ReplicaDesc;
use crate::clock::{Clock, saturating_ms};
use crate::metrics::CleanupMetrics;
use crate::store_health::{Failovers, StoreHealth};

/// Time after an outage of the store in which nothing is cleaned up, so that live clusters can be
/// refreshed first.
const AFTER_OUTAGE: Duration = Duration::from_secs(5 * 60);

/// What to do with an entry of this age.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Leave,
    Mark,
    Delete,
}

fn step(desc: &ReplicaDesc, now_ms: i64, age_ms: i64) -> Step {
    if desc.is_deleted() {
        if now_ms.saturating_sub(desc.deleted_at) > age_ms {
            Step::Delete
        } else {
            Step::Leave
        }
    } else if now_ms.saturating_sub(desc.received_at) > age_ms {
        Step::Mark
    } else {
        Step::Leave
    }
}

/// Cleans up the store regularly.
pub(crate) struct Cleanup {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) metrics: CleanupMetrics,
    pub(crate) clock: Clock,
    /// Mean time between two clean-ups.
    pub(crate) interval: Duration,
    /// Time after which an entry that is not refreshed is marked, and after another such time
    /// deleted.
    pub(crate) age: Duration,
}

impl Cleanup {
    pub(crate) async fn run(self) {
        let mut put_off = false;
        loop {
            let pause = self.interval.as_secs_f64() * rand::random_range(0.8..1.2);
            let pause = Duration::try_from_secs_f64(pause).unwrap_or(Duration::MAX);
            tokio::time::sleep(pause).await;
            // Entries may be old because they could not be refreshed. A store that is always slow is
            // cleaned up every second time.
            put_off = !put_off && self.health.failovers(AFTER_OUTAGE) != Failovers::Allowed;
            if put_off {
                tracing::info!(
                    "clean-up: the store was failing recently; waiting for the next run"
                );
            } else {
                self.clean_up().await;
            }
        }
    }

    /// Marks old entries for deletion and deletes those that were marked long ago.
    async fn clean_up(&self) {
        self.metrics.started.inc();
        let keys = match self.store.list("").await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%error, "clean-up: cannot list the store; waiting for the next run");
                return;
            }
        };
        for key in keys {
            self.clean_up_key(&key).await;
        }
    }

    async fn clean_up_key(&self, key: &str) {
        let age_ms = saturating_ms(self.age);
        let now_ms = self.clock.now_ms();
        let planned = match self.store.get(key).await {
            Ok(Some(desc)) => step(&desc, now_ms, age_ms),
            Ok(None) => return,
            Err(error) => return self.clean_up_failed(key, &error),
        };
        if planned == Step::Leave {
            return;
        }
        // Decided again here: an entry that has been refreshed in the meantime is kept.
        let mut update = |current: Option<&ReplicaDesc>| {
            let Some(current) = current else {
                return CasUpdate::Keep;
            };
            match step(current, now_ms, age_ms) {
                Step::Leave => CasUpdate::Keep,
                Step::Mark => CasUpdate::Put(ReplicaDesc {
                    deleted_at: now_ms,
                    ..current.clone()
                }),
                Step::Delete => CasUpdate::Delete,
            }
        };
        match self.store.cas(key, &mut update).await {
            Ok(CasOutcome::Stored(_)) => {
                self.metrics.marked_for_deletion.inc();
                tracing::info!(key, "clean-up: marked a cluster for deletion");
            }
            Ok(CasOutcome::Deleted) => {
                self.metrics.deleted.inc();
                tracing::info!(key, "clean-up: deleted a cluster");
            }
            Ok(CasOutcome::Kept(_)) => {}
            Err(error) => {
                if planned == Step::Delete {
                    self.metrics.delete_failed.inc();
                }
                self.clean_up_failed(key, &error);
            }
        }
    }

    fn clean_up_failed(&self, key: &str, error: &StoreError) {
        if matches!(error, StoreError::Decode { .. }) {
            self.metrics.undecodable.inc();
        }
        tracing::warn!(key, %error, "clean-up: skipping a key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_marked_then_deleted_each_after_the_age() {
        let alive = ReplicaDesc {
            received_at: 1000,
            ..Default::default()
        };
        assert_eq!(step(&alive, 1100, 100), Step::Leave);
        assert_eq!(step(&alive, 1101, 100), Step::Mark);
        let marked = ReplicaDesc {
            deleted_at: 2000,
            ..alive
        };
        assert_eq!(step(&marked, 2100, 100), Step::Leave);
        assert_eq!(step(&marked, 2101, 100), Step::Delete);
    }
}
