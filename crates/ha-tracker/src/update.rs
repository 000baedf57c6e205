//! Writing to the store: the periodic update, and the compare-and-swap that it shares with
//! admission.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kv_core::{CasUpdate, StoreError};

use crate::cache::Cluster;
use crate::clock::saturating_ms;
use crate::desc;
use crate::election::{Candidate, Decision, ElectReason, Timeouts, decide};
use crate::outage::Failover;
use crate::tracker::HaTracker;

/// Compare-and-swaps of one pass that run at once.
const CONCURRENCY: usize = 64;
/// A pass is given up after this many failures without a success: the store is down, and the next
/// pass will find out when it is back.
const FAILURES_BEFORE_GIVING_UP: u32 = 2 * CONCURRENCY as u32;
/// A cluster is looked at this many times per update timeout. More often than once, so that a
/// failover comes soon after it is due; looking costs no I/O.
const LOOKS_PER_UPDATE_TIMEOUT: u32 = 5;
/// Bounds of the time between two looks.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Beyond their update timeout, what other trackers may need to refresh an entry once the store is
/// back: the pause of a call that is being tried again.
const REFRESH_AFTER_OUTAGE: Duration = Duration::from_secs(1);

impl HaTracker {
    /// Keeps the store up to date with what was seen here, until shutdown.
    pub(crate) async fn keep_updated(self: Arc<Self>) {
        loop {
            let pause = self.pause_between_looks();
            tokio::select! {
                () = tokio::time::sleep(pause) => self.update_due().await,
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    fn pause_between_looks(&self) -> Duration {
        self.cache
            .tenants()
            .iter()
            .map(|tenant| self.limits.ha_limits(tenant).update_timeout / LOOKS_PER_UPDATE_TIMEOUT)
            .min()
            .unwrap_or(LONGEST_LOOK / LOOKS_PER_UPDATE_TIMEOUT)
            .clamp(SHORTEST_LOOK, LONGEST_LOOK)
    }

    /// One pass over all clusters: writes those that are due.
    pub(crate) async fn update_due(self: &Arc<Self>) {
        let mut due = Vec::new();
        for tenant in self.cache.tenants() {
            let timeouts = self.timeouts(&tenant);
            let now_ms = self.config.clock.now_ms();
            let failed_lately = self.failed_lately(&tenant, now_ms);
            self.cache.for_each_of(&tenant, |name, cluster| {
                if due_now(cluster, now_ms, &timeouts, failed_lately, |_| ()).is_some() {
                    due.push((tenant.clone(), Box::<str>::from(name)));
                }
            });
        }
        let (failed, succeeded) = (AtomicU32::new(0), AtomicU32::new(0));
        let first_error = std::sync::OnceLock::new();
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
        tokio::select! {
            () = writes => {}
            () = self.shutdown.cancelled() => return,
        }
        if let Some(error) = first_error.get() {
            // One line per pass, however many clusters failed.
            let failed = failed.load(Ordering::Relaxed);
            tracing::warn!(failed, %error, "cannot update elections in the store; trying again");
        }
    }

    async fn update_one(&self, tenant: &str, name: &str) -> Result<(), StoreError> {
        // Anew: the pass may have waited for a slow store since it saw that this one is due.
        let now_ms = self.config.clock.now_ms();
        let timeouts = self.timeouts(tenant);
        let owned = |due: &Due<'_>| match due {
            Due::Probe => None,
            Due::Write(candidate) => Some((
                candidate.replica.to_owned(),
                candidate.seen_ms,
                candidate.sample_ms,
            )),
        };
        let failed_lately = self.failed_lately(tenant, now_ms);
        let due = self
            .cache
            .read(tenant, name, |cluster| {
                due_now(cluster, now_ms, &timeouts, failed_lately, owned)
            })
            .flatten();
        let Some(due) = due else {
            return Ok(());
        };
        let Some((replica, seen_ms, sample_ms)) = due else {
            return self.probe(tenant, name).await;
        };
        let candidate = Candidate {
            replica: &replica,
            seen_ms,
            sample_ms,
        };
        self.update_store(tenant, name, &candidate, now_ms).await
    }

    /// Reads an entry after an outage, and puts its failover off until others have had the time to
    /// refresh it.
    async fn probe(&self, tenant: &str, name: &str) -> Result<(), StoreError> {
        let key = desc::key(tenant, name);
        let kept = self.store.cas(&key, &mut |_| CasUpdate::Keep).await?;
        if let Some(desc) = kept.into_value() {
            self.cache.put_outcome(tenant, name, &desc);
        }
        let wait = saturating_ms(self.refresh_after_outage(tenant));
        let until_ms = self.config.clock.now_ms().saturating_add(wait);
        self.cache
            .read(tenant, name, |known| known.outage.answered(until_ms));
        Ok(())
    }

    /// In this time every tracker that sees an elected replica has refreshed its entry.
    fn refresh_after_outage(&self, tenant: &str) -> Duration {
        let limits = self.limits.ha_limits(tenant);
        limits.update_timeout + limits.update_timeout_jitter_max + REFRESH_AFTER_OUTAGE
    }

    fn failed_lately(&self, tenant: &str, now_ms: i64) -> bool {
        self.store_failed_within(self.refresh_after_outage(tenant), now_ms)
    }

    /// Applies the rule to what is stored, and takes the outcome into the cache.
    pub(crate) async fn update_store(
        &self,
        tenant: &str,
        cluster: &str,
        candidate: &Candidate<'_>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let timeouts = self.timeouts(tenant);
        let key = desc::key(tenant, cluster);
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
                    Decision::Elect(desc, reason) => {
                        elected = Some((current.map(|current| current.replica.clone()), reason));
                        CasUpdate::Put(desc)
                    }
                }
            })
            .await;
        match &outcome {
            Err(StoreError::Decode { .. }) => {
                self.metrics.undecodable.inc();
            }
            Err(StoreError::Unavailable { .. }) => {
                self.store_failed();
                self.cache
                    .read(tenant, cluster, |known| known.outage.failed());
            }
            _ => {}
        }
        let count = || {
            self.cache.read(tenant, cluster, |known| {
                known.cas.fetch_add(1, Ordering::Relaxed)
            })
        };
        // A failed call counts too, if the cluster is known; a first one once it is.
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

