//! The history of elections, as the trackers of a fleet see it.

#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::time::Duration;

use ha_tracker::ElectionCause;
use support::{Fleet, Verdict, limits};

#[tokio::test(start_paused = true)]
async fn each_tracker_remembers_who_followed_whom_and_why() {
    let fleet = Fleet::start(2, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.advance(Duration::from_secs(10)).await;
    fleet.send(1, "c", "r1").await;
    let last_of_r1 = fleet.now_ms();
    assert!(fleet.trackers[0].elections_of("t", "c").is_empty());
    // The other replica sends, and is elected by its own request.
    let mut first_of_r2 = None;
    while first_of_r2.is_none() {
        fleet.advance(Duration::from_secs(5)).await;
        if fleet.send(1, "c", "r2").await == Verdict::Accepted {
            first_of_r2 = Some(fleet.now_ms());
        }
    }
    let records = fleet.trackers[1].elections_of("t", "c");
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!((&*record.from, &*record.to), ("r1", "r2"));
    assert_eq!(record.cause, ElectionCause::Arrival);
    assert_eq!(record.changes, 1);
    assert_eq!(record.elected_ms, first_of_r2.unwrap());
    assert_eq!(record.silent_ms, first_of_r2.unwrap() - last_of_r1);
    assert_eq!(record.gap_ms, Some(first_of_r2.unwrap() - last_of_r1));

    // Another tracker did not write it, and has accepted none of its requests.
    fleet.advance(Duration::from_secs(1)).await;
    let elsewhere = fleet.trackers[0].elections_of("t", "c");
    assert_eq!(elsewhere[0].cause, ElectionCause::Elsewhere);
    assert_eq!(elsewhere[0].gap_ms, None);

    fleet.send(1, "c", "r1").await;
    let handed = fleet.trackers[1].hand_over("t", "c", "r1").await;
    handed.unwrap();
    fleet.advance(Duration::from_secs(2)).await;
    fleet.send(1, "c", "r1").await;
    let records = fleet.trackers[1].elections_of("t", "c");
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].cause, ElectionCause::ByHand);
    assert_eq!(records[0].gap_ms, Some(3_000));
    assert_eq!(records, fleet.trackers[1].recent_elections());
    let metrics = fleet.metrics(1);
    for line in [
        "cortex_ha_tracker_election_history_entries 2\n",
        "cortex_ha_tracker_election_history_dropped_total 0\n",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
}
