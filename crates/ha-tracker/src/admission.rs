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
use crate::room::{Full, Room};
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
    /// `after` happens before another call for the cluster can begin.
    fn remove(&self, tenant: &str, cluster: &str, after: impl FnOnce()) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clusters) = pending.get_mut(tenant) {
            clusters.remove(cluster);
            if clusters.is_empty() {
                pending.remove(tenant);
            }
        }
        after();
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
        let (tenant, cluster) = (&self.tenant, &self.cluster);
        let give_up = || self.tracker.cache.give_up(tenant, cluster);
        self.tracker.admissions.remove(tenant, cluster, give_up);
    }
}

impl HaTracker {
    /// Brings an unknown cluster into the cache, through the store, if there is room for it.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        room: Room,
    ) -> Result<Result<(), Full>, TrackerError> {
        let mut progress = match self.join_admission(sighting, room) {
            Ok(progress) => progress,
            Err(full) => return Ok(Err(full)),
        };
        match progress.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Err(TrackerError::Vanished)).map(Ok),
            Err(_) => Err(TrackerError::ShuttingDown),
        }
    }

    /// Joins the call for this cluster or starts it.
    fn join_admission(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        room: Room,
    ) -> Result<Progress, Full> {
        let (tenant, cluster) = (sighting.tenant, sighting.cluster);
        let mut all = self
            .admissions
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = all.get(tenant).and_then(|pending| pending.get(cluster)) {
            return Ok(progress.clone());
        }
        self.cache.reserve(tenant, cluster, room)?;
        let (report, progress) = watch::channel(None);
        let pending = all.entry(tenant.into()).or_default();
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
        Ok(progress)
    }
}
