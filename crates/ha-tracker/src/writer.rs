//! Writing an election to the store: the compare-and-swap that new and known clusters share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kv_core::{CasUpdate, Store, StoreError};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::election::{Candidate, Decision, ElectReason, decide};
use crate::store_health::{SLOW_CALL, StoreHealth, StoreOutages};
use crate::timing::Timing;
use crate::{ReplicaDesc, desc};

/// Applies the rule to the stored entry, and the outcome to the cache.
pub(crate) struct Writer {
    store: Arc<dyn Store<ReplicaDesc>>,
    cache: Arc<Cache>,
    timing: Arc<Timing>,
    health: Arc<StoreHealth>,
    outages: Arc<StoreOutages>,
    undecodable: Counter,
}

impl Writer {
    /// `undecodable` counts values in the store that are not elections.
    pub(crate) fn new(
        store: Arc<dyn Store<ReplicaDesc>>,
        cache: Arc<Cache>,
        timing: Arc<Timing>,
        health: Arc<StoreHealth>,
        outages: Arc<StoreOutages>,
        undecodable: Counter,
    ) -> Self {
        Self {
            store,
            cache,
            timing,
            health,
            outages,
            undecodable,
        }
    }

    /// Writes for a cluster that is not in the cache.
    pub(crate) async fn elect(
        &self,
        tenant: &str,
        cluster: &str,
        candidate: &Candidate<'_>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(tenant, cluster, candidate, now_ms, None).await
    }

    /// Writes for a cluster that is in the cache. If reading the entry took longer than
    /// `read_limit`, a failover is left to the next poll: the store hung, and other trackers may be
    /// about to refresh the entry.
    pub(crate) async fn update(
        &self,
        tenant: &str,
        cluster: &str,
        candidate: &Candidate<'_>,
        now_ms: i64,
        read_limit: Duration,
    ) -> Result<(), StoreError> {
        self.write(tenant, cluster, candidate, now_ms, Some(read_limit))
            .await
    }

    async fn write(
        &self,
        tenant: &str,
        cluster: &str,
        candidate: &Candidate<'_>,
        now_ms: i64,
        read_limit: Option<Duration>,
    ) -> Result<(), StoreError> {
        let timeouts = self.timing.timeouts(tenant);
        let key = desc::key(tenant, cluster);
        let timer = Timer {
            health: &self.health,
            began: Instant::now(),
        };
        let mut changes_before = 0;
        let mut elected: Option<(Option<String>, ElectReason)> = None;
        let outcome = self
            .store
            .cas(&key, &mut |current| {
                elected = None;
                let decision = decide(current, candidate, now_ms, &timeouts, changes_before);
                if let Some(alive) = current.filter(|current| !current.is_deleted()) {
                    changes_before = alive.elected_changes;
                }
                match decision {
                    Decision::Keep(_) => CasUpdate::Keep,
                    Decision::Refresh(desc) => CasUpdate::Put(desc),
                    Decision::Elect(_, ElectReason::Failover { .. })
                        if read_limit.is_some_and(|limit| timer.began.elapsed() > limit) =>
                    {
                        CasUpdate::Keep
                    }
                    Decision::Elect(desc, reason) => {
                        elected = Some((current.map(|current| current.replica.clone()), reason));
                        CasUpdate::Put(desc)
                    }
                }
            })
            .await;
        let took = timer.began.elapsed();
        drop(timer);
        if took > SLOW_CALL && outcome.is_ok() {
            self.outages.slow(took, "took too long for a write");
        }
        if let Err(StoreError::Decode { .. }) = &outcome {
            self.undecodable.inc();
        }
        let count = || {
            self.cache.read(tenant, cluster, |known| {
                known.cas.fetch_add(1, Ordering::Relaxed)
            })
        };
        // A failed call counts too, if the cluster is known; the first call counts once it is.
        let outcome = outcome.inspect_err(|_| {
            count();
        })?;
        if let Some(desc) = outcome.into_value() {
            self.cache.put_outcome(tenant, cluster, &desc);
        }
        count();
        if let Some((old, reason)) = elected {
            let (old, new) = (old.as_deref().unwrap_or(""), candidate.replica);
            tracing::info!(tenant, cluster, old, new, %reason, "elected a replica");
        }
        Ok(())
    }
}

/// Measures a call, even if it is cancelled.
struct Timer<'a> {
    health: &'a StoreHealth,
    began: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.health.timed(self.began);
    }
}
