//! Trackers whose store is unavailable, hangs, or is always slow: no healthy replica loses its election by
//! it, and no silent one keeps it.

#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::time::Duration;

use ha_tracker::ReplicaDesc;
use kv_core::faults::Faults;
use kv_core::{CasUpdate, Store};
use support::{Fleet, Verdict, limits};

#[tokio::test(start_paused = true)]
async fn a_store_that_was_down_longer_than_the_failover_timeout_changes_nothing() {
    let fleet = Fleet::start(2, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.faults.fail(true);
    for _ in 0..120 {
        fleet.advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
        assert_eq!(
            fleet.send(0, "c", "r2").await,
            Verdict::Deduplicated("r1".into())
        );
    }
    fleet.faults.fail(false);
    for _ in 0..60 {
        fleet.advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
    }
    let stored = fleet.store.get("t/c").await.unwrap().unwrap();
    assert!(
        fleet.now_ms() - stored.received_at < 20_000,
        "refreshed again"
    );
    assert_eq!(stored.elected_changes, 0);
}

/// Each tracker sees one replica only, while the store is unavailable for `outage_s`, in the way of
/// `away`.
async fn only_the_elected_replica_is_ever_accepted(
    outage_s: u32,
    [first, other]: [usize; 2],
    away: impl Fn(&Faults, bool),
) {
    let fleet = Fleet::start(2, limits()).await;
    assert_eq!(fleet.send(first, "c", "r1").await, Verdict::Accepted);
    let second = |what: &'static str| {
        let fleet = &fleet;
        async move {
            fleet.advance(Duration::from_secs(1)).await;
            let verdict = fleet.send(first, "c", "r1").await;
            assert_eq!(verdict, Verdict::Accepted, "{what} {outage_s} s");
            let verdict = fleet.send(other, "c", "r2").await;
            let deduplicated = Verdict::Deduplicated("r1".into());
            assert_eq!(verdict, deduplicated, "{what} {outage_s} s");
        }
    };
    for _ in 0..20 {
        second("before").await;
    }
    away(&fleet.faults, true);
    for _ in 0..outage_s {
        second("during").await;
    }
    away(&fleet.faults, false);
    for _ in 0..60 {
        second("after").await;
    }
    let stored = fleet.store.get("t/c").await.unwrap().unwrap();
    assert_eq!(stored.elected_changes, 0, "after {outage_s} s");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_makes_no_tracker_elect_the_only_replica_that_it_sees() {
    for outage_s in 1..70 {
        // In either order of the trackers, which decides who is first when the store is back.
        for trackers in [[0, 1], [1, 0]] {
            only_the_elected_replica_is_ever_accepted(outage_s, trackers, Faults::fail).await;
            only_the_elected_replica_is_ever_accepted(outage_s, trackers, Faults::hang).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trackers_that_start_with_old_entries_leave_alive_replicas_elected() {
    let fleet = Fleet::start(0, limits()).await;
    let desc = ReplicaDesc {
        replica: "r1".into(),
        received_at: fleet.now_ms(),
        ..ReplicaDesc::default()
    };
    let put = &mut |_: Option<&ReplicaDesc>| CasUpdate::Put(desc.clone());
    fleet.store.cas("t/c", put).await.unwrap();
    fleet.advance(Duration::from_secs(3600)).await;
    let (a, _a) = fleet.another_tracker();
    let (b, _b) = fleet.another_tracker();
    a.ready().await;
    b.ready().await;
    for _ in 0..100 {
        fleet.advance(Duration::from_secs(1)).await;
        let other = fleet.check_with(&b, "t", "c", "r2", None).await.unwrap();
        assert_eq!(other, Verdict::Deduplicated("r1".into()));
        // It comes every ten seconds.
        if fleet.now_ms() % 10_000 < 1000 {
            let elected = fleet.check_with(&a, "t", "c", "r1", None).await.unwrap();
            assert_eq!(elected, Verdict::Accepted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_always_slow_or_often_down_puts_a_failover_off_but_once() {
    for flapping in [false, true] {
        let fleet = Fleet::start(1, limits()).await;
        fleet.send(0, "c", "r1").await;
        fleet.faults.delay(Duration::from_millis(1200));
        let silent_since = fleet.now_ms();
        for second in 0.. {
            fleet.advance(Duration::from_secs(1)).await;
            fleet.faults.fail(flapping && second % 10 == 0);
            if fleet.send(0, "c", "r2").await == Verdict::Accepted {
                break;
            }
            assert!(second < 120, "never replaced; flapping: {flapping}");
        }
        let after = fleet.now_ms() - silent_since;
        assert!(after < 60_000, "after {after} ms; flapping: {flapping}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_falls_silent_while_the_store_is_down_is_replaced_soon_after() {
    let fleet = Fleet::start(2, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.faults.fail(true);
    for _ in 0..60 {
        fleet.advance(Duration::from_secs(1)).await;
        fleet.send(1, "c", "r2").await;
    }
    fleet.faults.fail(false);
    let back = fleet.now_ms();
    while fleet.send(1, "c", "r2").await != Verdict::Accepted {
        fleet.advance(Duration::from_millis(500)).await;
        assert!(fleet.now_ms() - back < 60_000, "never replaced");
    }
    // The others' update timeout, a second, and two polls.
    let after = fleet.now_ms() - back;
    assert!((16_000..=23_000).contains(&after), "after {after} ms");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_shown_from_beginning_to_end() {
    let fleet = Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    fleet.send(0, "c", "r1").await;
    fleet.advance(Duration::from_secs(5)).await;
    assert_eq!(tracker.store_outage(), None);
    fleet.faults.fail(true);
    let began = fleet.now_ms();
    fleet.advance(Duration::from_secs(60)).await;
    let outage = tracker.store_outage().unwrap();
    assert!(
        (began..began + 6_000).contains(&outage.since_ms),
        "{outage:?}"
    );
    assert!(
        outage.what.contains("switched off by the test"),
        "{outage:?}"
    );
    fleet.faults.fail(false);
    fleet.advance(Duration::from_secs(5)).await;
    let still = tracker.store_outage().unwrap();
    assert_eq!(
        still.since_ms, outage.since_ms,
        "not over at the first answer"
    );
    fleet.advance(Duration::from_secs(15)).await;
    assert_eq!(tracker.store_outage(), None);
    // A store that hangs, and one that is slow.
    fleet.faults.hang(true);
    fleet.advance(Duration::from_secs(60)).await;
    let outage = tracker.store_outage().unwrap();
    assert!(outage.what.contains("does not answer"), "{outage:?}");
    fleet.faults.hang(false);
    fleet.advance(Duration::from_secs(40)).await;
    assert_eq!(tracker.store_outage(), None);
    fleet.faults.delay(Duration::from_millis(1500));
    fleet.advance(Duration::from_secs(10)).await;
    let outage = tracker.store_outage().unwrap();
    assert!(outage.what.contains("1.5 s"), "{outage:?}");
}
