//! What a store costs one distributor that keeps 10,000 clusters fresh.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use bench::measure::Effort;
use bench::process::{cpu_seconds, resident_bytes};
use e2e::Distributor;
use serde::Serialize;
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::backend::{Backend, Kind, Requests};
use crate::counted::Counted;
use crate::fleet::{Fleet, Push, Pusher};

const FLEET: Fleet = Fleet {
    tenants: 10,
    clusters: 1_000,
    per_request: 500,
};
/// Every cluster is pushed by both replicas once in this time.
const SWEEP: Duration = Duration::from_secs(5);
/// The first push of all clusters takes as long as the update timeout, so that the updates are
/// spread over it, as those of clusters that came one by one are.
const FIRST_SWEEP: Duration = Duration::from_secs(15);

/// One store's steady state. Everything is of one second unless it says otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) store: &'static str,
    pub(crate) clusters: usize,
    /// How long was measured.
    pub(crate) seconds: f64,
    pub(crate) series_pushed: f64,
    /// In all.
    pub(crate) failed_pushes: u64,
    /// Elections that were refreshed: compare-and-swaps of the tracker.
    pub(crate) updates: f64,
    /// Calls of the store that failed, in all.
    pub(crate) failed_calls: f64,
    /// CPU seconds of the distributor.
    pub(crate) cpu: f64,
    /// Memory of the distributor at the end, in all.
    pub(crate) resident_bytes: u64,
    /// Of a store with a server.
    pub(crate) server: Option<Server>,
}

/// Between a distributor and its store.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) watch_answers: f64,
    pub(crate) bytes_to_store: f64,
    pub(crate) bytes_from_store: f64,
    /// CPU seconds of the store.
    pub(crate) cpu: f64,
    /// Of Consul: bytes of one answer to a watch, in all.
    pub(crate) watch_answer_bytes: Option<f64>,
}

/// What distributor and store say. Their pages take a while.
struct Pages {
    /// Compare-and-swaps, and failed calls.
    calls: Counted<2>,
    requests: Option<Requests>,
}

/// What can be seen from outside at once.
struct Outside {
    /// CPU seconds of the distributor.
    own: Counted<1>,
    /// Bytes to the store and back, its CPU seconds.
    store: Option<Counted<3>>,
}

/// A span of time.
struct Window {
    pages: (Pages, Pages),
    /// Within, so that making the pages is no part of it.
    outside: (Outside, Outside),
    failed_pushes: u64,
}

/// Runs a store and a distributor of its own.
pub(crate) async fn measure(effort: Effort, kind: Kind) -> Result<Cost> {
    let backend = Backend::start(kind).await;
    let config = json!({
        "distributor": {"ha_tracker": {
            "enable_ha_tracker": true,
            "kvstore": Backend::kvstore(backend.as_ref()),
        }},
        "limits": {
            "accept_ha_samples": true,
            "ha_max_clusters": 0,
            // A request holds series of several clusters.
            "ha_tracker_per_sample_dedupe": true,
            // Each process draws its jitter once: two stores could not be compared.
            "ha_tracker_update_timeout_jitter_max": "0s",
        },
    });
    let distributor = Distributor::start("distributor", &config.to_string()).await;
    let pusher = Pusher::new(&distributor);
    let (elected, other) = (FLEET.pushes(|_| 0)?, FLEET.pushes(|_| 1)?);
    push_all(&pusher, &elected).await?;

    let (settle, window) = match effort {
        Effort::Quick => (Duration::from_secs(5), Duration::from_secs(15)),
        Effort::Full => (Duration::from_secs(15), Duration::from_secs(60)),
    };
    let pushes: Vec<&Push> = elected
        .iter()
        .zip(&other)
        .flat_map(|(a, b)| [a, b])
        .collect();
    let failed_pushes = Cell::new(0);
    let look = async {
        sleep(settle).await;
        let failed_before = failed_pushes.get();
        let pages_before = pages(&distributor, backend.as_ref()).await?;
        let outside_before = outside(&distributor, backend.as_ref())?;
        sleep(window).await;
        let outside_after = outside(&distributor, backend.as_ref())?;
        let pages_after = pages(&distributor, backend.as_ref()).await?;
        anyhow::Ok(Window {
            pages: (pages_before, pages_after),
            outside: (outside_before, outside_after),
            failed_pushes: failed_pushes.get() - failed_before,
        })
    };
    let window = tokio::select! {
        window = look => window?,
        () = keep_fresh(&pusher, &pushes, &failed_pushes) => bail!("no more pushes"),
    };
    let (calls_before, calls_after) = (&window.pages.0.calls, &window.pages.1.calls);
    let [updates, _] = calls_after.per_second(calls_before);
    let [_, failed_calls] = calls_after.growth(calls_before);
    let (own_before, own_after) = (&window.outside.0.own, &window.outside.1.own);
    let [cpu] = own_after.per_second(own_before);
    let server = match &backend {
        Some(backend) => Some(server(backend, &window).await?),
        None => None,
    };
    Ok(Cost {
        store: kind.name(),
        clusters: FLEET.all_clusters(),
        seconds: own_after.seconds(own_before),
        series_pushed: 2.0 * FLEET.all_clusters() as f64 / SWEEP.as_secs_f64(),
        failed_pushes: window.failed_pushes,
        updates,
        failed_calls,
        cpu,
        resident_bytes: resident_bytes(distributor.process.id())?,
        server,
    })
}

