//! [`HaTracker`]: the answers to checks, and the handle of its tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kv_core::{Store, StoreError, TaskFailed, Tasks};
use prometheus_client::registry::Registry;
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use crate::admission::Admissions;
use crate::cache::Cache;
use crate::health::Health;
use crate::metrics::TrackerMetrics;
use crate::room::{Full, Room};
use crate::store_trouble::Troubles;
use crate::{Clock, ReplicaDesc, TenantLimits};

/// What a tracker is made of, besides its store and its limits.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Adds `cortex_ha_tracker_elected_replica_status`, one series per cluster.
    pub elected_replica_metric: bool,
    /// Mean time between two clean-ups; each is 20 % earlier or later. Default 30 min.
    pub cleanup_interval: Duration,
    /// An entry not refreshed for this long is marked for deletion, and deleted this long after
    /// that. Default 30 min.
    pub cleanup_age: Duration,
    /// Time source of the background tasks.
    pub clock: Clock,
    /// Position in the jitter range of the update timeout, in [-1, 1); `None` draws one.
    pub jitter: Option<f64>,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            elected_replica_metric: false,
            cleanup_interval: Duration::from_secs(30 * 60),
            cleanup_age: Duration::from_secs(30 * 60),
            clock: Clock::System,
            jitter: None,
        }
    }
}

/// A sample, or all samples of one replica in a request.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Value of the cluster label.
    pub cluster: &'a str,
    /// Value of the replica label.
    pub replica: &'a str,
    /// Earliest sample time, Unix ms.
    pub earliest_ms: Option<i64>,
    /// When it arrived, Unix ms.
    pub now_ms: i64,
}

/// What the cache knows about a replica; nothing is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It is the elected one.
    Elected,
    /// Another one is elected.
    NotElected,
    /// The cluster is unknown: only [`HaTracker::check`] can tell.
    Unknown,
}

/// The answer to a check.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The replica is elected: keep its samples.
    Accepted,
    /// Another replica is elected: drop them.
    Deduplicated(ElectedReplica),
    /// The tenant has as many clusters as it may, and this would be one more.
    TooManyClusters {
        /// The tenant's limit.
        limit: u64,
    },
    /// The store can never hold an entry for this cluster: [`StoreError::InvalidKey`].
    NotStorable(Arc<StoreError>),
}

/// The replica that is elected instead.
#[derive(Debug, Clone)]
pub struct ElectedReplica(SmolStr);

impl ElectedReplica {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Why a check has no answer. All of these can go away by themselves: the sender should retry.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrackerError {
    /// The cluster is unknown here and the store failed.
    #[error("the HA tracker's store cannot answer for a new cluster: {0}")]
    Store(Arc<StoreError>),
    /// The cluster's entry vanished between election and check.
    #[error("the cluster's entry was removed while it was checked")]
    Vanished,
    /// The tenant is new, and there are as many as there may be.
    #[error("the tracker has {0} tenants already")]
    TooManyTenants(u64),
    /// The tracker is shutting down.
    #[error("the HA tracker is shutting down")]
    ShuttingDown,
}

/// Elects replicas; see the crate's documentation. Cheap to share behind an [`Arc`].
pub struct HaTracker {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    pub(crate) limits: Arc<dyn TenantLimits>,
    pub(crate) config: TrackerConfig,
    pub(crate) jitter: f64,
    pub(crate) cache: Arc<Cache>,
    pub(crate) metrics: TrackerMetrics,
    pub(crate) admissions: Admissions,
    pub(crate) shutdown: CancellationToken,
    pub(crate) health: Health,
    pub(crate) troubles: Troubles,
    ready: watch::Sender<bool>,
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
    /// It answers at once; [`HaTracker::ready`] tells when it knows what the store knew.
    pub fn start(
        store: Arc<dyn Store<ReplicaDesc>>,
        limits: Arc<dyn TenantLimits>,
        config: TrackerConfig,
        registry: &mut Registry,
    ) -> (Arc<Self>, TrackerHandle) {
        let cache = Arc::new(Cache::default());
        let metrics = TrackerMetrics::register(registry, &cache, config.elected_replica_metric);
        let shutdown = CancellationToken::new();
        let tracker = Arc::new(Self {
            store,
            limits,
            jitter: config
                .jitter
                .unwrap_or_else(|| rand::random_range(-1.0..1.0)),
            config,
            cache,
            metrics,
            admissions: Admissions::default(),
            shutdown: shutdown.clone(),
            health: Health::default(),
            troubles: Troubles::default(),
            ready: watch::Sender::new(false),
        });
        let mut tasks = Tasks::new("a task of the HA tracker");
        let span = tracing::info_span!("ha_tracker");
        tasks.spawn(Arc::clone(&tracker).follow_store().instrument(span.clone()));
        tasks.spawn(Arc::clone(&tracker).keep_updated().instrument(span.clone()));
        tasks.spawn(Arc::clone(&tracker).keep_asking().instrument(span.clone()));
        tasks.spawn(Arc::clone(&tracker).keep_clean().instrument(span));
        let shutdown = shutdown.drop_guard();
        (tracker, TrackerHandle { shutdown, tasks })
    }

