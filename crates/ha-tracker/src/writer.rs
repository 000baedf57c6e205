//! Writing an election to the store: the compare-and-swap that new and known clusters share.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kv_core::{CasUpdate, Store, StoreError};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::election::{Candidate, Decision, ElectReason, decide};
use crate::gate::{ElectionGate, Failover, FailoverCause, GateAnswer};
use crate::handover::HandOverError;
use crate::metrics::FailoverMetrics;
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
    failovers: FailoverMetrics,
    gate: OnceLock<Arc<dyn ElectionGate>>,
}

impl Writer {
    /// `undecodable` counts values in the store that are not elections, `failovers` what is written.
    pub(crate) fn new(
        store: Arc<dyn Store<ReplicaDesc>>,
        cache: Arc<Cache>,
        timing: Arc<Timing>,
        health: Arc<StoreHealth>,
        outages: Arc<StoreOutages>,
        undecodable: Counter,
        failovers: FailoverMetrics,
    ) -> Self {
        Self {
            store,
            cache,
            timing,
            health,
            outages,
            undecodable,
            failovers,
            gate: OnceLock::new(),
        }
    }

    /// From now on this gate is asked; only the first one counts.
    pub(crate) fn set_gate(&self, gate: Arc<dyn ElectionGate>) {
        let _ = self.gate.set(gate);
    }

