//! Writing to the store: the periodic update, and the compare-and-swap that it shares with
//! admission.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kv_core::{CasUpdate, StoreError};
use tokio::time::Instant;

use crate::desc;
use crate::due::due_now;
use crate::election::{Candidate, Decision, ElectReason, Timeouts, decide};
use crate::health::{AWAY, Failovers, Health, SLOW_CALL};
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
/// Bound of one compare-and-swap of a pass is the update timeout, but no less than this: a call that
/// hangs must not keep the others from being refreshed.
const SHORTEST_BOUND: Duration = Duration::from_secs(5);
/// Between two passes in which every call hangs, with the usual update timeout.
const BETWEEN_FAILURES: Duration = Duration::from_secs(25);
/// What a pass may take to write what is due.
const TO_WRITE: Duration = Duration::from_secs(1);

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

    pub(crate) fn pause_between_looks(&self) -> Duration {
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
            let failovers = self.failovers(&tenant);
            self.cache.for_each_of(&tenant, |name, cluster| {
                if due_now(cluster, now_ms, &timeouts, failovers, |_| ()).is_some() {
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
            let failed = failed.load(Ordering::Relaxed);
            if self.note_failure(error, BETWEEN_FAILURES) {
                tracing::debug!(failed, %error, "cannot update elections in the store; trying again");
            } else {
                // One line per pass, however many clusters failed.
                tracing::warn!(failed, %error, "cannot update elections in the store; trying again");
            }
        }
    }

    async fn update_one(&self, tenant: &str, name: &str) -> Result<(), StoreError> {
        // Anew: the pass may have waited for a slow store since it saw that this one is due.
        let now_ms = self.config.clock.now_ms();
        let timeouts = self.timeouts(tenant);
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
                due_now(cluster, now_ms, &timeouts, failovers, owned)
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
        // Who has waited for others to refresh the entry takes the store as it is, unless it is away.
        let patience = match failovers {
            Failovers::Allowed => SLOW_CALL,
            _ => AWAY,
        };
        let update = self.update_store(tenant, name, &candidate, now_ms, Some(patience));
        let bound = self.bound_of_call(tenant);
        match tokio::time::timeout(bound, update).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable {
                store: self.store.name(),
                operation: "CAS",
                key: desc::key(tenant, name),
                source: format!("given up after {bound:?}").into(),
            }),
        }
    }

    fn bound_of_call(&self, tenant: &str) -> Duration {
        let limits = self.limits.ha_limits(tenant);
        limits.update_timeout.max(SHORTEST_BOUND)
    }

    /// In this time every tracker that sees an elected replica refreshes its entry, once the store
    /// is back: a call that hangs ends, the next look comes, all is written.
    pub(crate) fn refresh_time(&self, tenant: &str) -> Duration {
        let limits = self.limits.ha_limits(tenant);
        self.bound_of_call(tenant)
            .saturating_add(limits.update_timeout_jitter_max)
            .saturating_add(limits.update_timeout / LOOKS_PER_UPDATE_TIMEOUT)
            .saturating_add(TO_WRITE)
    }

    /// Time between two looks at clusters of this tenant, at most.
    pub(crate) fn longest_look(&self, tenant: &str) -> Duration {
        let limits = self.limits.ha_limits(tenant);
        (limits.update_timeout / LOOKS_PER_UPDATE_TIMEOUT).clamp(SHORTEST_LOOK, LONGEST_LOOK)
    }

    pub(crate) fn failovers(&self, tenant: &str) -> Failovers {
        self.health.failovers(self.refresh_time(tenant))
    }

    /// Applies the rule to what is stored, and takes the outcome into the cache. With `patience`, a
    /// failover is left to the next look if reading the entry took longer: the store hung, and
    /// others may be about to refresh it.
    pub(crate) async fn update_store(
        &self,
        tenant: &str,
        cluster: &str,
        candidate: &Candidate<'_>,
        now_ms: i64,
        patience: Option<Duration>,
    ) -> Result<(), StoreError> {
        let timeouts = self.timeouts(tenant);
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
                        if patience.is_some_and(|patience| timer.began.elapsed() > patience) =>
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
            self.note_slow(took, "took too long for a write");
        }
        if let Err(StoreError::Decode { .. }) = &outcome {
            self.metrics.undecodable.inc();
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

/// Times a call, also one that is given up.
struct Timer<'a> {
    health: &'a Health,
    began: Instant,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.health.timed(self.began);
    }
}
