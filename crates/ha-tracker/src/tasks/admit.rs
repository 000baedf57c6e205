//! Elections by requests: adds unknown clusters to the cache, and elects a replica that sends while
//! the elected one is overdue.
//!
//! Such a request waits for the store. All requests of that cluster share one call, which runs in a
//! task of its own, so that a sender that disconnects does not cancel it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::RandomState;
use kv_core::{StoreError, lock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::cache::{Cache, Capacity, Full};
use crate::check::{Sighting, TrackerError};
use crate::election::Candidate;
use crate::gate::FailoverCause;
use crate::store_health::StoreOutages;
use crate::writer::{Write, Writer};

/// `None` while the call runs.
type Progress = watch::Receiver<Option<Result<(), TrackerError>>>;

type ByName<V> = HashMap<Box<str>, V, RandomState>;

/// Why a cluster was not added to the cache.
#[derive(Debug)]
pub(crate) enum NotAdmitted {
    Full(Full),
    Failed(TrackerError),
}

/// What a call of the store is for.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// A cluster that is not in the cache.
    New,
    /// A cluster whose elected replica is overdue.
    Failover {
        read_limit: Duration,
        timeout: Duration,
    },
}

/// Elections by requests, through the store.
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
        let call = self.join(sighting, capacity, Call::New);
        let progress = call.map_err(NotAdmitted::Full)?;
        outcome(progress).await.map_err(NotAdmitted::Failed)
    }

    /// Elects the replica of this sighting, if the store agrees that the elected one is overdue, and
    /// the gate allows it.
    pub(crate) async fn contend(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        read_limit: Duration,
        timeout: Duration,
    ) -> Result<(), TrackerError> {
        let call = Call::Failover {
            read_limit,
            timeout,
        };
        // A known cluster has its capacity; one that is gone since is not elected here.
        let progress = self.join(sighting, Capacity::default(), call);
        match progress {
            Ok(progress) => outcome(progress).await,
            Err(_) => Err(TrackerError::Vanished),
        }
    }

    /// Joins the call for this cluster or starts it.
    fn join(
        self: &Arc<Self>,
        sighting: &Sighting<'_>,
        capacity: Capacity,
        call: Call,
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
        let (seen_ms, sample_ms) = (sighting.now_ms, sighting.sample_ms());
        let electing = async move {
            let candidate = Candidate {
                replica: &replica,
                seen_ms,
                sample_ms,
            };
            let outcome = admission.run(&candidate, call).await;
            // Removed from the list first: a request that arrives after the report starts a new
            // call.
            drop(admission);
            report.send_replace(Some(outcome));
        };
        // In a trace, the call belongs to the request that began it.
        tokio::spawn(electing.in_current_span());
        Ok(progress)
    }
}

async fn outcome(mut progress: Progress) -> Result<(), TrackerError> {
    match progress.wait_for(Option::is_some).await {
        Ok(ended) => ended.clone().unwrap_or(Err(TrackerError::Vanished)),
        Err(_) => Err(TrackerError::ShuttingDown),
    }
}

impl Admission {
    async fn run(&self, candidate: &Candidate<'_>, call: Call) -> Result<(), TrackerError> {
        tokio::select! {
            biased;
            () = self.all.shutdown.cancelled() => Err(TrackerError::ShuttingDown),
            written = self.write(candidate, call) => written,
        }
    }

    async fn write(&self, candidate: &Candidate<'_>, call: Call) -> Result<(), TrackerError> {
        let (tenant, cluster, writer) = (&*self.tenant, &*self.cluster, &self.all.writer);
        let now_ms = candidate.seen_ms;
        let failed = |error: StoreError| {
            self.all.outages.failed(&error, Duration::ZERO);
            Arc::new(error)
        };
        match call {
            Call::New => {
                let written = writer.elect(tenant, cluster, candidate, now_ms).await;
                written.map_err(|error| TrackerError::Store(failed(error)))
            }
            Call::Failover {
                read_limit,
                timeout,
            } => {
                let write = Write {
                    tenant,
                    cluster,
                    candidate,
                    now_ms,
                };
                let update = writer.update(write, read_limit, FailoverCause::Arrival);
                let written = tokio::time::timeout(timeout, update).await;
                let written =
                    written.unwrap_or_else(|_| Err(writer.gave_up(tenant, cluster, timeout)));
                written.map_err(|error| TrackerError::Failover(failed(error)))
            }
        }
    }
}
