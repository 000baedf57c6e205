//! A replica whose timestamps are a year ahead.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::{LONG, Sink, now_ms, wait_for};
use serde_json::json;

use crate::alone;
use crate::common::lossless::{GUARD, TENANT};
use crate::queue::{Habits, METRIC, QueueingSender, assert_nothing_lost, stored_times};

const YEAR_MS: i64 = 365 * 24 * 3_600_000;
/// As far as a sample can be ahead of its receipt and still move a boundary.
const AHEAD_MS: i64 = 5_000;
const INTERVAL: Duration = Duration::from_millis(330);

fn ahead(cluster: &str, replica: &'static str, ahead_ms: i64) -> Habits {
    Habits {
        ahead_ms,
        interval: INTERVAL,
        ..Habits::new(cluster, replica)
    }
}

async fn stores(replica: &QueueingSender, scrapes: usize) {
    wait_for("its scrapes to be stored", LONG, || async {
        let fates = replica.fates();
        let stored = fates.stored.len();
        (stored >= scrapes)
            .then_some(())
            .ok_or(format!("{fates:?}"))
    })
    .await;
}

/// Elected, it does not move the boundary to next year: its successor is stored from seconds after its
/// death on. As a standby it is not held. Both are counted, and another cluster of the tenant fails
/// over without a loss meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_a_year_ahead_poisons_no_boundary() {
    let sink = Sink::start().await;
    let distributor = alone("future", &sink, &json!({})).await;
    let start = |habits| QueueingSender::start(habits, vec![distributor.sender(TENANT)]);
    let wrong = start(ahead("wrong", "a", YEAR_MS));
    let elected = start(ahead("standby-wrong", "a", 0));
    let sound = start(ahead("sound", "a", 0));
    for replica in [&wrong, &elected, &sound] {
        stores(replica, 5).await;
    }
    let successor = start(ahead("wrong", "b", 0));
    let standby = start(ahead("standby-wrong", "b", YEAR_MS));
    let sound_b = start(ahead("sound", "b", 0));
    wait_for("the standbys to be known", LONG, || async {
        let known = [&successor, &standby, &sound_b].map(|b| b.fates().deduplicated.len());
        known
            .iter()
            .all(|known| *known >= 5)
            .then_some(())
            .ok_or(format!("{known:?}"))
    })
    .await;
    let metrics = distributor.metrics().await.unwrap();
    for replica in ["elected", "standby"] {
        let labels = [("reason", replica)];
        assert!(metrics.sum("ha_failover_ahead_requests_total", &labels) >= 5.0);
    }

    let died_ms = now_ms();
    drop(wrong);
    let sound_a = sound.fates();
    drop(sound);
    stores(&sound_b, 10).await;
    stores(&successor, 10).await;
    let (successor, sound_b) = (successor.finish().await, sound_b.finish().await);
    let (elected, standby) = (elected.finish().await, standby.finish().await);

    // Of the cluster whose elected replica was wrong, samples of its successor are stored from the
    // bound on.
    let mut arrived = BTreeSet::new();
    for series in sink.series() {
        if series.labels["cluster"] == "wrong" && series.labels["__name__"] == METRIC {
            arrived.extend(series.samples.iter().map(|sample| sample.timestamp));
        }
    }
    // What was in flight was received a moment later.
    let bound_ms = died_ms + AHEAD_MS + GUARD.as_millis() as i64 + 500;
    let later = successor.scraped.iter().filter(|time| **time > bound_ms);
    let missing: Vec<_> = later.filter(|time| !arrived.contains(time)).collect();
    assert!(missing.is_empty(), "{missing:?} after {died_ms}");
    // Nothing of the standby that was wrong, and all of the elected one.
    assert!(standby.stored.is_empty());
    assert_eq!(stored_times(&sink, "standby-wrong", 5), elected.scraped);
    // The sound cluster lost a scrape at most.
    let times = stored_times(&sink, "sound", 5);
    assert_nothing_lost(&times, [&sound_a.scraped, &sound_b.scraped], GUARD);
}
