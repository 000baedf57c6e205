//! Which replica takes over when several could.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use std::time::Duration;

use ha_tracker::{HaLimits, ReplicaStatus};
use kv_core::Store;
use support::{Fleet, Verdict, limits};

/// The elected replica falls silent while a standby sends each 15 s, and another sender ten times a
/// second, with a new name each time: to the same tracker or to another one.
async fn the_standby_takes_over(standby_at: usize, other_at: usize, standby_first: bool) {
    let fleet = Fleet::start(2, limits()).await;
    let mut sent = 0;
    for tenth in 0..2_000_u32 {
        if tenth < 600 && tenth % 50 == 0 {
            fleet.send(0, "c", "elected").await;
        }
        if tenth % 150 == 0 && (tenth > 0 || standby_first) {
            fleet.send(standby_at, "c", "standby").await;
        }
        if tenth > 0 {
            sent += 1;
            let verdict = fleet.send(other_at, "c", &format!("once-{sent}")).await;
            assert!(matches!(verdict, Verdict::Deduplicated(_)), "{verdict:?}");
        }
        fleet.advance(Duration::from_millis(100)).await;
    }
    let stored = fleet.store.get("t/c").await.unwrap().unwrap();
    assert_eq!(
        (stored.replica.as_str(), stored.elected_changes),
        ("standby", 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_changes_its_name_does_not_starve_a_steady_standby() {
    for (standby_at, other_at) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for standby_first in [true, false] {
            the_standby_takes_over(standby_at, other_at, standby_first).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_were_seen_once_are_elected_if_nobody_else_sends() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    let silent_since = fleet.now_ms();
    for step in 0.. {
        assert!(step < 120, "never replaced");
        fleet.advance(Duration::from_secs(1)).await;
        fleet.send(0, "c", &format!("once-{step}")).await;
        if fleet.store.get("t/c").await.unwrap().unwrap().replica != "r1" {
            break;
        }
    }
    // The failover timeout, an update timeout for others to know of a steady one, a poll and a step.
    let after = fleet.now_ms() - silent_since;
    assert!((45_000..=49_500).contains(&after), "after {after} ms");
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_the_one_whose_samples_may_take_over_does() {
    let limits = HaLimits {
        sample_failover_timeout: Duration::from_secs(40),
        ..limits()
    };
    let fleet = Fleet::start(1, limits).await;
    fleet.send(0, "c", "r1").await;
    let old = Some(fleet.now_ms());
    for _ in 0..60 {
        fleet.advance(Duration::from_secs(1)).await;
        fleet.send_with_sample(0, "c", "lagging", old).await;
        fleet.send(0, "c", "current").await;
    }
    assert_eq!(fleet.send(0, "c", "current").await, Verdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_cluster_tells_when_each_replica_was_seen() {
    let fleet = Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    fleet.send(0, "c", "r1").await;
    let began = fleet.now_ms();
    for _ in 0..50 {
        fleet.advance(Duration::from_secs(1)).await;
        fleet
            .send_with_sample(0, "c", "r2", Some(fleet.now_ms() - 7))
            .await;
    }
    let now_ms = fleet.now_ms();
    let r1 = ReplicaStatus {
        replica: "r1".into(),
        seen_ms: Some(began),
        sample_ms: Some(began),
        is_steady: false,
        cadence_ms: None,
        ahead_ms: Some(0),
        refused_ms: None,
    };
    let r2 = ReplicaStatus {
        replica: "r2".into(),
        seen_ms: Some(now_ms),
        sample_ms: Some(now_ms - 7),
        is_steady: true,
        cadence_ms: Some(1_000),
        ahead_ms: Some(-7),
        refused_ms: None,
    };
    let status = tracker.cluster_status("t", "c", now_ms).unwrap();
    // It failed over: the dead one is told of still.
    assert_eq!((&status.elected, &status.others[..]), (&r2, &[r1][..]));
    assert_eq!(status.election.desc.replica, "r2");
    assert_eq!(tracker.cluster_statuses(now_ms), [status]);
    assert_eq!(tracker.cluster_status("t", "other", now_ms), None);
    // Another tracker knows who is elected, and has not seen it.
    let (other, _handle) = fleet.another_tracker();
    other.ready().await;
    let status = other.cluster_status("t", "c", now_ms).unwrap();
    assert_eq!((status.elected.seen_ms, status.others.len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_elected_is_told_what_the_failover_waits_for() {
    let fleet = Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    let outlook = |replica: &str| {
        let outlook = tracker.failover_outlook("t", "c", replica, fleet.now_ms());
        outlook.map(|outlook| outlook.to_string())
    };
    fleet.send(0, "c", "r1").await;
    let silent_since = fleet.now_ms();
    for second in 0..60 {
        // Between two polls.
        fleet.advance(Duration::from_millis(999)).await;
        let verdict = fleet.send(0, "c", "r2").await;
        let silent_ms = fleet.now_ms() - silent_since;
        let says = outlook("r2");
        if verdict == Verdict::Accepted {
            assert_eq!(says, None);
            assert_eq!(outlook("r1"), None, "r2 is alive");
            return;
        }
        let expected = match silent_ms {
            ..15_000 => None,
            15_000..30_000 => Some(format!(
                "due in {:.1} s",
                (30_000 - silent_ms) as f64 / 1000.0
            )),
            30_000.. => Some("due at the tracker's next poll, within 3.0 s".to_owned()),
        };
        match (&expected, &says) {
            (Some(expected), Some(says)) => assert!(says.contains(expected), "{second}: {says}"),
            (expected, says) => assert_eq!(expected, says, "{second}"),
        }
        let elected = says.is_none_or(|says| says.ends_with("unless \"r1\" is seen again"));
        assert!(elected);
        if second == 29 {
            fleet.send(0, "c", "once").await;
            let says = outlook("once").unwrap();
            assert!(
                says.starts_with("failover to \"r2\", which sends steadily, "),
                "{says}"
            );
        }
    }
    panic!("never replaced");
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_waits_for_the_store_or_for_samples_says_so() {
    let lagging = HaLimits {
        sample_failover_timeout: Duration::from_secs(40),
        ..limits()
    };
    for (limits, expected) in [
        (
            limits(),
            "waits for the tracker's store, which does not answer",
        ),
        (lagging, "waits for samples that are 40.0 s newer"),
    ] {
        let fleet = Fleet::start(1, limits).await;
        fleet.send(0, "c", "r1").await;
        fleet.faults.fail(limits.sample_failover_timeout.is_zero());
        let old = Some(fleet.now_ms());
        for _ in 0..40 {
            fleet.advance(Duration::from_secs(1)).await;
            fleet.send_with_sample(0, "c", "r2", old).await;
        }
        let outlook = fleet.trackers[0].failover_outlook("t", "c", "r2", fleet.now_ms());
        let says = outlook.unwrap().to_string();
        assert!(says.contains(expected), "{says}");
    }
}
