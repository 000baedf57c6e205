//! The periodic update: writes sightings to the store, and fails over.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use kv_core::StoreError;
use smol_str::SmolStr;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::election::Candidate;
use crate::failover::due_now;
use crate::gate::FailoverCause;
use crate::store_health::{Failovers, StoreHealth, StoreOutages};
use crate::timing::Timing;
use crate::writer::{Write, Writer};

/// Compare-and-swaps of one pass that run at once.
const CONCURRENCY: usize = 64;
/// A pass ends after this many failures without a success: the store is down, and a later pass will
/// find out when it is back.
const FAILURES_BEFORE_GIVING_UP: u32 = 2 * CONCURRENCY as u32;
/// Between two passes in which every call hangs, with the usual update timeout.
const BETWEEN_FAILURES: Duration = Duration::from_secs(25);

/// Polls the clusters, and writes those that are due.
pub(crate) struct Refresh {
    pub(crate) writer: Arc<Writer>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) timing: Arc<Timing>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) outages: Arc<StoreOutages>,
    pub(crate) clock: Clock,
}

impl Refresh {
    pub(crate) async fn run(self) {
        loop {
            let tenants = self.cache.tenants();
            tokio::time::sleep(self.timing.shortest_poll_interval(&tenants)).await;
            self.update_due().await;
        }
    }

    /// One pass over all clusters: writes those that are due.
    async fn update_due(&self) {
        let mut due = Vec::new();
        let now_ms = self.clock.now_ms();
        self.cache.for_each_with(
            |tenant| (self.timing.rules(tenant), self.failovers(tenant)),
            |(rules, failovers), tenant, name, cluster| {
                if due_now(cluster, now_ms, rules, *failovers, |_| ()).is_some() {
                    due.push((SmolStr::from(tenant), Box::<str>::from(name)));
                }
            },
        );
        let (failed, succeeded) = (AtomicU32::new(0), AtomicU32::new(0));
        let first_error = OnceLock::new();
        let writes = futures::stream::iter(due).for_each_concurrent(CONCURRENCY, |due| async {
            let (tenant, name) = due;
            let down = succeeded.load(Ordering::Relaxed) == 0
                && failed.load(Ordering::Relaxed) >= FAILURES_BEFORE_GIVING_UP;
            if down {
                return;
            }
            match self.update_one(&tenant, &name).await {
                Ok(()) => succeeded.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    let _ = first_error.set(error);
                    failed.fetch_add(1, Ordering::Relaxed)
                }
            };
        });
        writes.await;
        if let Some(error) = first_error.get() {
            let failed = failed.load(Ordering::Relaxed);
            if self.outages.failed(error, BETWEEN_FAILURES) {
                tracing::debug!(failed, %error, "cannot update elections in the store; trying again");
            } else {
                // One line per pass, however many clusters failed.
                tracing::warn!(failed, %error, "cannot update elections in the store; trying again");
            }
        }
    }

    async fn update_one(&self, tenant: &str, name: &str) -> Result<(), StoreError> {
        // Checked again: the pass may have waited for a slow store since the first check.
        let now_ms = self.clock.now_ms();
        let rules = self.timing.rules(tenant);
        let owned = |candidate: &Candidate<'_>| {
            (
                candidate.replica.to_owned(),
                candidate.seen_ms,
                candidate.sample_ms,
            )
        };
        let failovers = self.failovers(tenant);
        let due = self
            .cache
            .read(tenant, name, |cluster| {
                let due = due_now(cluster, now_ms, &rules, failovers, owned);
                if let Some((_, seen_ms, _)) = &due {
                    cluster.writes(*seen_ms);
                }
                due
            })
            .flatten();
        let Some((replica, seen_ms, sample_ms)) = due else {
            return Ok(());
        };
        let candidate = Candidate {
            replica: &replica,
            seen_ms,
            sample_ms,
        };
        let read_limit = failovers.read_limit();
        let write = Write {
            tenant,
            cluster: name,
            candidate: &candidate,
            now_ms,
        };
        let update = self.writer.update(write, read_limit, FailoverCause::Poll);
        let timeout = self.timing.call_timeout(tenant);
        match tokio::time::timeout(timeout, update).await {
            Ok(result) => result,
            Err(_) => Err(self.writer.gave_up(tenant, name, timeout)),
        }
    }

    fn failovers(&self, tenant: &str) -> Failovers {
        self.health.failovers(self.timing.refresh_time(tenant))
    }
}
