//! Clusters on their way into the cache.
//!
//! A request of an unknown cluster waits for the store. All requests of that cluster share one
//! call, which runs in a task of its own: a sender that hangs up stops nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use tokio::sync::watch;

use crate::election::Candidate;
use crate::tracker::{HaTracker, Sighting, TrackerError};

/// `None` while the call runs.
type Progress = watch::Receiver<Option<Result<(), TrackerError>>>;

type ByName<V> = HashMap<Box<str>, V, RandomState>;

/// The calls that run now, by tenant and cluster. Bounded by the requests in flight.
#[derive(Default)]
pub(crate) struct Admissions {
    pending: Mutex<ByName<ByName<Progress>>>,
}

impl Admissions {
    fn remove(&self, tenant: &str, cluster: &str) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clusters) = pending.get_mut(tenant) {
            clusters.remove(cluster);
            if clusters.is_empty() {
                pending.remove(tenant);
            }
        }
    }
}

/// Takes the admission off the list even if its task panics.
struct Admission {
    tracker: Arc<HaTracker>,
    tenant: Box<str>,
    cluster: Box<str>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.tracker.admissions.remove(&self.tenant, &self.cluster);
    }
}

impl HaTracker {
    /// Brings an unknown cluster into the cache, through the store. Answers with the tenant's limit
    /// if that stands in the way.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
    ) -> Result<Option<u64>, TrackerError> {
        let limit = self.limits.ha_limits(sighting.tenant).max_clusters;
        let Some(mut progress) = self.join_admission(sighting, limit) else {
            return Ok(Some(limit));
        };
        match progress.wait_for(Option::is_some).await {
            Ok(ended) => ended
                .clone()
                .unwrap_or(Err(TrackerError::Vanished))
                .map(|()| None),
            Err(_) => Err(TrackerError::ShuttingDown),
        }
    }

    /// Joins the call for this cluster or starts it; `None` if the limit forbids it.
    fn join_admission(self: &Arc<Self>, sighting: &Sighting<'_>, limit: u64) -> Option<Progress> {
        let (tenant, cluster) = (sighting.tenant, sighting.cluster);
        let mut all = self
            .admissions
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pending = all.entry(tenant.into()).or_default();
        if let Some(progress) = pending.get(cluster) {
            return Some(progress.clone());
        }
        if limit > 0 && !self.cache.knows(tenant, cluster) {
            // Those already cached but not yet off the list must not count twice.
            let coming = pending
                .keys()
                .filter(|c| !self.cache.knows(tenant, c))
                .count();
            if (self.cache.count(tenant) + coming) as u64 >= limit {
                if pending.is_empty() {
                    all.remove(tenant);
                }
                return None;
            }
        }
        let (report, progress) = watch::channel(None);
        pending.insert(cluster.into(), progress.clone());
        drop(all);
        let admission = Admission {
            tracker: Arc::clone(self),
            tenant: tenant.into(),
            cluster: cluster.into(),
        };
        let replica: Box<str> = sighting.replica.into();
        let (seen_ms, sample_ms) = (sighting.now_ms, sighting.earliest_ms);
        tokio::spawn(async move {
            let candidate = Candidate {
                replica: &replica,
                seen_ms,
                sample_ms,
            };
            let tracker = &admission.tracker;
            let (tenant, cluster) = (&admission.tenant, &admission.cluster);
            let update = tracker.update_store(tenant, cluster, &candidate, seen_ms, None);
            let updated = tokio::select! {
                biased;
                () = tracker.shutdown.cancelled() => Err(TrackerError::ShuttingDown),
                updated = update => updated.map_err(|error| {
                    tracker.note_failure(&error, Duration::ZERO);
                    TrackerError::Store(Arc::new(error))
                }),
            };
            // First off the list: who comes after the report starts a new call.
            drop(admission);
            report.send_replace(Some(updated));
        });
        Some(progress)
    }
}
