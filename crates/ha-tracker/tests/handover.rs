//! Elections by hand, and the gate that is asked before each failover.

#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_tracker::{
    ElectionGate, Failover, FailoverCause, GateAnswer, HandOverError, HandedOver, ReplicaDesc,
};
use kv_core::Store;
use support::{Fleet, Verdict, limits};

/// A gate that is open or not, and remembers what it was asked.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    asked: Mutex<Vec<(FailoverCause, String, String)>>,
}

impl ElectionGate for Gate {
    fn ask(&self, failover: &Failover<'_>) -> GateAnswer {
        assert_eq!((failover.tenant, failover.cluster), ("t", "c"));
        let (ended, successor) = (&failover.ends.replica, failover.successor);
        let asked = (failover.cause, ended.clone(), successor.to_owned());
        self.asked.lock().unwrap().push(asked);
        match self.open.load(Ordering::Relaxed) {
            true => GateAnswer::Go,
            false => GateAnswer::NotYet,
        }
    }
}

async fn stored(fleet: &Fleet) -> ReplicaDesc {
    fleet.store.get("t/c").await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_election_is_handed_over_while_both_replicas_send() {
    let fleet = Fleet::start(2, limits()).await;
    fleet.send(0, "c", "r1").await;
    fleet.advance(Duration::from_secs(5)).await;
    fleet.send(1, "c", "r1").await;
    fleet.send(1, "c", "r2").await;
    let handed = fleet.trackers[1].hand_over("t", "c", "r2").await;
    assert_eq!(handed.unwrap(), HandedOver::Elected);
    let desc = stored(&fleet).await;
    assert_eq!((desc.replica.as_str(), desc.elected_changes), ("r2", 1));
    assert_eq!(
        (desc.elected_at, desc.received_at),
        (fleet.now_ms(), fleet.now_ms())
    );
    fleet.advance(Duration::from_millis(1)).await;
    for _ in 0..60 {
        fleet.advance(Duration::from_secs(1)).await;
        for tracker in [0, 1] {
            let verdict = fleet.send(tracker, "c", "r1").await;
            assert_eq!(verdict, Verdict::Deduplicated("r2".into()));
            assert_eq!(fleet.send(tracker, "c", "r2").await, Verdict::Accepted);
        }
    }
    let metrics = fleet.metrics(1);
    assert!(metrics.contains("cortex_ha_tracker_failovers_total{cause=\"by_hand\"} 1\n"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_over_is_refused_with_the_reason() {
    let fleet = Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    let hand_over = async |cluster, replica| {
        let refused = tracker.hand_over("t", cluster, replica).await;
        refused.unwrap_err()
    };
    let error = hand_over("c", "r1").await;
    assert!(
        matches!(error, HandOverError::UnknownCluster { .. }),
        "{error}"
    );
    fleet.send(0, "c", "r1").await;
    fleet.send(0, "c", "r2").await;
    let error = hand_over("c", "r3").await;
    assert!(matches!(error, HandOverError::NotSeen { .. }), "{error}");
    let error = hand_over("c", "r1").await;
    assert!(
        matches!(error, HandOverError::AlreadyElected { .. }),
        "{error}"
    );
    fleet.faults.fail(true);
    let error = hand_over("c", "r2").await;
    assert!(matches!(error, HandOverError::Store(_)), "{error}");
    fleet.faults.fail(false);
    fleet.faults.hang(true);
    let error = hand_over("c", "r2").await;
    assert!(error.to_string().contains("gave up"), "{error}");
    fleet.faults.hang(false);
    fleet.advance(Duration::from_secs(121)).await;
    let error = hand_over("c", "r2").await;
    assert!(matches!(error, HandOverError::NotSeen { .. }), "{error}");
    assert_eq!(stored(&fleet).await.elected_changes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_asked_before_each_failover_and_before_nothing_else() {
    let fleet = Fleet::start(1, limits()).await;
    let gate = Arc::<Gate>::default();
    fleet.trackers[0].set_gate(gate.clone());
    let asked = || std::mem::take(&mut *gate.asked.lock().unwrap());
    // A new cluster, and its refreshes.
    for _ in 0..60 {
        assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
        fleet.send(0, "c", "r2").await;
        fleet.advance(Duration::from_secs(1)).await;
    }
    assert_eq!(asked(), []);
    for _ in 0..60 {
        let verdict = fleet.send(0, "c", "r2").await;
        assert_eq!(verdict, Verdict::Deduplicated("r1".into()));
        fleet.advance(Duration::from_secs(1)).await;
    }
    let of = |cause| (cause, "r1".to_owned(), "r2".to_owned());
    let questions = asked();
    for cause in [FailoverCause::Poll, FailoverCause::Arrival] {
        assert!(questions.contains(&of(cause)), "{questions:?}");
    }
    let handed = fleet.trackers[0].hand_over("t", "c", "r2").await.unwrap();
    assert_eq!(handed, HandedOver::Begun);
    assert_eq!(asked(), [of(FailoverCause::ByHand)]);
    assert_eq!(stored(&fleet).await.replica, "r1");
    // Its owner elects, if nothing has changed.
    let term = stored(&fleet).await;
    let other = ReplicaDesc {
        elected_at: term.elected_at - 1,
        ..term.clone()
    };
    let elect = async |ends| fleet.trackers[0].elect("t", "c", "r2", ends).await;
    let error = elect(&other).await.unwrap_err();
    assert!(matches!(error, HandOverError::Superseded { .. }), "{error}");
    elect(&term).await.unwrap();
    assert_eq!(fleet.send(0, "c", "r2").await, Verdict::Accepted);
    assert_eq!(asked(), []);
    // An open gate.
    gate.open.store(true, Ordering::Relaxed);
    fleet.advance(Duration::from_millis(40_500)).await;
    assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
    assert_eq!(
        asked(),
        [(FailoverCause::Arrival, "r2".to_owned(), "r1".to_owned())]
    );
}