    pub(crate) fn timeouts(&self, tenant: &str) -> Timeouts {
        self.limits.ha_limits(tenant).timeouts(self.jitter)
    }
}

/// What to do about a cluster now.
enum Due<'a> {
    /// Write this replica, if the rule agrees on what is stored.
    Write(Candidate<'a>),
    /// Read the entry: it may be old because the store was away.
    Probe,
}

/// Calls `take` with what to do for this cluster now, if anything: write the elected replica if it
/// was seen within the update timeout, else the last other one if it was. A candidate that the rule
/// would refuse on what the cache knows is not worth a call: the store can only be newer.
fn due_now<R>(
    cluster: &Cluster,
    now_ms: i64,
    timeouts: &Timeouts,
    failed_lately: bool,
    take: impl FnOnce(&Due<'_>) -> R,
) -> Option<R> {
    let elected = cluster.elected();
    let update_ms = saturating_ms(timeouts.update);
    if now_ms.saturating_sub(elected.received_at) < update_ms {
        return None;
    }
    let fresh = |seen_ms: i64| now_ms.saturating_sub(seen_ms) < update_ms;
    let other = cluster.other();
    let candidate = if fresh(elected.seen_ms()) {
        Candidate {
            replica: &elected.replica,
            seen_ms: elected.seen_ms(),
            sample_ms: None,
        }
    } else {
        let other = other
            .as_ref()
            .filter(|other| fresh(other.seen_ms()) && other.replica != elected.replica)?;
        Candidate {
            replica: &other.replica,
            seen_ms: other.seen_ms(),
            sample_ms: other.sample_ms(),
        }
    };
    match decide(Some(&elected.desc()), &candidate, now_ms, timeouts, 0) {
        Decision::Keep(_) => None,
        Decision::Refresh(_) => Some(take(&Due::Write(candidate))),
        Decision::Elect(..) => match cluster.outage.failover(now_ms, failed_lately) {
            Failover::Allowed => Some(take(&Due::Write(candidate))),
            Failover::ProbeFirst => Some(take(&Due::Probe)),
            Failover::Wait => None,
        },
    }
}