/// Pushes of new clusters, each until it succeeds.
async fn push_all(pusher: &Pusher, pushes: &[Push]) -> Result<()> {
    let mut ticks = interval(FIRST_SWEEP / u32::try_from(pushes.len())?);
    for push in pushes {
        ticks.tick().await;
        let mut failures = 0;
        while let Err(error) = pusher.push(push).await {
            eprintln!("first push: {error}");
            failures += 1;
            ensure!(failures < 20, "clusters cannot be elected: {error}");
        }
    }
    Ok(())
}

/// Pushes everything repeatedly, forever.
async fn keep_fresh(pusher: &Pusher, pushes: &[&Push], failed: &Cell<u64>) {
    let mut ticks = interval(SWEEP / u32::try_from(pushes.len()).unwrap_or(u32::MAX));
    for push in pushes.iter().cycle() {
        ticks.tick().await;
        if let Err(error) = pusher.push(push).await {
            eprintln!("push: {error}");
            failed.set(failed.get() + 1);
        }
    }
}

async fn pages(distributor: &Distributor, backend: Option<&Backend>) -> Result<Pages> {
    let metrics = distributor.metrics().await.map_err(|e| anyhow!("{e}"))?;
    let count = |label| metrics.sum("cortex_kv_request_duration_seconds_count", &[label]);
    let calls = Counted::now([count(("operation", "CAS")), count(("status_code", "500"))]);
    let requests = match backend {
        Some(backend) => Some(backend.requests().await?),
        None => None,
    };
    Ok(Pages { calls, requests })
}

fn outside(distributor: &Distributor, backend: Option<&Backend>) -> Result<Outside> {
    let store = match backend {
        Some(backend) => Some(Counted::now([
            backend.proxy.bytes_to_server() as f64,
            backend.proxy.bytes_to_client() as f64,
            cpu_seconds(backend.process())?,
        ])),
        None => None,
    };
    let own = Counted::now([cpu_seconds(distributor.process.id())?]);
    Ok(Outside { own, store })
}

async fn server(backend: &Backend, window: &Window) -> Result<Server> {
    let keys = backend.keys().await?;
    let expected = FLEET.all_clusters();
    ensure!(keys == expected, "{keys} keys instead of {expected}");
    let (pages, outside) = (&window.pages, &window.outside);
    let (Some(requests_before), Some(requests)) = (&pages.0.requests, &pages.1.requests) else {
        bail!("the server was not asked");
    };
    let (Some(store_before), Some(store)) = (&outside.0.store, &outside.1.store) else {
        bail!("the server was not looked at");
    };
    let [mut reads, writes, mut watch_answers] = requests.per_second(requests_before);
    let [bytes_to_store, bytes_from_store, cpu] = store.per_second(store_before);
    let (tenant, cluster) = FLEET.names(0, 0);
    let weights = backend.weights(&tenant, &cluster).await?;
    if let Some(weights) = weights {
        // Consul counts a watch's queries among the reads. Each write is of a compare-and-swap,
        // which has read before; the bytes that these do not explain are the watch's.
        let of_updates = writes * (weights.read + weights.write);
        watch_answers = ((bytes_from_store - of_updates) / weights.everything).max(0.0);
        reads -= watch_answers;
    }
    Ok(Server {
        reads,
        writes,
        watch_answers,
        bytes_to_store,
        bytes_from_store,
        cpu,
        watch_answer_bytes: weights.map(|weights| weights.everything),
    })
}
