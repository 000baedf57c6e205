//! Trackers over a shared store, with paused time.

#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::time::Duration;

use ha_tracker::{HaLimits, Lookup, ReplicaDesc, TrackerError};
use kv_core::{CasUpdate, Store};
use support::{EPOCH_MS, Fleet, Verdict, limits};

#[tokio::test(start_paused = true)]
async fn the_first_replica_is_elected_and_the_other_deduplicated() {
    let fleet = Fleet::start(1, limits()).await;
    assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
    assert_eq!(
        fleet.send(0, "c", "r2").await,
        Verdict::Deduplicated("r1".into())
    );
    assert_eq!(
        fleet.trackers[0].peek("t", "c", "r1", EPOCH_MS),
        Lookup::Elected
    );
    assert_eq!(
        fleet.trackers[0].peek("t", "c", "r2", EPOCH_MS),
        Lookup::NotElected
    );
    assert_eq!(
        fleet.trackers[0].peek("t2", "c", "r1", EPOCH_MS),
        Lookup::Unknown
    );
    let stored = fleet.store.get("t/c").await.unwrap();
    let expected = ReplicaDesc {
        replica: "r1".into(),
        received_at: EPOCH_MS,
        deleted_at: 0,
        elected_at: EPOCH_MS,
        elected_changes: 0,
    };
    assert_eq!(stored, Some(expected));
}

