//! When a replica is overdue, and what happens then: senders that send rarely, that wait because they
//! were refused, and replicas that are elected by the request that arrives.

#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::time::Duration;

use futures::future::join_all;
use ha_tracker::{Delivery, HaLimits, Lookup};
use kv_core::Store;
use support::{Fleet, Verdict, limits};

/// One thing that happens: after so many milliseconds, this replica sends to this tracker.
type Request = (i64, &'static str, usize);

/// The requests of two replicas, in order.
fn requests(of: [(&'static str, usize, i64, i64); 2], until_ms: i64) -> Vec<Request> {
    let mut all: Vec<Request> = Vec::new();
    for (replica, tracker, first_ms, every_ms) in of {
        let mut at_ms = first_ms;
        while at_ms < until_ms {
            all.push((at_ms, replica, tracker));
            at_ms += every_ms;
        }
    }
    all.sort_by_key(|request| request.0);
    all
}

/// Sends them; returns which were accepted.
async fn play(fleet: &Fleet, requests: &[Request]) -> Vec<Request> {
    let began = fleet.now_ms();
    let mut accepted = Vec::new();
    for request in requests {
        let (at_ms, replica, tracker) = *request;
        let wait_ms = (began + at_ms - fleet.now_ms()).max(0);
        fleet.advance(Duration::from_millis(wait_ms as u64)).await;
        if fleet.send(tracker, "c", replica).await == Verdict::Accepted {
            accepted.push(*request);
        }
    }
    accepted
}

async fn changes(fleet: &Fleet) -> i64 {
    let stored = fleet.store.get("t/c").await.unwrap();
    stored.unwrap().elected_changes
}

async fn elected(fleet: &Fleet) -> String {
    fleet.store.get("t/c").await.unwrap().unwrap().replica
}

#[tokio::test(start_paused = true)]
async fn of_two_that_send_once_a_minute_every_request_of_one_is_accepted_in_any_phase() {
    for phase_s in 0..60 {
        for other_at in [0, 1] {
            let fleet = Fleet::start(2, limits()).await;
            let all = requests(
                [
                    ("r1", 0, 0, 60_000),
                    ("r2", other_at, 1_000 * phase_s + 1, 60_000),
                ],
                20 * 60_000,
            );
            let accepted = play(&fleet, &all).await;
            // Never longer than a minute without an accepted one.
            let mut last_ms = 0;
            for (at_ms, ..) in &accepted {
                assert!(at_ms - last_ms <= 60_000, "{phase_s}: {accepted:?}");
                last_ms = *at_ms;
            }
            assert!(20 * 60_000 - last_ms <= 60_000, "{phase_s}");
            // The cadences are not known at first; then nothing changes any more.
            let changes = changes(&fleet).await;
            assert!(changes <= 2, "{phase_s}: {changes} elections");
            let late = accepted.iter().filter(|(at_ms, ..)| *at_ms > 5 * 60_000);
            let mut replicas: Vec<_> = late.map(|(_, replica, _)| *replica).collect();
            replicas.dedup();
            assert_eq!(replicas.len(), 1, "{phase_s}: {accepted:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_sends_each_five_minutes_is_stored() {
    let fleet = Fleet::start(1, limits()).await;
    let all = requests(
        [("r1", 0, 0, 300_000), ("r2", 0, 100_000, 300_000)],
        6_000_000,
    );
    let accepted = play(&fleet, &all).await;
    assert!(accepted.len() >= 19, "{accepted:?}");
    assert!(changes(&fleet).await <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_cadence_does_not_delay_the_failover_of_a_sender_that_sends_often() {
    let fleet = Fleet::start(1, limits()).await;
    let all = requests([("r1", 0, 0, 5_000), ("r2", 0, 2_000, 5_000)], 600_000);
    play(&fleet, &all).await;
    let silent_since = fleet.now_ms();
    while fleet.send(0, "c", "r2").await != Verdict::Accepted {
        fleet.advance(Duration::from_millis(500)).await;
    }
    let after_ms = fleet.now_ms() - silent_since;
    // Without a poll's delay: it is elected by its own request.
    assert!((27_000..=30_500).contains(&after_ms), "after {after_ms} ms");
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_spread_over_many_trackers_is_overdue_as_soon_as_another() {
    const TRACKERS: usize = 10;
    let fleet = Fleet::start(TRACKERS, limits()).await;
    for step in 0..240_usize {
        // Each tracker sees each replica every 50 s.
        fleet.advance(Duration::from_secs(5)).await;
        fleet.send(step * 7 % TRACKERS, "c", "r1").await;
        fleet.send((step * 3 + 5) % TRACKERS, "c", "r2").await;
    }
    assert_eq!(elected(&fleet).await, "r1");
    assert_eq!(changes(&fleet).await, 0);
    let silent_since = fleet.now_ms();
    for step in 0.. {
        fleet.advance(Duration::from_secs(1)).await;
        if fleet.send(step * 3 % TRACKERS, "c", "r2").await == Verdict::Accepted {
            break;
        }
    }
    let after_ms = fleet.now_ms() - silent_since;
    assert!((25_000..=55_000).contains(&after_ms), "after {after_ms} ms");
}

#[tokio::test(start_paused = true)]
async fn requests_that_arrive_together_share_the_call_that_elects_their_replica() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.send(0, "c", "r2").await;
    // Between two polls.
    fleet.advance(Duration::from_secs(41)).await;
    let calls = fleet.faults.cas_calls();
    fleet.faults.delay(Duration::from_millis(500));
    assert_eq!(
        fleet.trackers[0].peek("t", "c", "r2", fleet.now_ms()),
        Lookup::Overdue
    );
    let together = join_all((0..20).map(|_| fleet.send(0, "c", "r2"))).await;
    assert!(together.iter().all(|verdict| *verdict == Verdict::Accepted));
    assert_eq!(fleet.faults.cas_calls() - calls, 1);
    fleet.faults.delay(Duration::ZERO);
    let back = fleet.send(0, "c", "r1").await;
    assert_eq!(back, Verdict::Deduplicated("r2".into()));
}

#[tokio::test(start_paused = true)]
async fn an_arriving_replica_waits_for_a_store_that_fails_as_a_poll_does() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.send(0, "c", "r2").await;
    fleet.advance(Duration::from_secs(20)).await;
    fleet.faults.fail(true);
    fleet.advance(Duration::from_secs(20)).await;
    // The entry may be old because it could not be written.
    let deduplicated = Verdict::Deduplicated("r1".into());
    assert_eq!(fleet.send(0, "c", "r2").await, deduplicated);
    fleet.faults.fail(false);
    fleet.advance(Duration::from_secs(4)).await;
    assert_eq!(fleet.send(0, "c", "r2").await, deduplicated);
    fleet.advance(Duration::from_secs(30)).await;
    assert_eq!(fleet.send(0, "c", "r2").await, Verdict::Accepted);
}

/// As the pusher does: forwards the request of an elected replica, which is answered so.
fn answer(fleet: &Fleet, tracker: usize, replica: &str, delivery: Delivery) {
    let (tracker, now_ms) = (&fleet.trackers[tracker], fleet.now_ms());
    tracker.begin_delivery("t", "c", replica, now_ms);
    tracker.end_delivery("t", "c", replica, delivery, now_ms, now_ms);
}

/// An outage of the downstream from 60 s on: the elected replica is refused, and waits ever longer, up
/// to a minute; the other is answered at once.
async fn an_outage_elects_nobody(other_at: usize) {
    let fleet = Fleet::start(2, limits()).await;
    let began = fleet.now_ms();
    let (mut wait_ms, mut next_ms) = (1_000, began);
    for step in 0..400 {
        fleet.advance(Duration::from_secs(1)).await;
        let now_ms = fleet.now_ms();
        let is_out = (60_000..260_000).contains(&(now_ms - began));
        if now_ms >= next_ms {
            assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted, "{step}");
            if is_out {
                answer(&fleet, 0, "r1", Delivery::Refused);
                next_ms = now_ms + wait_ms;
                wait_ms = (2 * wait_ms).min(60_000);
            } else {
                answer(&fleet, 0, "r1", Delivery::Settled);
                (wait_ms, next_ms) = (1_000, now_ms + 5_000);
            }
        }
        if step % 5 == 3 {
            let verdict = fleet.send(other_at, "c", "r2").await;
            assert_eq!(verdict, Verdict::Deduplicated("r1".into()), "{step}");
        }
    }
    assert_eq!(changes(&fleet).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_downstream_elects_nobody() {
    // Whether the tracker that elects has seen the refusals or not.
    an_outage_elects_nobody(0).await;
    an_outage_elects_nobody(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_longer_than_the_failover_timeout_is_not_silence() {
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    let now_ms = fleet.now_ms();
    fleet.trackers[0].begin_delivery("t", "c", "r1", now_ms);
    for _ in 0..50 {
        fleet.advance(Duration::from_secs(1)).await;
        let verdict = fleet.send(0, "c", "r2").await;
        assert_eq!(verdict, Verdict::Deduplicated("r1".into()));
    }
    // The sender is killed while it waits: from here on it is silent.
    let killed = fleet.now_ms();
    fleet.trackers[0].end_delivery("t", "c", "r1", Delivery::Abandoned, now_ms, killed);
    while fleet.send(0, "c", "r2").await != Verdict::Accepted {
        fleet.advance(Duration::from_millis(500)).await;
    }
    let after_ms = fleet.now_ms() - killed;
    assert!(after_ms <= 31_000, "after {after_ms} ms");
}

#[tokio::test(start_paused = true)]
async fn a_refused_replica_that_dies_is_replaced_after_its_back_off() {
    let fleet = Fleet::start(2, limits()).await;
    fleet.send(0, "c", "r1").await;
    answer(&fleet, 0, "r1", Delivery::Refused);
    let silent_since = fleet.now_ms();
    while fleet.send(1, "c", "r2").await != Verdict::Accepted {
        fleet.advance(Duration::from_secs(1)).await;
    }
    let after_ms = fleet.now_ms() - silent_since;
    assert!((120_000..=122_000).contains(&after_ms), "{after_ms} ms");
    // The same if the one that was refused is not known, since its request was not read.
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    answer(&fleet, 0, "r1", Delivery::Settled);
    fleet.advance(Duration::from_secs(1)).await;
    fleet.trackers[0].refused_unread(fleet.now_ms());
    let silent_since = fleet.now_ms();
    while fleet.send(0, "c", "r2").await != Verdict::Accepted {
        fleet.advance(Duration::from_secs(1)).await;
        // However often: it is one wait.
        fleet.trackers[0].refused_unread(fleet.now_ms());
    }
    let after_ms = fleet.now_ms() - silent_since;
    assert!((118_000..=121_000).contains(&after_ms), "{after_ms} ms");
}

#[tokio::test(start_paused = true)]
async fn without_a_back_off_a_refusal_is_no_excuse() {
    let limits = HaLimits {
        sender_backoff: Duration::ZERO,
        ..limits()
    };
    let fleet = Fleet::start(1, limits).await;
    fleet.send(0, "c", "r1").await;
    answer(&fleet, 0, "r1", Delivery::Refused);
    fleet.advance(Duration::from_secs(31)).await;
    assert_eq!(fleet.send(0, "c", "r2").await, Verdict::Accepted);
}

#[tokio::test(start_paused = true)]
async fn one_old_sample_in_every_request_and_a_clock_that_is_ahead_change_no_sample_failover() {
    let limits = HaLimits {
        sample_failover_timeout: Duration::from_secs(40),
        ..limits()
    };
    // The newest sample counts, so a target with old timestamps does not matter; a time in the future
    // counts as now.
    for ahead_ms in [0, 3_600_000] {
        let fleet = Fleet::start(1, limits).await;
        fleet.send(0, "c", "r1").await;
        let silent_since = fleet.now_ms();
        loop {
            fleet.advance(Duration::from_secs(1)).await;
            let newest = Some(fleet.now_ms() + ahead_ms);
            if fleet.send_with_sample(0, "c", "r2", newest).await == Verdict::Accepted {
                break;
            }
        }
        let after_ms = fleet.now_ms() - silent_since;
        assert!((40_000..=41_000).contains(&after_ms), "{after_ms} ms");
    }
}
