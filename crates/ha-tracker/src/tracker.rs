//! [`HaTracker`]: the checks, and the handle of its tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kv_core::{Store, StoreError, TaskFailed, Tasks};
use prometheus_client::registry::Registry;
use settings::{Kind, settings};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use crate::ReplicaDesc;
use crate::cache::{Cache, Capacity, ElectionState, Full};
use crate::check::{ElectedReplica, Lookup, Outcome, Sighting, TrackerError};
use crate::clock::Clock;
use crate::clock_skew::{ClockSkew, ClockSkews};
use crate::election_watch::ElectionWatch;
use crate::failover::{FailoverOutlook, outlook};
use crate::limits::TenantLimits;
use crate::metrics::TrackerMetrics;
use crate::ready::Ready;
use crate::status::{ClusterStatus, status};
use crate::store_health::{StoreHealth, StoreOutage, StoreOutages};
use crate::tasks::{Admissions, Cleanup, Follow, NotAdmitted, Probe, Refresh};
use crate::timing::Timing;
use crate::writer::Writer;

settings! {
    /// Options of a tracker, besides its store and its limits.
    pub struct TrackerConfig {
        /// Expose cortex_ha_tracker_elected_replica_status, with the elected replica as a label.
        #[setting(
            name = "enable_elected_replica_metric",
            flag = "enable-elected-replica-metric",
            kind = Kind::Bool,
            default = "false"
        )]
        pub elected_replica_metric: bool;
        /// Mean time between two clean-ups; each is 20 % earlier or later. Default 30 min.
        #[serde(skip)]
        pub cleanup_interval: Duration = Duration::from_secs(30 * 60),
        /// An entry not refreshed for this long is marked for deletion, and deleted this long
        /// after that. Default 30 min.
        #[serde(skip)]
        pub cleanup_age: Duration = Duration::from_secs(30 * 60),
        /// Time source of the background tasks.
        #[serde(skip)]
        pub clock: Clock = Clock::System,
        /// Position in the jitter range of the update timeout, in [-1, 1); `None` draws one.
        #[serde(skip)]
        pub jitter: Option<f64> = None,
    }
}