#[tokio::test(start_paused = true)]
async fn a_known_cluster_is_answered_without_the_store() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.faults.fail(true);
    for _ in 0..100 {
        assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
        assert_eq!(
            fleet.send(0, "c", "r2").await,
            Verdict::Deduplicated("r1".into())
        );
    }
    assert_eq!(fleet.faults.cas_calls(), 1);
    let error = fleet.try_send(0, "other", "r1").await.unwrap_err();
    assert!(matches!(error, TrackerError::Store(_)), "{error}");
    assert!(error.to_string().contains("t/other"), "{error}");
    fleet.faults.fail(false);
    assert_eq!(fleet.send(0, "other", "r1").await, Verdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn fails_over_when_the_elected_replica_goes_silent_and_not_before() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    let silent_since = fleet.now_ms();
    let taken_over = loop {
        fleet.advance(Duration::from_millis(500)).await;
        if fleet.send(0, "c", "r2").await == Verdict::Accepted {
            break fleet.now_ms() - silent_since;
        }
    };
    // The failover timeout, and at most one poll and one step of this loop later.
    assert!(
        (30_000..=33_500).contains(&taken_over),
        "after {taken_over} ms"
    );
    let stored = fleet.store.get("t/c").await.unwrap().unwrap();
    assert_eq!((stored.replica.as_str(), stored.elected_changes), ("r2", 1));
    // The first comes back: nothing flaps.
    for _ in 0..200 {
        fleet.advance(Duration::from_secs(1)).await;
        assert_eq!(
            fleet.send(0, "c", "r1").await,
            Verdict::Deduplicated("r2".into())
        );
        assert_eq!(fleet.send(0, "c", "r2").await, Verdict::Accepted);
    }
    assert_eq!(
        fleet
            .store
            .get("t/c")
            .await
            .unwrap()
            .unwrap()
            .elected_changes,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_alive_elected_replica_is_refreshed_at_the_update_timeout() {
    let fleet = Fleet::start(1, limits()).await;
    for _ in 0..120 {
        fleet.send(0, "c", "r1").await;
        fleet.advance(Duration::from_secs(1)).await;
    }
    let stored = fleet.store.get("t/c").await.unwrap().unwrap();
    let age = fleet.now_ms() - stored.received_at;
    assert!(age < 15_000 + 3_500, "recorded {age} ms ago");
    assert_eq!(stored.elected_at, EPOCH_MS);
    // 120 s at one write per 15 s, each up to a poll (3 s) late.
    let writes = fleet.faults.cas_calls();
    assert!((7..=9).contains(&writes), "{writes} writes");
}

#[tokio::test(start_paused = true)]
async fn replicas_that_reach_different_trackers_still_have_one_elected() {
    let fleet = Fleet::start(3, limits()).await;
    assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
    // Its samples reach the first tracker only, the other replica's the second only.
    for _ in 0..300 {
        fleet.advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
        assert_eq!(
            fleet.send(1, "c", "r2").await,
            Verdict::Deduplicated("r1".into())
        );
    }
    // It goes silent: whichever tracker acts, all agree.
    for _ in 0..40 {
        fleet.advance(Duration::from_secs(1)).await;
        fleet.send(1, "c", "r2").await;
    }
    for tracker in 0..3 {
        assert_eq!(fleet.send(tracker, "c", "r2").await, Verdict::Accepted);
        let back = fleet.send(tracker, "c", "r1").await;
        assert_eq!(back, Verdict::Deduplicated("r2".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_elected_while_all_replicas_are_silent() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.send(0, "c", "r2").await;
    fleet.advance(Duration::from_secs(600)).await;
    assert_eq!(fleet.store.get("t/c").await.unwrap().unwrap().replica, "r1");
    assert_eq!(fleet.faults.cas_calls(), 1, "there was nothing to write");
}

#[tokio::test(start_paused = true)]
async fn a_sample_failover_timeout_holds_back_a_replica_that_lags() {
    let lagging = HaLimits {
        sample_failover_timeout: Duration::from_secs(40),
        ..limits()
    };
    let fleet = Fleet::start(1, lagging).await;
    fleet.send(0, "c", "r1").await;
    for _ in 0..120 {
        fleet.advance(Duration::from_secs(1)).await;
        let old_sample = Some(EPOCH_MS + 39_000);
        let verdict = fleet.send_with_sample(0, "c", "r2", old_sample).await;
        assert_eq!(verdict, Verdict::Deduplicated("r1".into()));
    }
    fleet
        .send_with_sample(0, "c", "r2", Some(EPOCH_MS + 40_000))
        .await;
    fleet.advance(Duration::from_secs(4)).await;
    assert_eq!(fleet.send(0, "c", "r2").await, Verdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_no_more_clusters_than_it_may() {
    let fleet = Fleet::start(
        2,
        HaLimits {
            max_clusters: 3,
            ..limits()
        },
    )
    .await;
    let mut accepted = 0;
    let checks = (0..20).map(|cluster| {
        let fleet = &fleet;
        async move { fleet.send(0, &format!("c{cluster}"), "r1").await }
    });
    for verdict in futures::future::join_all(checks).await {
        match verdict {
            Verdict::Accepted => accepted += 1,
            Verdict::TooManyClusters(limit) => assert_eq!(limit, 3),
            Verdict::Deduplicated(elected) => panic!("deduplicated for {elected}"),
        }
    }
    assert_eq!(accepted, 3);
    fleet.advance(Duration::from_millis(1)).await;
    // The other tracker knows them by the store, and another tenant has its own count.
    assert_eq!(
        fleet.send(1, "c99", "r1").await,
        Verdict::TooManyClusters(3)
    );
    assert_eq!(
        fleet.send_for(1, "t2", "c99", "r1").await,
        Verdict::Accepted
    );
}

#[tokio::test(start_paused = true)]
async fn concurrent_checks_of_a_new_cluster_share_one_call() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.faults.delay(Duration::from_secs(1));
    let checks = (0..50).map(|i| {
        let fleet = &fleet;
        async move {
            fleet
                .send(0, "c", if i % 2 == 0 { "r1" } else { "r2" })
                .await
        }
    });
    let verdicts = futures::future::join_all(checks).await;
    assert_eq!(fleet.faults.cas_calls(), 1);
    assert_eq!(
        verdicts
            .iter()
            .filter(|verdict| **verdict == Verdict::Accepted)
            .count(),
        25
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_given_up_does_not_stop_the_election() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.faults.delay(Duration::from_secs(1));
    let given_up = tokio::time::timeout(Duration::from_millis(10), fleet.send(0, "c", "r1")).await;
    assert!(given_up.is_err());
    fleet.advance(Duration::from_secs(2)).await;
    assert_eq!(
        fleet.trackers[0].peek("t", "c", "r1", EPOCH_MS),
        Lookup::Elected
    );
}

#[tokio::test(start_paused = true)]
async fn starts_with_what_is_stored_and_is_not_ready_before() {
    let fleet = Fleet::start(1, limits()).await;
    for cluster in 0..100 {
        fleet.send(0, &format!("c/{cluster}"), "r2").await;
    }
    let (late, _handle) = fleet.another_tracker();
    assert!(!late.is_ready());
    late.ready().await;
    assert_eq!(late.cluster_count(), 100);
    assert_eq!(late.peek("t", "c/42", "r2", EPOCH_MS), Lookup::Elected);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_entry_is_forgotten_and_elected_anew() {
    let fleet = Fleet::start(2, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.advance(Duration::from_millis(1)).await;
    assert_eq!(
        fleet.trackers[1].peek("t", "c", "r1", EPOCH_MS),
        Lookup::Elected
    );
    fleet.store.delete("t/c").await.unwrap();
    fleet.advance(Duration::from_millis(1)).await;
    for tracker in &fleet.trackers {
        assert_eq!(tracker.peek("t", "c", "r1", EPOCH_MS), Lookup::Unknown);
    }
    assert_eq!(fleet.send(1, "c", "r2").await, Verdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn clusters_that_nobody_sends_for_are_marked_then_deleted() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "gone", "r1").await;
    // Clean-ups are 24 to 36 minutes apart: the first that finds it older than 30 minutes comes
    // within 66, and so does the one that deletes it, counted from then.
    let mut minute = 0;
    let mut marked = None;
    while let Some(entry) = fleet.store.get("t/gone").await.unwrap() {
        if entry.is_deleted() {
            marked.get_or_insert(minute);
            assert_eq!(
                fleet.trackers[0].peek("t", "gone", "r1", EPOCH_MS),
                Lookup::Unknown
            );
        }
        fleet
            .advance_sending(Duration::from_secs(60), "alive", "r1")
            .await;
        minute += 1;
    }
    let marked = marked.expect("marked before it was deleted");
    assert!((30..=67).contains(&marked), "marked after {marked} minutes");
    let deleted = minute - marked;
    assert!(
        (30..=67).contains(&deleted),
        "deleted {deleted} minutes later"
    );
    assert_eq!(fleet.store.list("").await.unwrap(), ["t/alive"]);
    let metrics = fleet.metrics(0);
    assert!(metrics.contains("cortex_ha_tracker_replicas_cleanup_marked_for_deletion_total 1\n"));
    assert!(metrics.contains("cortex_ha_tracker_replicas_cleanup_deleted_total 1\n"));
    assert!(!metrics.contains("cluster=\"gone\""), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn timeouts_can_differ_between_tenants() {
    let fleet = Fleet::start(1, limits()).await;
    for tenant in ["t", "quick"] {
        fleet.send_for(0, tenant, "c", "r1").await;
    }
    for _ in 0..10 {
        fleet.advance(Duration::from_secs(1)).await;
        for tenant in ["t", "quick"] {
            fleet.send_for(0, tenant, "c", "r2").await;
        }
    }
    // The tenant `quick` fails over after 5 s.
    assert_eq!(
        fleet.send_for(0, "quick", "c", "r2").await,
        Verdict::Accepted
    );
    assert_eq!(
        fleet.send_for(0, "t", "c", "r2").await,
        Verdict::Deduplicated("r1".into())
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_have_mimirs_names_and_follow_the_entries() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.trackers[0].count_deduplicated("t", "c", 17);
    let of_cluster = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains("cluster="))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        of_cluster(&fleet.metrics(0)),
        [
            r#"cortex_ha_tracker_elected_replica_changes_total{user="t",cluster="c"} 1"#,
            r#"cortex_ha_tracker_elected_replica_timestamp_seconds{user="t",cluster="c"} 1700000000"#,
            r#"cortex_ha_tracker_last_election_timestamp_seconds{user="t",cluster="c"} 1700000000"#,
            r#"cortex_ha_tracker_reelections_total{user="t",cluster="c"} 0"#,
            r#"cortex_ha_tracker_kv_store_cas_total{user="t",cluster="c"} 1"#,
            r#"cortex_distributor_deduped_samples_total{user="t",cluster="c"} 17"#,
            r#"cortex_ha_tracker_replicas_seen{user="t",cluster="c"} 1"#,
            r#"cortex_ha_tracker_elected_replica_status{user="t",cluster="c",replica="r1"} 1"#,
            r#"cortex_ha_tracker_replica_last_seen_timestamp_seconds{user="t",cluster="c",replica="r1"} 1700000000.0"#,
            r#"cortex_ha_tracker_replica_newest_sample_timestamp_seconds{user="t",cluster="c",replica="r1"} 1700000000.0"#,
            r#"cortex_ha_tracker_replica_clock_ahead_seconds{user="t",cluster="c",replica="r1"} 0.0"#,
        ]
    );
    for name in [
        "replicas_cleanup_started_total 0",
        "replicas_cleanup_marked_for_deletion_total 0",
        "replicas_cleanup_deleted_total 0",
        "replicas_cleanup_delete_failed_total 0",
        "replica_desc_failed_type_assertions_total 0",
        "elected_replica_change_propagation_time_seconds_count 1",
    ] {
        assert!(
            fleet
                .metrics(0)
                .contains(&format!("cortex_ha_tracker_{name}\n")),
            "{name}"
        );
    }
    fleet.store.delete("t/c").await.unwrap();
    fleet.advance(Duration::from_millis(1)).await;
    assert_eq!(of_cluster(&fleet.metrics(0)), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_entry_of_another_writer_is_honoured_even_with_odd_keys() {
    let fleet = Fleet::start(1, limits()).await;
    let entry = ReplicaDesc {
        replica: "r9".into(),
        received_at: EPOCH_MS,
        elected_at: EPOCH_MS,
        ..Default::default()
    };
    for key in ["t/a/b", "t/..", "no-slash"] {
        fleet
            .store
            .cas(key, &mut |_| CasUpdate::Put(entry.clone()))
            .await
            .unwrap();
    }
    fleet.advance(Duration::from_millis(1)).await;
    assert_eq!(
        fleet.send(0, "a/b", "r1").await,
        Verdict::Deduplicated("r9".into())
    );
    assert_eq!(fleet.send(0, "..", "r9").await, Verdict::Accepted);
    let state = fleet.trackers[0].election_state();
    let names: Vec<_> = state
        .elections
        .iter()
        .map(|election| election.cluster.as_str())
        .collect();
    assert_eq!(names, ["..", "a/b"]);
    let status = fleet.trackers[0].cluster_status("t", "..", fleet.now_ms());
    // It has just been seen here.
    assert_eq!(status.unwrap().failover_in_ms, 30_000);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_tasks() {
    let fleet = Fleet::start(1, limits()).await;
    let (tracker, handle) = fleet.another_tracker();
    tracker.ready().await;
    tokio::time::timeout(Duration::from_secs(1), handle.shutdown())
        .await
        .expect("shut down");
    let outcome = fleet.check_with(&tracker, "t", "unknown", "r1", None).await;
    assert!(
        matches!(outcome, Err(TrackerError::ShuttingDown)),
        "{outcome:?}"
    );
}
