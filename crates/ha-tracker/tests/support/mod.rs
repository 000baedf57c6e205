//! Several trackers over one in-memory store whose calls can be made to fail or to take time.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use std::sync::Arc;
use std::time::Duration;

use ha_tracker::{
    Clock, HaLimits, HaTracker, Outcome, ReplicaDesc, Sighting, TenantLimits, TrackerConfig,
    TrackerError, TrackerHandle,
};
use kv_core::InMemoryStore;
use kv_core::faults::{Faults, FaultyStore};
use prometheus_client::registry::Registry;

/// What the paused clock shows at the start.
pub const EPOCH_MS: i64 = 1_700_000_000_000;

/// The defaults without jitter.
pub fn limits() -> HaLimits {
    HaLimits {
        update_timeout_jitter_max: Duration::ZERO,
        ..HaLimits::default()
    }
}

/// The same limits for all tenants but `quick`.
struct PerTenant(HaLimits);

impl TenantLimits for PerTenant {
    fn ha_limits(&self, tenant: &str) -> HaLimits {
        if tenant == "quick" {
            return HaLimits {
                update_timeout: Duration::from_secs(2),
                failover_timeout: Duration::from_secs(5),
                ..self.0
            };
        }
        self.0
    }
}

/// An answer, comparable.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Deduplicated(String),
    TooManyClusters(u64),
}

pub struct Fleet {
    pub store: InMemoryStore<ReplicaDesc>,
    pub faults: Arc<Faults>,
    pub trackers: Vec<Arc<HaTracker>>,
    registries: Vec<Registry>,
    handles: Vec<TrackerHandle>,
    limits: HaLimits,
    clock: Clock,
}

impl Fleet {
    /// `size` trackers, ready.
    pub async fn start(size: usize, limits: HaLimits) -> Self {
        let mut fleet = Self {
            store: InMemoryStore::default(),
            faults: Arc::default(),
            trackers: Vec::new(),
            registries: Vec::new(),
            handles: Vec::new(),
            limits,
            clock: Clock::tokio(EPOCH_MS),
        };
        for _ in 0..size {
            let mut registry = Registry::default();
            let (tracker, handle) = fleet.tracker(&mut registry);
            tracker.ready().await;
            fleet.trackers.push(tracker);
            fleet.registries.push(registry);
            fleet.handles.push(handle);
        }
        fleet
    }

    fn tracker(&self, registry: &mut Registry) -> (Arc<HaTracker>, TrackerHandle) {
        let store = FaultyStore::new(Arc::new(self.store.clone()), Arc::clone(&self.faults));
        let config = TrackerConfig {
            elected_replica_metric: true,
            replica_metrics: true,
            clock: self.clock.clone(),
            jitter: Some(0.0),
            ..TrackerConfig::default()
        };
        HaTracker::start(
            Arc::new(store),
            Arc::new(PerTenant(self.limits)),
            config,
            registry,
        )
    }

    pub fn another_tracker(&self) -> (Arc<HaTracker>, TrackerHandle) {
        self.tracker(&mut Registry::default())
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets time pass, and the tasks that wait for it run.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub async fn advance_sending(&self, time: Duration, cluster: &str, replica: &str) {
        for _ in 0..time.as_secs() / 10 {
            self.advance(Duration::from_secs(10)).await;
            self.send(0, cluster, replica).await;
        }
    }

    pub async fn check_with(
        &self,
        tracker: &Arc<HaTracker>,
        tenant: &str,
        cluster: &str,
        replica: &str,
        newest_ms: Option<i64>,
    ) -> Result<Verdict, TrackerError> {
        let now_ms = self.now_ms();
        let sighting = Sighting {
            tenant,
            cluster,
            replica,
            newest_ms,
            now_ms,
        };
        Ok(match tracker.check(&sighting).await? {
            Outcome::Accepted => Verdict::Accepted,
            Outcome::Deduplicated(elected) => Verdict::Deduplicated(elected.name().to_owned()),
            Outcome::TooManyClusters { limit } => Verdict::TooManyClusters(limit),
            Outcome::NotStorable(error) => return Err(TrackerError::Store(error)),
        })
    }

    pub async fn try_send(
        &self,
        tracker: usize,
        cluster: &str,
        replica: &str,
    ) -> Result<Verdict, TrackerError> {
        let now = Some(self.now_ms());
        self.check_with(&self.trackers[tracker], "t", cluster, replica, now)
            .await
    }

    pub async fn send(&self, tracker: usize, cluster: &str, replica: &str) -> Verdict {
        self.try_send(tracker, cluster, replica).await.unwrap()
    }

    pub async fn send_with_sample(
        &self,
        tracker: usize,
        cluster: &str,
        replica: &str,
        newest_ms: Option<i64>,
    ) -> Verdict {
        let tracker = &self.trackers[tracker];
        self.check_with(tracker, "t", cluster, replica, newest_ms)
            .await
            .unwrap()
    }

    pub async fn send_for(
        &self,
        tracker: usize,
        tenant: &str,
        cluster: &str,
        replica: &str,
    ) -> Verdict {
        let tracker = &self.trackers[tracker];
        self.check_with(tracker, tenant, cluster, replica, None)
            .await
            .unwrap()
    }

    pub fn metrics(&self, tracker: usize) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registries[tracker]).unwrap();
        text
    }
}
