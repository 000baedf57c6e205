//! [`HaTracker`]: the checks, and the handle of its tasks.

mod gap;
mod read;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kv_core::{Store, StoreError, TaskFailed, Tasks};
use prometheus_client::registry::Registry;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use crate::ReplicaDesc;
use crate::cache::{Cache, Capacity, ElectionState, Full};
use crate::check::{ElectedReplica, Lookup, Outcome, Sighting, TrackerError};
use crate::clock::Clock;
use crate::clock_skew::{ClockSkew, ClockSkews};
use crate::cluster::SendInterval;
use crate::config::TrackerConfig;
use crate::delivery::Delivery;
use crate::election::Candidate;
use crate::election_watch::ElectionWatch;
use crate::failover::{FailoverOutlook, is_elected_by_arrival, is_overdue, outlook};
use crate::gate::{ElectionGate, FailoverCause};
use crate::handover::{HandOverError, HandedOver};
use crate::limits::TenantLimits;
use crate::metrics::{GapMetrics, Shown, TrackerMetrics};
use crate::ready::Ready;
use crate::store_health::{Failovers, StoreHealth, StoreOutage, StoreOutages};
use crate::survey::{RedundancyLost, SendersAhead, Survey};
use crate::tasks::{Admissions, Cleanup, Follow, NotAdmitted, Probe, Refresh, TakeSurveys};
use crate::timing::Timing;
use crate::writer::{Permit, Write, Writer};

/// Elects replicas; see the crate's documentation. Cheap to share behind an [`Arc`].
pub struct HaTracker {
    cache: Arc<Cache>,
    writer: Arc<Writer>,
    admissions: Arc<Admissions>,
    timing: Arc<Timing>,
    health: Arc<StoreHealth>,
    outages: Arc<StoreOutages>,
    clock_skews: Arc<ClockSkews>,
    ready: Arc<Ready>,
    survey: Arc<Survey>,
    gaps: GapMetrics,
    clock: Clock,
    shutdown: CancellationToken,
}

/// What the cache knows, after the sighting was recorded.
enum Checked {
    Known(Outcome),
    Unknown,
    /// The elected replica is overdue, and this one may be elected.
    Overdue,
}

/// Owns the tracker's background tasks. Dropping it aborts them.
pub struct TrackerHandle {
    /// Cancelled when it is dropped, too.
    shutdown: DropGuard,
    tasks: Tasks,
}

impl HaTracker {
    /// Starts a tracker over `store`, whose keys are `<tenant>/<cluster>` (put a
    /// [`kv_core::PrefixStore`] before it). Must be called inside a tokio runtime.
    ///
    /// It answers at once; [`HaTracker::ready`] waits until it has read the store.
    pub fn start(
        store: Arc<dyn Store<ReplicaDesc>>,
        limits: Arc<dyn TenantLimits>,
        config: TrackerConfig,
        registry: &mut Registry,
    ) -> (Arc<Self>, TrackerHandle) {
        let TrackerConfig {
            elected_replica_metric,
            replica_metrics,
            // For those who ask.
            handover: _,
            cleanup_interval,
            cleanup_age,
            clock,
            jitter,
        } = config;
        let cache = Arc::new(Cache::default());
        let survey = Arc::<Survey>::default();
        let shown = Shown {
            elected_replica: elected_replica_metric,
            replicas: replica_metrics,
        };
        let sources = (&cache, &survey, &clock);
        let metrics = TrackerMetrics::register(registry, sources, shown);
        let shutdown = CancellationToken::new();
        let timing = Arc::new(Timing::new(limits, jitter));
        let health = Arc::new(StoreHealth::default());
        let outages = Arc::new(StoreOutages::new(store.name(), clock.clone()));
        let writer = Arc::new(Writer::new(
            Arc::clone(&store),
            Arc::clone(&cache),
            Arc::clone(&timing),
            Arc::clone(&health),
            Arc::clone(&outages),
            metrics.undecodable.clone(),
            metrics.failovers.clone(),
        ));
        let admissions = Admissions::new(
            Arc::clone(&writer),
            Arc::clone(&cache),
            Arc::clone(&outages),
            shutdown.clone(),
        );
        let tracker = Arc::new(Self {
            writer: Arc::clone(&writer),
            cache,
            admissions: Arc::new(admissions),
            timing,
            health,
            outages,
            clock_skews: Arc::new(ClockSkews::new(metrics.clock_skew.clone())),
            ready: Arc::default(),
            survey,
            gaps: metrics.gaps.clone(),
            clock,
            shutdown: shutdown.clone(),
        });
        let cleanup = (cleanup_interval, cleanup_age);
        let tasks = tracker.start_tasks(store, writer, metrics, cleanup);
        let shutdown = shutdown.drop_guard();
        (tracker, TrackerHandle { shutdown, tasks })
    }