    /// Writes for a cluster that is not in the cache.
    pub(crate) async fn elect(
        &self,
        tenant: &str,
        cluster: &str,
        candidate: &Candidate<'_>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let permit = match self.gate.get() {
            None => Permit::Any,
            Some(_) => Permit::NoFailover,
        };
        let write = Write {
            tenant,
            cluster,
            candidate,
            now_ms,
        };
        self.write(write, None, permit, FailoverCause::Arrival)
            .await
    }

    /// Writes for a cluster that is in the cache, unless the gate forbids it. If reading the entry took
    /// longer than `read_limit`, a failover is left to the next poll: the store hung, and other
    /// trackers may be about to refresh the entry.
    pub(crate) async fn update(
        &self,
        write: Write<'_>,
        read_limit: Duration,
        cause: FailoverCause,
    ) -> Result<(), StoreError> {
        match self.ask(write, cause) {
            None => Ok(()),
            Some(permit) => self.write(write, Some(read_limit), permit, cause).await,
        }
    }

    /// Which failovers this write may lead to; `None` if the gate has it wait.
    pub(crate) fn ask(&self, write: Write<'_>, cause: FailoverCause) -> Option<Permit> {
        let Some(gate) = self.gate.get() else {
            return Some(Permit::Any);
        };
        let known = self
            .cache
            .read(write.tenant, write.cluster, |known| known.elected().desc());
        let successor = write.candidate.replica;
        let Some(ends) = known.filter(|known| known.replica != successor) else {
            return Some(Permit::NoFailover);
        };
        let failover = Failover {
            tenant: write.tenant,
            cluster: write.cluster,
            ends: &ends,
            successor,
            cause,
            now_ms: write.now_ms,
        };
        match gate.ask(&failover) {
            GateAnswer::Go => Some(Permit::Ends(ends)),
            GateAnswer::NotYet => None,
        }
    }

    async fn write(
        &self,
        write: Write<'_>,
        read_limit: Option<Duration>,
        permit: Permit,
        cause: FailoverCause,
    ) -> Result<(), StoreError> {
        let Write {
            tenant,
            cluster,
            candidate,
            now_ms,
        } = write;
        let timeouts = self.timing.timeouts(tenant);
        let timer = Timer {
            health: &self.health,
            began: Instant::now(),
        };
        let mut changes_before = 0;
        let mut elected: Option<(Option<String>, ElectReason)> = None;
        let update = &mut |current: Option<&ReplicaDesc>| {
            elected = None;
            let decision = decide(current, candidate, now_ms, &timeouts, changes_before);
            if let Some(alive) = current.filter(|current| !current.is_deleted()) {
                changes_before = alive.elected_changes;
            }
            match decision {
                Decision::Keep(_) => CasUpdate::Keep,
                Decision::Refresh(desc) => CasUpdate::Put(desc),
                Decision::Elect(_, ElectReason::Failover { .. })
                    if read_limit.is_some_and(|limit| timer.began.elapsed() > limit)
                        || !permit.allows(current) =>
                {
                    CasUpdate::Keep
                }
                Decision::Elect(desc, reason) => {
                    elected = Some((current.map(|current| current.replica.clone()), reason));
                    CasUpdate::Put(desc)
                }
            }
        };
        self.cas(tenant, cluster, &timer, update).await?;
        if let Some((old, reason)) = elected {
            let (old, new) = (old.as_deref().unwrap_or(""), candidate.replica);
            match reason {
                ElectReason::Failover { .. } => {
                    self.failovers.count(cause);
                    self.cache.explain(tenant, cluster, new, cause.into());
                    let cause = cause.name();
                    tracing::info!(tenant, cluster, old, new, cause, %reason, "elected a replica");
                }
                _ => tracing::info!(tenant, cluster, old, new, %reason, "elected a replica"),
            }
        }
        Ok(())
    }

    /// Elects a replica of a known cluster whatever the elected one does. `ends`: the election to end;
    /// without it, whichever is stored.
    pub(crate) async fn replace(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        now_ms: i64,
        ends: Option<&ReplicaDesc>,
        cause: FailoverCause,
    ) -> Result<(), HandOverError> {
        let timer = Timer {
            health: &self.health,
            began: Instant::now(),
        };
        let unknown = || HandOverError::UnknownCluster {
            tenant: tenant.to_owned(),
            cluster: cluster.to_owned(),
        };
        let mut refused = None;
        let mut old = String::new();
        let update = &mut |current: Option<&ReplicaDesc>| {
            let current = match current.filter(|current| !current.is_deleted()) {
                None => Err(unknown()),
                Some(current) if current.replica == replica => Err(HandOverError::AlreadyElected {
                    replica: replica.to_owned(),
                }),
                Some(current) if ends.is_some_and(|ends| !is_same_term(ends, current)) => {
                    let elected = current.replica.clone();
                    Err(HandOverError::Superseded { elected })
                }
                Some(current) => Ok(current),
            };
            match current {
                Err(error) => {
                    refused = Some(error);
                    CasUpdate::Keep
                }
                Ok(current) => {
                    refused = None;
                    old.clone_from(&current.replica);
                    CasUpdate::Put(ReplicaDesc {
                        replica: replica.to_owned(),
                        received_at: now_ms.max(current.received_at),
                        deleted_at: 0,
                        // Later than the one that it ends, by whichever clock that was written.
                        elected_at: now_ms.max(current.elected_at.saturating_add(1)),
                        elected_changes: current.elected_changes.saturating_add(1),
                    })
                }
            }
        };
        let outcome = self.cas(tenant, cluster, &timer, update).await;
        outcome.map_err(|error| {
            self.outages.failed(&error, Duration::ZERO);
            HandOverError::Store(Arc::new(error))
        })?;
        match refused {
            Some(error) => Err(error),
            None => {
                self.failovers.count(cause);
                tracing::info!(
                    tenant,
                    cluster,
                    old,
                    new = replica,
                    cause = cause.name(),
                    "elected a replica"
                );
                Ok(())
            }
        }
    }

    /// A call that took too long.
    pub(crate) fn gave_up(&self, tenant: &str, cluster: &str, timeout: Duration) -> StoreError {
        StoreError::Unavailable {
            store: self.store.name(),
            operation: "CAS",
            key: desc::key(tenant, cluster),
            source: format!("gave up after {timeout:?}").into(),
        }
    }

    /// Calls the store, and applies the outcome to the cache.
    async fn cas(
        &self,
        tenant: &str,
        cluster: &str,
        timer: &Timer<'_>,
        update: &mut (dyn FnMut(Option<&ReplicaDesc>) -> CasUpdate<ReplicaDesc> + Send),
    ) -> Result<(), StoreError> {
        let key = desc::key(tenant, cluster);
        let outcome = self.store.cas(&key, update).await;
        let took = timer.began.elapsed();
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
        Ok(())
    }
}

/// What to write.
#[derive(Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) cluster: &'a str,
    pub(crate) candidate: &'a Candidate<'a>,
    pub(crate) now_ms: i64,
}

/// Which failovers a write may lead to.
pub(crate) enum Permit {
    Any,
    /// None: the gate was not asked.
    NoFailover,
    /// One that ends this election.
    Ends(ReplicaDesc),
}

impl Permit {
    fn allows(&self, current: Option<&ReplicaDesc>) -> bool {
        match self {
            Self::Any => true,
            Self::NoFailover => false,
            Self::Ends(ends) => current.is_some_and(|current| is_same_term(ends, current)),
        }
    }
}

/// Whether two entries are of one election.
fn is_same_term(a: &ReplicaDesc, b: &ReplicaDesc) -> bool {
    (&a.replica, a.elected_at) == (&b.replica, b.elected_at)
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
