//! What is known of the senders: how often they send, their clocks, refusals, redundancy.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use std::time::Duration;

use ha_tracker::{Delivery, RedundancyLost};
use support::{EPOCH_MS, Fleet, Verdict, limits};

const MINUTE: Duration = Duration::from_secs(60);

fn gauge(metrics: &str, series: &str) -> f64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series));
    value
        .unwrap_or_else(|| panic!("no {series} in {metrics}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_replica_has_its_cadence_its_newest_sample_its_clock_and_its_last_refusal() {
    let fleet = Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    for step in 0..80 {
        fleet
            .send_with_sample(0, "c", "r1", Some(fleet.now_ms() - 300))
            .await;
        if step % 4 == 1 {
            let verdict = fleet
                .send_with_sample(0, "c", "r2", Some(fleet.now_ms() + 2_500))
                .await;
            assert_eq!(verdict, Verdict::Deduplicated("r1".into()));
        }
        fleet.advance(Duration::from_secs(15)).await;
    }
    let refused_ms = fleet.now_ms();
    tracker.end_delivery("t", "c", "r1", Delivery::Refused, refused_ms, refused_ms);
    tracker.end_delivery(
        "t",
        "c",
        "r2",
        Delivery::Refused,
        refused_ms,
        refused_ms + 1,
    );
    let status = tracker.cluster_status("t", "c", fleet.now_ms()).unwrap();
    let (r1, r2) = (&status.elected, &status.others[0]);
    assert_eq!((r1.cadence_ms, r2.cadence_ms), (Some(15_000), Some(60_000)));
    assert_eq!((r1.ahead_ms, r2.ahead_ms), (Some(-300), Some(2_500)));
    assert!(!r1.is_clock_ahead() && r2.is_clock_ahead());
    assert_eq!(r1.refused_ms, Some(refused_ms));
    assert_eq!(r2.refused_ms, Some(refused_ms + 1));
    // Two and a half cadences of 15 s, and the back-off.
    assert_eq!(status.allowed_silence_ms, 37_500 + 90_000);
    let metrics = fleet.metrics(0);
    let of = |name: &str, replica: &str| {
        let labels = format!("{{user=\"t\",cluster=\"c\",replica=\"{replica}\"}}");
        gauge(
            &metrics,
            &format!("cortex_ha_tracker_replica_{name}{labels}"),
        )
    };
    assert!((of("send_interval_seconds", "r2") - 60.0).abs() < 1e-6);
    assert!((of("clock_ahead_seconds", "r2") - 2.5).abs() < 1e-6);
    assert!((of("clock_ahead_seconds", "r1") + 0.3).abs() < 1e-6);
    let refused = refused_ms as f64 / 1000.0;
    assert!((of("last_refused_timestamp_seconds", "r1") - refused).abs() < 1e-3);
    let ahead = tracker.senders_ahead().unwrap();
    assert_eq!((ahead.replicas, ahead.ahead_ms), (1, 2_500));
    assert_eq!(ahead.furthest, ["t", "c", "r2"]);
    // Its clock is set.
    fleet.send(0, "c", "r2").await;
    fleet.advance(Duration::from_secs(11)).await;
    assert_eq!(tracker.senders_ahead(), None);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_which_one_replica_was_seen_for_a_quarter_of_an_hour_has_lost_its_redundancy()
{
    let fleet = Fleet::start(2, limits()).await;
    let minutes = async |minutes: i64, replicas: &[(usize, &str)]| {
        for _ in 0..minutes * 4 {
            for (tracker, replica) in replicas {
                fleet.send(*tracker, "c", replica).await;
            }
            fleet.advance(MINUTE / 4).await;
        }
    };
    let lost = |tracker: usize| fleet.trackers[tracker].redundancy_lost();
    let count = |tracker: usize| {
        let series = "cortex_ha_tracker_clusters_without_redundancy{user=\"t\"} ";
        gauge(&fleet.metrics(tracker), series)
    };
    // Nothing is known in the first minutes.
    minutes(14, &[(0, "r1")]).await;
    assert_eq!((lost(0), count(0)), (None, 0.0));
    minutes(2, &[(0, "r1")]).await;
    let expected = RedundancyLost {
        clusters: 1,
        example: ["t", "c", "r1"].map(str::to_owned),
    };
    assert_eq!((lost(0), count(0)), (Some(expected.clone()), 1.0));
    // The other tracker sees no replica, and says nothing.
    assert_eq!((lost(1), count(1)), (None, 0.0));
    let status = fleet.trackers[0]
        .cluster_status("t", "c", fleet.now_ms())
        .unwrap();
    assert!(status.has_lost_redundancy);
    assert_eq!(status.replicas_seen, 1);
    minutes(1, &[(0, "r1"), (0, "r2")]).await;
    assert_eq!((lost(0), count(0)), (None, 0.0));
    minutes(14, &[(0, "r1")]).await;
    assert_eq!(lost(0), None);
    minutes(2, &[(0, "r1")]).await;
    assert_eq!(lost(0), Some(expected));
    // A tracker that sees only the other replica knows of two.
    minutes(20, &[(0, "r1"), (1, "r2")]).await;
    let seen = |tracker: usize| {
        let series = "cortex_ha_tracker_replicas_seen{user=\"t\",cluster=\"c\"} ";
        gauge(&fleet.metrics(tracker), series)
    };
    assert_eq!((seen(0), seen(1), lost(1)), (1.0, 2.0, None));
}

#[tokio::test(start_paused = true)]
async fn the_time_at_which_a_replica_was_seen_is_not_the_one_that_is_written_for_it() {
    let fleet = Fleet::start(1, limits()).await;
    for _ in 0..5 {
        fleet.send(0, "c", "r1").await;
        fleet.advance(MINUTE).await;
    }
    let status = fleet.trackers[0]
        .cluster_status("t", "c", fleet.now_ms())
        .unwrap();
    assert_eq!(status.last_seen_ms, EPOCH_MS + 4 * 60_000);
    // Others see an entry that is young, because the replica is not overdue.
    let age_ms = fleet.now_ms() - status.election.desc.received_at;
    assert!(age_ms < 27_000, "{age_ms}");
    assert_eq!(status.allowed_silence_ms, 150_000);
    assert_eq!(status.failover_in_ms, 90_000);
}
