//! The tracker: time of a check, how two threads share it, memory per cluster.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;

use anyhow::{Context, Result};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use ha_tracker::{
    Delivery, HaLimits, HaTracker, Outcome, ReplicaDesc, Sighting, TrackerConfig, TrackerHandle,
};
use kv_core::{CasOutcome, Store, StoreError, UpdateFn, WatchEvent, WatchStream};
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;

use crate::measure::{Effort, interleaved, median, seconds_of};
use crate::report::{Number, Report, Timing, thousands};

const SECTION: &str = "HA tracker";
const TENANTS: usize = 100;
const NOW_MS: i64 = 1_700_000_000_000;

/// Measures checks, and memory.
pub fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for (clusters, target) in [(10_000, Some(150.0)), (1_000_000, None)] {
        measure_checks(effort, clusters, target, report)?;
    }
    let clusters = 100_000;
    report.numbers.push(Number {
        section: SECTION,
        what: format!(
            "memory per tracked cluster, both replicas seen, {} clusters",
            thousands(clusters as u64)
        ),
        value: memory_per_cluster(clusters)?,
        unit: "bytes",
        target: None,
    });
    Ok(())
}

/// A store that only tells what it holds: one election per cluster.
struct FixedStore(usize);

fn tenant(index: usize) -> String {
    format!("tenant-{:02}", index % TENANTS)
}

fn cluster(index: usize) -> String {
    format!("prod-cluster-{index:07}")
}

fn not_here(key: &str) -> StoreError {
    StoreError::InvalidKey {
        store: "fixed",
        key: key.to_owned(),
        reason: "the benchmark's store is read only",
    }
}

#[async_trait]
impl Store<ReplicaDesc> for FixedStore {
    fn name(&self) -> &'static str {
        "fixed"
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        Err(not_here(prefix))
    }

    async fn get(&self, key: &str) -> Result<Option<ReplicaDesc>, StoreError> {
        Err(not_here(key))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        Err(not_here(key))
    }

    async fn cas(
        &self,
        key: &str,
        _update: &mut UpdateFn<'_, ReplicaDesc>,
    ) -> Result<CasOutcome<ReplicaDesc>, StoreError> {
        Err(not_here(key))
    }

    fn watch_key(&self, _key: &str) -> WatchStream<ReplicaDesc> {
        stream::pending().boxed()
    }

    fn watch_prefix(&self, _prefix: &str) -> WatchStream<ReplicaDesc> {
        let puts = (0..self.0).map(|index| {
            let desc = ReplicaDesc {
                replica: "prometheus-0".into(),
                received_at: NOW_MS,
                elected_at: NOW_MS,
                ..Default::default()
            };
            WatchEvent::Put(format!("{}/{}", tenant(index), cluster(index)), desc)
        });
        stream::iter(puts)
            .chain(stream::iter([WatchEvent::Synced]))
            .chain(stream::pending())
            .boxed()
    }
}

/// A tracker that knows so many clusters, and the runtime of its tasks.
struct Filled {
    tracker: Arc<HaTracker>,
    // Dropped in this order.
    _handle: TrackerHandle,
    _runtime: Runtime,
}

fn filled(clusters: usize) -> Result<Filled> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let (tracker, handle) = runtime.block_on(async {
        let (tracker, handle) = HaTracker::start(
            Arc::new(FixedStore(clusters)),
            Arc::new(HaLimits::default()),
            TrackerConfig::default(),
            &mut Registry::default(),
        );
        tracker.ready().await;
        (tracker, handle)
    });
    anyhow::ensure!(
        tracker.cluster_count() == clusters,
        "not all clusters are known"
    );
    Ok(Filled {
        tracker,
        _handle: handle,
        _runtime: runtime,
    })
}

/// Names in a random but fixed order, every fourth check of the replica that is not elected.
fn sightings(clusters: usize) -> Vec<(String, String, &'static str)> {
    // A multiplier without a common factor visits every cluster once.
    (0..clusters)
        .map(|step| {
            let index = (step * 7_919 + 13) % clusters;
            let replica = if step % 4 == 3 {
                "prometheus-1"
            } else {
                "prometheus-0"
            };
            (tenant(index), cluster(index), replica)
        })
        .collect()
}

fn check_all(tracker: &HaTracker, names: &[(String, String, &str)], now_ms: i64) {
    for (tenant, cluster, replica) in names {
        let sighting = Sighting {
            tenant,
            cluster,
            replica,
            newest_ms: Some(now_ms),
            now_ms,
        };
        let outcome = tracker.check_cached(&sighting);
        assert!(matches!(
            black_box(&outcome),
            Some(Outcome::Accepted | Outcome::Deduplicated(_))
        ));
    }
}