/// Elects replicas; see the crate's documentation. Cheap to share behind an [`Arc`].
pub struct HaTracker {
    cache: Arc<Cache>,
    admissions: Arc<Admissions>,
    timing: Arc<Timing>,
    health: Arc<StoreHealth>,
    outages: Arc<StoreOutages>,
    clock_skews: Arc<ClockSkews>,
    ready: Arc<Ready>,
    clock: Clock,
    shutdown: CancellationToken,
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
            cleanup_interval,
            cleanup_age,
            clock,
            jitter,
        } = config;
        let cache = Arc::new(Cache::default());
        let metrics = TrackerMetrics::register(registry, &cache, elected_replica_metric);
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
        ));
        let admissions = Admissions::new(
            Arc::clone(&writer),
            Arc::clone(&cache),
            Arc::clone(&outages),
            shutdown.clone(),
        );
        let tracker = Arc::new(Self {
            cache,
            admissions: Arc::new(admissions),
            timing,
            health,
            outages,
            clock_skews: Arc::new(ClockSkews::new(metrics.clock_skew.clone())),
            ready: Arc::default(),
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
            store: store.name(),
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

    /// Waits until [`HaTracker::is_ready`].
    pub async fn ready(&self) {
        self.ready.wait().await;
    }

    /// Looks a replica up without recording anything: no I/O, no lock, no allocation.
    pub fn peek(&self, tenant: &str, cluster: &str, replica: &str) -> Lookup {
        self.cache
            .read(tenant, cluster, |known| {
                if known.elected().replica == replica {
                    Lookup::Elected
                } else {
                    Lookup::NotElected
                }
            })
            .unwrap_or(Lookup::Unknown)
    }

    /// Checks a replica of a known cluster and records the sighting; `None` if the cluster is
    /// unknown. No I/O and no lock; it allocates only for a replica that is not elected and not
    /// remembered.
    pub fn check_cached(&self, sighting: &Sighting<'_>) -> Option<Outcome> {
        let elected = self.cache.observe(sighting)?;
        Some(match elected {
            None => Outcome::Accepted,
            Some(elected) => Outcome::Deduplicated(ElectedReplica(elected)),
        })
    }

    /// Checks a replica of any cluster. An unknown cluster is read from the store, or its replica
    /// elected there, first; concurrent checks of one cluster share one such call. Dropping the
    /// future does not stop a call that has begun.
    pub async fn check(&self, sighting: &Sighting<'_>) -> Result<Outcome, TrackerError> {
        self.check_within(sighting, None).await
    }

    /// As [`HaTracker::check`], with a limit of tenants; `None` = no limit.
    pub(crate) async fn check_within(
        &self,
        sighting: &Sighting<'_>,
        max_tenants: Option<u64>,
    ) -> Result<Outcome, TrackerError> {
        if let Some(outcome) = self.check_cached(sighting) {
            return Ok(outcome);
        }
        let capacity = Capacity {
            clusters: self.timing.max_clusters(sighting.tenant),
            tenants: max_tenants,
        };
        match self.admissions.admit(sighting, capacity).await {
            Ok(()) => {}
            Err(NotAdmitted::Full(Full::Tenants { limit })) => {
                return Err(TrackerError::TooManyTenants(limit));
            }
            Err(NotAdmitted::Full(Full::Clusters { limit })) => {
                return Ok(Outcome::TooManyClusters { limit });
            }
            Err(NotAdmitted::Failed(TrackerError::Store(error)))
                if matches!(*error, StoreError::InvalidKey { .. }) =>
            {
                return Ok(Outcome::NotStorable(error));
            }
            Err(NotAdmitted::Failed(error)) => return Err(error),
        }
        self.check_cached(sighting).ok_or(TrackerError::Vanished)
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
        let timeouts = self.timing.timeouts(tenant);
        let failovers = self.health.failovers(self.timing.refresh_time(tenant));
        let poll_interval = self.timing.poll_interval(tenant);
        self.cache
            .read(tenant, cluster, |known| {
                outlook(known, replica, now_ms, &timeouts, failovers, poll_interval)
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
    /// [`ElectionEvent::Lagged`] and the state again.
    pub fn watch(&self) -> ElectionWatch {
        ElectionWatch::new(
            Arc::clone(&self.cache),
            Arc::clone(&self.ready),
            self.shutdown.clone(),
        )
    }

    /// All clusters with their replicas, in no particular order.
    pub fn cluster_statuses(&self, now_ms: i64) -> Vec<ClusterStatus> {
        let mut all = Vec::new();
        self.cache.for_each_with(
            |tenant| self.timing.timeouts(tenant),
            |timeouts, tenant, name, cluster| {
                all.push(status((tenant, name), cluster, now_ms, timeouts));
            },
        );
        all
    }

    /// One cluster with its replicas; `None` if it is unknown.
    pub fn cluster_status(
        &self,
        tenant: &str,
        cluster: &str,
        now_ms: i64,
    ) -> Option<ClusterStatus> {
        let timeouts = self.timing.timeouts(tenant);
        self.cache.read(tenant, cluster, |known| {
            status((tenant, cluster), known, now_ms, &timeouts)
        })
    }

    /// Whether another distributor's clock is more than five seconds ahead of this one's, according
    /// to the times that it writes. Over when no entry has shown this for five to ten minutes.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        self.clock_skews.current()
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
    /// panic. The tracker cannot be relied on afterwards.
    pub async fn failed(&mut self) -> TaskFailed {
        self.tasks.failed().await
    }

    /// Stops the tasks and waits for them.
    pub async fn shutdown(self) {
        self.shutdown.disarm().cancel();
        self.tasks.stopped().await;
    }
}
