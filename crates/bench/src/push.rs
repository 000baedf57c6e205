//! The whole push path without the network: tenant, limits, tracker, scan, answer.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use ha_failover::{
    Elections, FailoverConfig, FailoverHandle, Parts, Replayer, Rules, Settings, Slice,
};
use ha_tracker::{Clock, HaLimits, HaTracker, ReplicaDesc, TrackerConfig, TrackerHandle};
use http::HeaderMap;
use ingest::{
    Downstreams, HeldBody, IngestConfig, Outcome, PushAnswer, PushBody, PushLimits, PushRequest,
    Pusher,
};
use kv_core::InMemoryStore;
use prometheus_client::registry::Registry;
use remote_write::{Version, compress_into};
use tokio::runtime::Runtime;

use crate::measure::{Effort, interleaved};
use crate::reference::Codec;
use crate::report::{Constant, Report, Target, Timing, thousands};
use remote_write_testkit::generate::{Shape, request};

const SECTION: &str = "push path";

/// Times of a deduplicated request against decompressing its body, and allocations.
pub fn run(effort: Effort, report: &mut Report) -> Result<()> {
    let path = PushPath::start()?;
    for (version, number) in [(Version::V1, "1.0"), (Version::V2, "2.0")] {
        let mut counts = Vec::new();
        for series in [1_000, 10_000] {
            let body = body(version, series, LOSING);
            let mut reference = Codec::default();
            let times = interleaved(
                effort,
                &mut [
                    &mut || {
                        std::hint::black_box(reference.decompress(&body).ok());
                    },
                    &mut || drop(path.push(version, &body)),
                ],
            );
            report.timings.push(Timing {
                section: SECTION,
                case: format!("{number}, {} series", thousands(series as u64)),
                ours: "deduplicated request, body to answer",
                ours_ns: times.seconds(1) * 1e9,
                reference: "decompress",
                reference_ns: times.seconds(0) * 1e9,
                ratio: times.ratio(1, 0),
                target: Some(Target::AtMost(2.5)),
            });
        }
        for series in [100, 1_000, 10_000] {
            counts.push((series as u64, path.allocations(version, series)?));
        }
        report.constants.push(Constant {
            section: SECTION,
            case: format!("{number}: deduplicated request, body to answer"),
            counts,
        });
    }
    Ok(())
}

/// The pair of [`Shape::usual`], which is elected, and its other replica.
pub(crate) const LOSING: &[(&str, &str)] = &[("production-eu-west-1", "prometheus-1")];

pub(crate) fn body(version: Version, series: usize, pairs: &[(&str, &str)]) -> Bytes {
    body_at(version, series, pairs, Shape::usual(series).timestamp_ms)
}

pub(crate) fn body_at(
    version: Version,
    series: usize,
    pairs: &[(&str, &str)],
    timestamp_ms: i64,
) -> Bytes {
    let shape = Shape {
        pairs,
        timestamp_ms,
        ..Shape::usual(series)
    };
    let mut compressed = Vec::new();
    compress_into(&request(version, shape), &mut compressed);
    Bytes::from(compressed)
}

/// A push path without a network, on which the first replica of [`Shape::usual`] is elected.
pub(crate) struct PushPath {
    pusher: Pusher,
    /// Of the tenant. As in the process, no request makes its own.
    limits: PushLimits,
    runtime: Runtime,
    _tracker: TrackerHandle,
    _failovers: FailoverHandle,
}

struct Tracked(Arc<HaTracker>);

#[async_trait]
impl Elections for Tracked {
    fn entry(&self, tenant: &str, cluster: &str) -> Option<ReplicaDesc> {
        self.0.entry(tenant, cluster)
    }

    async fn elect(&self, _: &str, _: &str, _: &str, _: &ReplicaDesc) {}
}

/// In lossless mode, an elected replica is never late.
struct Always {
    hold_bytes: u64,
}

impl Rules for Always {
    fn settings(&self, _tenant: &str, _cluster: &str) -> Option<Settings> {
        Some(Settings {
            late_after_ms: i64::MAX,
            hold_ms: i64::MAX,
            hold_bytes: self.hold_bytes,
            ..Settings::default()
        })
    }
}