fn measure_checks(
    effort: Effort,
    clusters: usize,
    target_ns: Option<f64>,
    report: &mut Report,
) -> Result<()> {
    let filled = filled(clusters)?;
    let tracker = &*filled.tracker;
    let names = sightings(clusters);
    let (first, second) = names.split_at(clusters / 2);
    let passes = (effort.checks() / clusters).max(1);
    check_all(tracker, &names, NOW_MS);
    let (mut alone_s, mut scaling) = (Vec::new(), Vec::new());
    for round in 0..effort.tracker_rounds() {
        let now_ms = NOW_MS + round as i64;
        let alone = seconds_of(|| (0..passes).for_each(|_| check_all(tracker, &names, now_ms)));
        let both = two_threads(
            &|| (0..2 * passes).for_each(|_| check_all(tracker, first, now_ms)),
            &|| (0..2 * passes).for_each(|_| check_all(tracker, second, now_ms)),
        )?;
        // Together they did twice the checks.
        alone_s.push(alone);
        scaling.push(2.0 * alone / both);
    }
    let checks = (passes * clusters) as f64;
    let of = format!(
        "{} clusters of {TENANTS} tenants",
        thousands(clusters as u64)
    );
    report.numbers.push(Number {
        section: SECTION,
        what: format!("check of a known cluster, {of}, random order"),
        value: median(alone_s) / checks * 1e9,
        unit: "ns",
        target: target_ns.map(crate::report::Target::AtMost),
    });
    report.numbers.push(Number {
        section: SECTION,
        what: format!("throughput of two threads over one, {of}"),
        value: median(scaling),
        unit: "×",
        target: target_ns.map(|_| crate::report::Target::AtLeastTimesFaster(1.8)),
    });
    Ok(())
}

/// Seconds from a common start to the end of the slower one.
fn two_threads(first: &(dyn Fn() + Sync), second: &(dyn Fn() + Sync)) -> Result<f64> {
    let start = Barrier::new(2);
    let run = |work: &(dyn Fn() + Sync)| {
        start.wait();
        seconds_of(work)
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| run(second));
        let mine = run(first);
        let theirs = other.join().ok().context("a thread panicked")?;
        Ok(mine.max(theirs))
    })
}

/// What it costs to know the senders (when each was seen, its newest sample, its cadence, what became of
/// its requests): a check that records it, against one that only asks who is elected.
///
/// # Errors
/// The tracker does not start.
pub fn senders(effort: Effort, report: &mut Report) -> Result<()> {
    let clusters = 10_000;
    let filled = filled_and_seen(clusters)?;
    let tracker = &*filled.tracker;
    // However late it is, an elected replica is accepted.
    let mut names = sightings(clusters);
    names.iter_mut().for_each(|name| name.2 = "prometheus-0");
    let (mut now_ms, mut delivered_ms) = (NOW_MS, NOW_MS);
    let times = interleaved(
        effort,
        &mut [
            &mut || {
                for (tenant, cluster, replica) in &names {
                    black_box(tracker.peek(tenant, cluster, replica, NOW_MS));
                }
            },
            &mut || {
                now_ms += 15_000;
                check_all(tracker, &names, now_ms);
            },
            &mut || {
                delivered_ms += 15_000;
                for (tenant, cluster, replica) in &names {
                    tracker.begin_delivery(tenant, cluster, replica, delivered_ms);
                    black_box(tracker.stored(tenant, cluster, replica, delivered_ms));
                    let settled = Delivery::Settled;
                    tracker.end_delivery(
                        tenant,
                        cluster,
                        replica,
                        settled,
                        delivered_ms,
                        delivered_ms,
                    );
                }
            },
        ],
    );
    let of_each = |contender| times.seconds(contender) * 1e9 / names.len() as f64;
    for (ours, what) in [
        (
            1,
            "check, with the sender's cadence, sample and clock recorded",
        ),
        (2, "what became of a request, and its sample times"),
    ] {
        report.timings.push(Timing {
            section: SECTION,
            case: format!("{} clusters, random order", thousands(clusters as u64)),
            ours: what,
            ours_ns: of_each(ours),
            reference: "who is elected, nothing recorded",
            reference_ns: of_each(0),
            ratio: times.ratio(ours, 0),
            target: None,
        });
    }
    Ok(())
}

/// A tracker that has seen both replicas of each cluster.
fn filled_and_seen(clusters: usize) -> Result<Filled> {
    let filled = filled(clusters)?;
    for index in 0..clusters {
        for replica in ["prometheus-0", "prometheus-1"] {
            let (tenant, cluster) = (tenant(index), cluster(index));
            let sighting = Sighting {
                tenant: &tenant,
                cluster: &cluster,
                replica,
                newest_ms: Some(NOW_MS),
                now_ms: NOW_MS,
            };
            filled.tracker.check_cached(&sighting);
        }
    }
    Ok(filled)
}

fn memory_per_cluster(clusters: usize) -> Result<f64> {
    let mut kept = None;
    let counted = allocation_counter::measure(|| kept = Some(filled_and_seen(clusters)));
    kept.context("nothing was measured")??;
    Ok(counted.bytes_current as f64 / clusters as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_is_visited_once() {
        let mut names: Vec<_> = sightings(10_000)
            .into_iter()
            .map(|(_, name, _)| name)
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 10_000);
    }

    #[test]
    fn a_cluster_takes_less_than_a_kilobyte() {
        let bytes = memory_per_cluster(10_000).unwrap();
        assert!((100.0..1000.0).contains(&bytes), "{bytes}");
    }
}
