//! Elections for a reason, at the downstream: senders that send rarely, senders that wait because they
//! were refused, and elections that are handed over by hand.
//!
//! Times are those of the defaults, scaled down: a failover timeout of 30 s is 2 s here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod backing_off;
mod by_hand;
mod rarely;
mod vmagent;

use std::collections::BTreeMap;

use common::ha_config;
use e2e::{Distributor, Elected, HaTracker, ReceivedRequest, Sink};
use serde_json::{Value, json};

/// `ha_tracker_failover_timeout`, ms: 30 s by default.
const FAILOVER_MS: i64 = 2_000;

/// A distributor with the defaults, scaled down, and `more`.
fn scaled(sink: &Sink, more: &Value) -> String {
    let mut scaled = json!({
        "limits": {
            "ha_tracker_update_timeout": "500ms",
            "ha_tracker_update_timeout_jitter_max": "0s",
            "ha_tracker_failover_timeout": format!("{FAILOVER_MS}ms"),
            "ha_tracker_sender_backoff": "6s",
        },
    });
    e2e::merge(&mut scaled, more);
    ha_config(sink, &scaled)
}

/// What lossless mode needs besides: samples come every 330 ms and more here.
fn in_lossless_mode() -> Value {
    json!({
        "limits": {
            "ha_failover_mode": "lossless",
            "ha_failover_guard": "50ms",
            "ha_failover_slice": "300ms",
        },
        "distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}},
    })
}

/// The clusters of a distributor.
async fn clusters(distributor: &Distributor) -> BTreeMap<String, Elected> {
    let page: HaTracker = distributor.page("/distributor/ha_tracker").await.unwrap();
    let elected = page.elected.into_iter();
    elected
        .map(|elected| (elected.cluster.clone(), elected))
        .collect()
}

/// The times of the samples of a metric that arrived, by cluster, in order; a sample that arrived twice
/// is there twice.
fn arrived(sink: &Sink, metric: &str) -> BTreeMap<String, Vec<i64>> {
    times_of(&sink.requests(), metric)
}

fn times_of(requests: &[ReceivedRequest], metric: &str) -> BTreeMap<String, Vec<i64>> {
    let mut times = BTreeMap::<String, Vec<i64>>::new();
    for series in requests.iter().flat_map(|request| &request.series) {
        let label = |name| series.labels.get(name).cloned().unwrap_or_default();
        if label("__name__") == metric {
            let samples = series.samples.iter().map(|sample| sample.timestamp);
            times.entry(label("cluster")).or_default().extend(samples);
        }
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    times
}

/// The longest time between two of them, ms.
fn longest_gap(times: &[i64]) -> i64 {
    let gaps = times.windows(2).map(|two| two[1] - two[0]);
    gaps.max().unwrap_or(0)
}