    /// Gives each task the parts that it may touch.
    fn start_tasks(
        &self,
        store: Arc<dyn Store<ReplicaDesc>>,
        writer: Arc<Writer>,
        metrics: TrackerMetrics,
        (cleanup_interval, cleanup_age): (Duration, Duration),
    ) -> Tasks {
        let mut tasks = Tasks::new("a task of the HA tracker");
        let mut start = |task: BoxFuture<'static, ()>| {
            let shutdown = self.shutdown.clone();
            let until_shutdown = async move {
                shutdown.run_until_cancelled(task).await;
            };
            tasks.spawn(until_shutdown.instrument(tracing::info_span!("ha_tracker")));
        };
        let follow = Follow {
            store: Arc::clone(&store),
            cache: Arc::clone(&self.cache),
            health: Arc::clone(&self.health),
            clock_skews: Arc::clone(&self.clock_skews),
            metrics: metrics.follow,
            clock: self.clock.clone(),
            ready: Arc::clone(&self.ready),
        };
        start(follow.run().boxed());
        let refresh = Refresh {
            writer,
            cache: Arc::clone(&self.cache),
            timing: Arc::clone(&self.timing),
            health: Arc::clone(&self.health),
            outages: Arc::clone(&self.outages),
            clock: self.clock.clone(),
        };
        start(refresh.run().boxed());
        let probe = Probe {
            store: Arc::clone(&store),
            cache: Arc::clone(&self.cache),
            timing: Arc::clone(&self.timing),
            health: Arc::clone(&self.health),
            outages: Arc::clone(&self.outages),
            clock_skews: Arc::clone(&self.clock_skews),
        };
        start(probe.run().boxed());
        let surveys = TakeSurveys {
            cache: Arc::clone(&self.cache),
            survey: Arc::clone(&self.survey),
            clock: self.clock.clone(),
        };
        start(surveys.run().boxed());
        let cleanup = Cleanup {
            store,
            health: Arc::clone(&self.health),
            metrics: metrics.cleanup,
            clock: self.clock.clone(),
            interval: cleanup_interval,
            age: cleanup_age,
        };
        start(cleanup.run().boxed());
        tasks
    }

    /// Whether the cache has everything that was in the store when the tracker started.
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Waits until [`HaTracker::is_ready`]. [`Send`], and cancel safe.
    pub async fn ready(&self) {
        self.ready.wait().await;
    }

    /// Looks a replica up without recording anything: no I/O, no lock, no allocation.
    pub fn peek(&self, tenant: &str, cluster: &str, replica: &str, now_ms: i64) -> Lookup {
        self.cache
            .read(tenant, cluster, |known| {
                if known.elected().replica == replica {
                    Lookup::Elected
                } else if is_overdue(known, now_ms, || self.timing.rules(tenant)) {
                    Lookup::Overdue
                } else {
                    Lookup::NotElected
                }
            })
            .unwrap_or(Lookup::Unknown)
    }

    /// Checks a replica of a known cluster and records the sighting; `None` if only
    /// [`HaTracker::check`] can decide: the cluster is unknown, or its elected replica is overdue and
    /// this one may be elected. No I/O and no lock; it allocates only for a replica that is not elected
    /// and not remembered, and while the elected one is overdue.
    pub fn check_cached(&self, sighting: &Sighting<'_>) -> Option<Outcome> {
        self.check_known(sighting, false)
    }

    /// As [`HaTracker::check_cached`], and [`HaTracker::begin_delivery`] if the replica is elected.
    pub fn check_delivery(&self, sighting: &Sighting<'_>) -> Option<Outcome> {
        self.check_known(sighting, true)
    }

    fn check_known(&self, sighting: &Sighting<'_>, is_delivery: bool) -> Option<Outcome> {
        match self.observe(sighting, is_delivery) {
            Checked::Known(outcome) => Some(outcome),
            Checked::Unknown | Checked::Overdue => None,
        }
    }

    fn observe(&self, sighting: &Sighting<'_>, is_delivery: bool) -> Checked {
        let observed = self.cache.observe_then(sighting, |known, elected| {
            let Some(elected) = elected else {
                if is_delivery {
                    known.begin_delivery(sighting.replica, sighting.now_ms);
                }
                return Checked::Known(Outcome::Accepted);
            };
            let (tenant, now_ms) = (sighting.tenant, sighting.now_ms);
            if is_overdue(known, now_ms, || self.timing.rules(tenant)) {
                let (rules, failovers) = (self.timing.rules(tenant), self.failovers(tenant));
                let replica = sighting.replica;
                if is_elected_by_arrival(known, replica, now_ms, &rules, failovers) {
                    return Checked::Overdue;
                }
            }
            Checked::Known(Outcome::Deduplicated(ElectedReplica(elected)))
        });
        observed.unwrap_or(Checked::Unknown)
    }

    fn failovers(&self, tenant: &str) -> Failovers {
        self.health.failovers(self.timing.refresh_time(tenant))
    }

    /// Checks a replica of any cluster. An unknown cluster is read from the store, or its replica
    /// elected there, first; so is a replica that sends while the elected one is overdue. Concurrent
    /// checks of one cluster share one such call. [`Send`]. If it is cancelled, a call that has begun
    /// continues, for the others.
    ///
    /// # Errors
    /// The store cannot answer, the tracker has no room or is shutting down: see [`TrackerError`]. The
    /// sender should retry.
    pub async fn check(&self, sighting: &Sighting<'_>) -> Result<Outcome, TrackerError> {
        self.check_within(sighting, None).await
    }

    /// As [`HaTracker::check`], with a limit of tenants; `None` = no limit.
    pub(crate) async fn check_within(
        &self,
        sighting: &Sighting<'_>,
        max_tenants: Option<u64>,
    ) -> Result<Outcome, TrackerError> {
        // Twice at most: an entry that is read for a cluster that was unknown may be overdue.
        for _ in 0..2 {
            match self.observe(sighting, false) {
                Checked::Known(outcome) => return Ok(outcome),
                Checked::Overdue => {
                    let read_limit = self.failovers(sighting.tenant).read_limit();
                    let timeout = self.timing.call_timeout(sighting.tenant);
                    let contended = self.admissions.contend(sighting, read_limit, timeout);
                    contended.await?;
                    break;
                }
                Checked::Unknown => {
                    if let Some(outcome) = self.admit(sighting, max_tenants).await? {
                        return Ok(outcome);
                    }
                }
            }
        }
        let decided = self
            .cache
            .observe_then(sighting, |_, elected| match elected {
                None => Outcome::Accepted,
                Some(elected) => Outcome::Deduplicated(ElectedReplica(elected)),
            });
        decided.ok_or(TrackerError::Vanished)
    }

    /// Adds an unknown cluster to the cache, or says why it cannot be added.
    async fn admit(
        &self,
        sighting: &Sighting<'_>,
        max_tenants: Option<u64>,
    ) -> Result<Option<Outcome>, TrackerError> {
        let capacity = Capacity {
            clusters: self.timing.max_clusters(sighting.tenant),
            tenants: max_tenants,
        };
        match self.admissions.admit(sighting, capacity).await {
            Ok(()) => Ok(None),
            Err(NotAdmitted::Full(Full::Tenants { limit })) => {
                Err(TrackerError::TooManyTenants(limit))
            }
            Err(NotAdmitted::Full(Full::Clusters { limit })) => {
                Ok(Some(Outcome::TooManyClusters { limit }))
            }
            Err(NotAdmitted::Failed(TrackerError::Store(error)))
                if matches!(
                    *error,
                    StoreError::InvalidKey { .. } | StoreError::InvalidValue { .. }
                ) =>
            {
                Ok(Some(Outcome::NotStorable(error)))
            }
            Err(NotAdmitted::Failed(error)) => Err(error),
        }
    }

    /// Has this gate asked before each failover from now on. Only the first one counts.
    pub fn set_gate(&self, gate: Arc<dyn ElectionGate>) {
        self.writer.set_gate(gate);
    }

    /// To be called when a request of a replica is about to be forwarded: if it is the elected one, it
    /// is not silent until [`HaTracker::end_delivery`]. No I/O, no lock, no allocation.
    pub fn begin_delivery(&self, tenant: &str, cluster: &str, replica: &str, now_ms: i64) {
        self.cache.read(tenant, cluster, |known| {
            known.begin_delivery(replica, now_ms);
        });
    }

    /// To be called with each answer to a request of a replica that was or would have been forwarded,
    /// and that began at `began_ms`, and when the sender hangs up. A replica that was refused may be
    /// silent for longer before another one is elected. No I/O, no lock, no allocation.
    pub fn end_delivery(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        delivery: Delivery,
        began_ms: i64,
        now_ms: i64,
    ) {
        self.cache.read(tenant, cluster, |known| {
            known.end_delivery(replica, delivery, began_ms, now_ms);
        });
    }

    /// To be called when a request is refused for now before it has been read, so that its replica is
    /// not known. Each elected replica that has not been seen since may be silent for longer before
    /// another one is elected.
    pub fn refused_unread(&self, now_ms: i64) {
        self.timing.refused_unread(now_ms);
    }

    /// Elects this replica now, although the elected one may be alive. The gate is asked first; if it
    /// has the failover wait, it elects the replica when it is ready. [`Send`]. If it is cancelled, the
    /// replica may be elected or not; the watch of the store tells.
    ///
    /// # Errors
    /// The replica has not been seen within two minutes, or the store failed: see [`HandOverError`].
    pub async fn hand_over(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
    ) -> Result<HandedOver, HandOverError> {
        let now_ms = self.clock.now_ms();
        let seen = self.cache.read(tenant, cluster, |known| {
            known.elected().replica == replica
                || known.standbys.in_order(now_ms).iter().any(|standby| {
                    standby.replica == replica && standby.sightings.is_recent(now_ms)
                })
        });
        if seen == Some(false) {
            let replica = replica.to_owned();
            return Err(HandOverError::NotSeen { replica });
        }
        let candidate = Candidate {
            replica,
            seen_ms: now_ms,
            sample_ms: None,
        };
        let write = Write {
            tenant,
            cluster,
            candidate: &candidate,
            now_ms,
        };
        let ends = match self.writer.ask(write, FailoverCause::ByHand) {
            None => return Ok(HandedOver::Begun),
            Some(Permit::Ends(ends)) => Some(ends),
            Some(Permit::Any | Permit::NoFailover) => None,
        };
        self.replace(
            tenant,
            cluster,
            replica,
            ends.as_ref(),
            FailoverCause::ByHand,
        )
        .await?;
        Ok(HandedOver::Elected)
    }

    /// Elects a replica in the place of the election that `ends`, whatever the elected replica does and
    /// without asking the gate: for the owner of the gate. [`Send`]. If it is cancelled, the replica may
    /// be elected or not; the watch of the store tells.
    ///
    /// # Errors
    /// Another election was found, or the store failed: see [`HandOverError`].
    pub async fn elect(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        ends: &ReplicaDesc,
    ) -> Result<(), HandOverError> {
        let cause = FailoverCause::Lossless;
        self.replace(tenant, cluster, replica, Some(ends), cause)
            .await
    }

    async fn replace(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        ends: Option<&ReplicaDesc>,
        cause: FailoverCause,
    ) -> Result<(), HandOverError> {
        let now_ms = self.clock.now_ms();
        let timeout = self.timing.call_timeout(tenant);
        let replaced = (self.writer).replace(tenant, cluster, replica, now_ms, ends, cause);
        match tokio::time::timeout(timeout, replaced).await {
            Ok(result) => {
                if result.is_ok() {
                    self.cache.explain(tenant, cluster, replica, cause.into());
                }
                result
            }
            Err(_) => {
                let error = self.writer.gave_up(tenant, cluster, timeout);
                Err(HandOverError::Store(Arc::new(error)))
            }
        }
    }

    /// The entry of a cluster as this tracker knows it. No I/O.
    pub fn entry(&self, tenant: &str, cluster: &str) -> Option<ReplicaDesc> {
        self.cache
            .read(tenant, cluster, |known| known.elected().desc())
    }

    /// The usual time between two requests of the elected replica of a cluster, as far as this
    /// tracker knows it. No I/O.
    pub fn send_interval(&self, tenant: &str, cluster: &str) -> Option<SendInterval> {
        self.cache
            .read(tenant, cluster, |known| {
                known.elected().sightings.interval()
            })
            .flatten()
    }

    /// Counts samples that were dropped because another replica is elected.
    pub fn count_deduplicated(&self, tenant: &str, cluster: &str, samples: u64) {
        self.cache.read(tenant, cluster, |known| {
            known
                .deduplicated_samples
                .fetch_add(samples, Ordering::Relaxed)
        });
    }

    /// Number of tracked clusters of all tenants.
    pub fn cluster_count(&self) -> usize {
        self.cache.len()
    }
    /// What the failover of a cluster is waiting for, for a replica that is not elected, after a
    /// check of it; `None` while the elected one is not silent, which costs no allocation.
    pub fn failover_outlook(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        now_ms: i64,
    ) -> Option<FailoverOutlook> {
        let rules = self.timing.rules(tenant);
        let failovers = self.failovers(tenant);
        self.cache
            .read(tenant, cluster, |known| {
                outlook(known, replica, now_ms, &rules, failovers)
            })
            .flatten()
    }

    /// All current elections, by tenant and cluster. The first call reads every cluster; after that
    /// a state is free, and each election costs a little.
    pub fn election_state(&self) -> Arc<ElectionState> {
        self.cache.election_state()
    }

    /// A state that includes everything that any watcher has received.
    #[cfg(feature = "grpc")]
    pub(crate) fn last_election_state(&self) -> Arc<ElectionState> {
        self.cache.last_election_state()
    }

    /// Follows the elections from now on: first the state, then each change. Any number of watchers
    /// share their memory; one that is more than 1024 changes behind receives
    /// [`ElectionEvent::Lagged`](crate::ElectionEvent::Lagged) and the state again.
    pub fn watch(&self) -> ElectionWatch {
        ElectionWatch::new(
            Arc::clone(&self.cache),
            Arc::clone(&self.ready),
            self.shutdown.clone(),
        )
    }

    /// Whether another distributor's clock is more than five seconds ahead of this one's, according
    /// to the times that it writes. Over when no entry has shown this for five to ten minutes.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        self.clock_skews.current()
    }

    /// Clusters of which only one replica has been seen here for 15 minutes; at most ten seconds old.
    pub fn redundancy_lost(&self) -> Option<RedundancyLost> {
        self.survey.last().redundancy_lost.clone()
    }

    /// Replicas whose clock is more than a second ahead of this one; at most ten seconds old.
    pub fn senders_ahead(&self) -> Option<SendersAhead> {
        self.survey.last().senders_ahead.clone()
    }

    /// The outage of the store, if there is one: since when it is unreachable or slow. It is over
    /// once the store has answered in time for ten seconds.
    pub fn store_outage(&self) -> Option<StoreOutage> {
        self.outages.current()
    }

    /// Unix milliseconds by the tracker's clock.
    #[cfg(feature = "grpc")]
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}

impl TrackerHandle {
    /// Waits for a task that ends before [`TrackerHandle::shutdown`]: a bug; the error has its
    /// panic. The tracker cannot be relied on afterwards. [`Send`], and cancel safe.
    pub async fn failed(&mut self) -> TaskFailed {
        self.tasks.failed().await
    }

    /// Stops the tasks and waits for them. [`Send`]. If it is cancelled, they are aborted.
    pub async fn shutdown(self) {
        self.shutdown.disarm().cancel();
        self.tasks.stopped().await;
    }
}