struct Nowhere;

#[async_trait]
impl Replayer<HeldBody> for Nowhere {
    async fn replay(&self, _: &str, _: &str, slice: Slice<HeldBody>) -> usize {
        slice.bodies.len()
    }
}

impl PushPath {
    /// Holds full after some requests are usual for measuring times.
    pub(crate) fn start() -> Result<Self> {
        Self::with_hold(4 << 20)
    }

    /// As [`PushPath::start`], but so many bytes may be held.
    pub(crate) fn with_hold(hold_bytes: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let (pusher, tracker, failovers) = runtime.block_on(async {
            let mut registry = Registry::default();
            let (tracker, handle) = HaTracker::start(
                Arc::new(InMemoryStore::default()),
                Arc::new(HaLimits::default()),
                TrackerConfig::default(),
                &mut registry,
            );
            tracker.ready().await;
            let downstreams = Downstreams::default();
            let pusher = Pusher::new(
                &IngestConfig::default(),
                Some(Arc::clone(&tracker)),
                downstreams,
                &mut registry,
            );
            let parts = Parts {
                joins_early: false,
                store: Arc::new(InMemoryStore::default()),
                elections: Arc::new(Tracked(tracker)),
                rules: Arc::new(Always { hold_bytes }),
                replayer: Arc::new(Nowhere),
                config: FailoverConfig {
                    max_hold_bytes: hold_bytes,
                },
                clock: Clock::System,
            };
            let (failovers, failover_handle) = ha_failover::start(parts, &mut registry);
            pusher.set_failovers(failovers);
            (pusher, handle, failover_handle)
        });
        let path = Self {
            pusher,
            limits: PushLimits {
                accept_ha_samples: true,
                ..PushLimits::default()
            },
            runtime,
            _tracker: tracker,
            _failovers: failovers,
        };
        let elected = path.push(Version::V1, &body(Version::V1, 1, Shape::usual(1).pairs))?;
        anyhow::ensure!(elected.status() == 200, "{elected:?}");
        Ok(path)
    }

    pub(crate) fn push(&self, version: Version, body: &Bytes) -> Result<PushAnswer> {
        self.push_in_mode(false, version, body)
    }

    pub(crate) fn push_lossless(&self, version: Version, body: &Bytes) -> Result<PushAnswer> {
        let answer = self.push_in_mode(true, version, body)?;
        anyhow::ensure!(answer.status().is_success(), "{answer:?}");
        Ok(answer)
    }

    fn push_in_mode(
        &self,
        is_lossless: bool,
        version: Version,
        body: &Bytes,
    ) -> Result<PushAnswer> {
        let request = PushRequest {
            tenant: "tenant-1",
            client: None,
            version,
            limits: &self.limits,
            is_lossless,
            body: PushBody::Snappy(body.clone().into()),
            headers: HeaderMap::new(),
            held: self.pusher.hold(),
            in_flight: self.pusher.enter()?,
        };
        Ok(self.runtime.block_on(self.pusher.push(request)))
    }

    fn allocations(&self, version: Version, series: usize) -> Result<u64> {
        let body = body(version, series, LOSING);
        self.push(version, &body)?;
        let mut answer = None;
        let counted = allocation_counter::measure(|| answer = Some(self.push(version, &body)));
        let answer = answer.context("nothing was measured")??;
        let is_deduplicated = matches!(answer.outcome, Outcome::Deduplicated { .. });
        anyhow::ensure!(is_deduplicated, "{answer:?}");
        Ok(counted.count_total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deduplicated_request_allocates_the_same_whatever_its_size() {
        let path = PushPath::start().unwrap();
        for version in [Version::V1, Version::V2] {
            let counts =
                [100, 1_000, 10_000].map(|series| path.allocations(version, series).unwrap());
            assert!(
                counts.windows(2).all(|pair| pair[0] == pair[1]),
                "{version:?}: {counts:?}"
            );
            assert!(counts[0] < 40, "{version:?}: {counts:?}");
        }
    }
}
