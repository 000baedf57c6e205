//! Adds unknown clusters to the cache.
//!
//! A request of an unknown cluster waits for the store. All requests of that cluster share one
//! call, which runs in a task of its own, so that a sender that disconnects does not cancel it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::RandomState;
use kv_core::lock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Capacity, Full};
use crate::check::{Sighting, TrackerError};
use crate::election::Candidate;
use crate::store_health::StoreOutages;
use crate::writer::Writer;

/// `None` while the call runs.
type Progress = watch::Receiver<Option<Result<(), TrackerError>>>;

type ByName<V> = HashMap<Box<str>, V, RandomState>;

/// Why a cluster was not added to the cache.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    Full(Full),
    Failed(TrackerError),
}

/// Adds unknown clusters to the cache, through the store.
pub(crate) struct Admissions {
    writer: Arc<Writer>,
    cache: Arc<Cache>,
    outages: Arc<StoreOutages>,
    shutdown: CancellationToken,
    /// The calls that run now, by tenant and cluster. Bounded by the requests in flight.
    ///
    /// Lock order: this one, then the cache's write lock.
    pending: Mutex<ByName<ByName<Progress>>>,
}

/// A running call; removes itself from the list even if its task panics.
struct Admission {
    all: Arc<Admissions>,
    tenant: Box<str>,
    cluster: Box<str>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (tenant, cluster) = (&self.tenant, &self.cluster);
        // Both before another call for the cluster can begin.
        let mut pending = lock(&self.all.pending);
        if let Some(clusters) = pending.get_mut(tenant) {
            clusters.remove(cluster);
            if clusters.is_empty() {
                pending.remove(tenant);
            }
        }
        self.all.cache.give_up(tenant, cluster);
    }
}

impl Admissions {
    pub(crate) fn new(
        writer: Arc<Writer>,
        cache: Arc<Cache>,
        outages: Arc<StoreOutages>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            writer,
            cache,
            outages,
            shutdown,
            pending: Mutex::default(),
        }
    }

    /// Adds an unknown cluster to the cache, if the limits allow it.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        capacity: Capacity,
    ) -> Result<(), NotAdmitted> {
        let mut progress = self.join(sighting, capacity).map_err(NotAdmitted::Full)?;
        let outcome = match progress.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Err(TrackerError::Vanished)),
            Err(_) => Err(TrackerError::ShuttingDown),
        };
        outcome.map_err(NotAdmitted::Failed)
    }

    /// Joins the call for this cluster or starts it.
    fn join(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        capacity: Capacity,
    ) -> Result<Progress, Full> {
        let (tenant, cluster) = (sighting.tenant, sighting.cluster);
        let mut all = lock(&self.pending);
        if let Some(progress) = all.get(tenant).and_then(|pending| pending.get(cluster)) {
            return Ok(progress.clone());
        }
        self.cache.reserve(tenant, cluster, capacity)?;
        let (report, progress) = watch::channel(None);
        let pending = all.entry(tenant.into()).or_default();
        pending.insert(cluster.into(), progress.clone());
        drop(all);
        let admission = Admission {
            all: Arc::clone(self),
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
            let outcome = admission.run(&candidate).await;
            // Removed from the list first: a request that arrives after the report starts a new
            // call.
            drop(admission);
            report.send_replace(Some(outcome));
        });
        Ok(progress)
    }
}

impl Admission {
    async fn run(&self, candidate: &Candidate<'_>) -> Result<(), TrackerError> {
        let (tenant, cluster) = (&self.tenant, &self.cluster);
        let written = self
            .all
            .writer
            .elect(tenant, cluster, candidate, candidate.seen_ms);
        tokio::select! {
            biased;
            () = self.all.shutdown.cancelled() => Err(TrackerError::ShuttingDown),
            written = written => written.map_err(|error| {
                self.all.outages.failed(&error, Duration::ZERO);
                TrackerError::Store(Arc::new(error))
            }),
        }
    }
}