    /// Whether the cache holds what the store held when the tracker started.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`HaTracker::is_ready`].
    pub async fn ready(&self) {
        // The sender is a field of self: it cannot be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    pub(crate) fn set_ready(&self) {
        self.ready.send_replace(true);
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

    /// Answers for a known cluster and remembers that the replica was seen; `None` if the cluster
    /// is unknown. No I/O and no lock; it allocates only for a replica that
    /// is not elected and not remembered.
    pub fn check_cached(&self, sighting: &Sighting<'_>) -> Option<Outcome> {
        let elected = self.cache.observe(sighting)?;
        Some(match elected {
            None => Outcome::Accepted,
            Some(elected) => Outcome::Deduplicated(ElectedReplica(elected)),
        })
    }

    /// Answers for any cluster. An unknown one is looked up, or its replica elected, in the store
    /// first; any number of concurrent checks of one cluster share one such call. Dropping the
    /// future does not stop a call that has begun.
    pub async fn check(self: &Arc<Self>, sighting: &Sighting<'_>) -> Result<Outcome, TrackerError> {
        self.check_within(sighting, 0).await
    }

    /// As [`HaTracker::check`], for no more than so many tenants; 0 = no limit.
    pub(crate) async fn check_within(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        max_tenants: u64,
    ) -> Result<Outcome, TrackerError> {
        if let Some(outcome) = self.check_cached(sighting) {
            return Ok(outcome);
        }
        let limit = self.limits.ha_limits(sighting.tenant).max_clusters;
        let room = Room {
            clusters: limit,
            tenants: max_tenants,
        };
        match self.admit(sighting, room).await {
            Ok(Ok(())) => {}
            Ok(Err(Full::Tenants)) => return Err(TrackerError::TooManyTenants(max_tenants)),
            Ok(Err(Full::Clusters)) => return Ok(Outcome::TooManyClusters { limit }),
            Err(TrackerError::Store(error)) if matches!(*error, StoreError::InvalidKey { .. }) => {
                return Ok(Outcome::NotStorable(error));
            }
            Err(error) => return Err(error),
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
        self.cache
            .tenants()
            .iter()
            .map(|tenant| self.cache.count(tenant))
            .sum()
    }
}

impl TrackerHandle {
    /// Waits for a task that ends before [`TrackerHandle::shutdown`]: a bug, whose panic this
    /// tells. The tracker cannot be relied on afterwards.
    pub async fn failed(&mut self) -> TaskFailed {
        self.tasks.failed().await
    }

    /// Stops the tasks and waits for them.
    pub async fn shutdown(self) {
        self.shutdown.disarm().cancel();
        self.tasks.stopped().await;
    }
}
