//! Drivers of several distributors over one store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed check panics"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ha_failover::{
    Decision, Elections, FailoverConfig, FailoverHandle, Failovers, Outcome, Parts, Reason,
    Replayer, Request, Rules, Settings, Slice, Wait,
};
use ha_tracker::{Clock, ReplicaDesc};
use kv_core::{InMemoryStore, PrefixStore, Store};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// The tracker: one entry that all know.
#[derive(Default)]
struct Entry(Mutex<Option<ReplicaDesc>>);

#[async_trait]
impl Elections for Entry {
    fn entry(&self, _tenant: &str, _cluster: &str) -> Option<ReplicaDesc> {
        self.0.lock().unwrap().clone()
    }

    async fn elect(&self, _tenant: &str, _cluster: &str, successor: &str, ends: &ReplicaDesc) {
        let mut entry = self.0.lock().unwrap();
        let current = entry.as_mut().unwrap();
        if current.replica == ends.replica && current.elected_at == ends.elected_at {
            current.replica = successor.to_owned();
            current.elected_at += 1;
            current.received_at = Clock::System.now_ms();
            current.elected_changes += 1;
        }
    }
}

struct Lossless;

impl Rules for Lossless {
    fn settings(&self, tenant: &str, _cluster: &str) -> Option<Settings> {
        (tenant == "t").then(Settings::default)
    }
}

/// Bodies that were forwarded, by which distributor, and after which time.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<(usize, u32, i64)>>>);

struct To(usize, Sink);

#[async_trait]
impl Replayer<u32> for To {
    async fn replay(&self, tenant: &str, cluster: &str, slice: Slice<u32>) -> usize {
        assert_eq!((tenant, cluster, &*slice.replica), ("t", "a/b", "b"));
        let mut sink = self.1.0.lock().unwrap();
        for part in slice.bodies.iter() {
            sink.push((self.0, part.body, part.after_ms));
        }
        slice.bodies.len()
    }
}

struct Fleet {
    nodes: Vec<Arc<Failovers<u32>>>,
    _handles: Vec<FailoverHandle>,
    registries: Vec<Registry>,
    entry: Arc<Entry>,
    store: Arc<dyn Store<ReplicaDesc>>,
    sink: Sink,
}

fn fleet(count: usize) -> Fleet {
    let store: Arc<dyn Store<ReplicaDesc>> = Arc::new(InMemoryStore::default());
    let entry = Arc::new(Entry::default());
    let sink = Sink::default();
    let now_ms = Clock::System.now_ms();
    *entry.0.lock().unwrap() = Some(ReplicaDesc {
        replica: "a".to_owned(),
        received_at: now_ms,
        elected_at: now_ms,
        ..ReplicaDesc::default()
    });
    let mut fleet = Fleet {
        nodes: Vec::new(),
        _handles: Vec::new(),
        registries: Vec::new(),
        entry,
        store: Arc::clone(&store),
        sink: sink.clone(),
    };
    for number in 0..count {
        let mut registry = Registry::default();
        let parts = Parts {
            store: Arc::new(PrefixStore::new(Arc::clone(&store), "ha-tracker-failover/")),
            elections: Arc::clone(&fleet.entry) as Arc<dyn Elections>,
            rules: Arc::new(Lossless),
            replayer: Arc::new(To(number, sink.clone())),
            joins_early: false,
            config: FailoverConfig::default(),
            clock: Clock::System,
        };
        let (node, handle) = ha_failover::start(parts, &mut registry);
        fleet.nodes.push(node);
        fleet._handles.push(handle);
        fleet.registries.push(registry);
    }
    fleet
}

impl Fleet {
    async fn send(&self, node: usize, replica: &str, at_ms: i64, body: u32) -> Decision<u32> {
        let request = Request {
            replica,
            oldest_ms: at_ms,
            newest_ms: at_ms,
            bytes: 10,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let judged = self.nodes[node].judge("t", "a/b", &request, || body, deadline);
        judged.await.expect("lossless mode")
    }

    async fn store(&self, node: usize, replica: &str, at_ms: i64) -> Option<i64> {
        match self.send(node, replica, at_ms, 0).await {
            Decision::Accept { after_ms, accepted } => {
                accepted.finish(Outcome::Done);
                after_ms
            }
            _ => panic!("not accepted"),
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "not within 20 s: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_fleet_hands_over_and_replays_in_order() {
    let fleet = fleet(3);
    let now_ms = Clock::System.now_ms();
    for node in 0..3 {
        assert_eq!(fleet.store(node, "a", now_ms - 20_000).await, None);
    }
    // Of one series, whose requests went to one distributor after the other.
    for (node, at_ms) in [(1, -15_000), (0, -10_000), (2, -5_000), (1, 0)] {
        let held = fleet.send(node, "b", now_ms + at_ms, at_ms.unsigned_abs() as u32);
        assert!(matches!(held.await, Decision::Held));
    }
    assert!(fleet.nodes[2].begin("t", "a/b", "b", Reason::ByHand));
    fleet
        .until("replayed", || fleet.sink.0.lock().unwrap().len() == 4)
        .await;
    let sent = fleet.sink.0.lock().unwrap().clone();
    let order: Vec<(usize, u32)> = sent.iter().map(|(node, body, _)| (*node, *body)).collect();
    assert_eq!(order, [(1, 15_000), (0, 10_000), (2, 5_000), (1, 0)]);
    assert!(sent.iter().all(|(.., after)| *after == now_ms - 19_000));
    fleet
        .until("open", || {
            let phases = fleet.nodes.iter().map(|node| node.snapshot("t", "a/b"));
            phases
                .into_iter()
                .all(|state| state.unwrap().phase == "open")
        })
        .await;
    assert_eq!(fleet.entry.entry("t", "a/b").unwrap().replica, "b");
    for node in 0..3 {
        let after_ms = fleet.store(node, "b", now_ms - 19_500).await;
        assert_eq!(after_ms, Some(now_ms - 19_000));
    }
    let mut metrics = String::new();
    for registry in &fleet.registries {
        prometheus_client::encoding::text::encode(&mut metrics, registry).unwrap();
    }
    let count = |line: &str| metrics.lines().filter(|known| *known == line).count();
    assert_eq!(count("ha_failover_plans_total{reason=\"begun\"} 1"), 1);
    assert_eq!(count("ha_failover_plans_total{reason=\"fixed\"} 1"), 1);
    assert_eq!(
        count("ha_failover_released_requests_total{reason=\"lost\"} 0"),
        3
    );
    // The election is the tracker's alone; the records stand beside it.
    let keys = fleet.store.list("").await.unwrap();
    assert_eq!(keys.len(), 3 + 3 + 1, "{keys:?}");
    assert!(
        keys.iter()
            .all(|key| key.starts_with("ha-tracker-failover/"))
    );
}

#[tokio::test]
async fn in_classic_mode_it_does_nothing() {
    let fleet = fleet(1);
    let request = Request {
        replica: "a",
        oldest_ms: 0,
        newest_ms: 0,
        bytes: 0,
    };
    let node = &fleet.nodes[0];
    let judged = node.judge("classic", "c", &request, || 0, Instant::now());
    assert!(judged.await.is_none());
    assert!(!node.begin("classic", "c", "b", Reason::Overdue));
    assert_eq!(fleet.store.list("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_that_is_dropped_counts_as_if_parts_of_it_were_stored() {
    let fleet = fleet(1);
    let now_ms = Clock::System.now_ms();
    let Decision::Accept { accepted, .. } = fleet.send(0, "a", now_ms, 0).await else {
        panic!("not accepted");
    };
    assert!(fleet.nodes[0].begin("t", "a/b", "b", Reason::ByHand));
    let phase = || fleet.nodes[0].snapshot("t", "a/b").unwrap().phase;
    fleet.until("closing", || phase() == "closing").await;
    // The replica that was just seen is not overdue: only an operator can end its term now.
    let refused = fleet.send(0, "b", now_ms, 0).await;
    assert!(matches!(
        refused,
        Decision::RetryLater {
            why: Wait::Election,
            ..
        }
    ));
    drop(accepted);
    let boundary = || fleet.nodes[0].snapshot("t", "a/b").unwrap().boundary_ms;
    fleet.until("elected", || boundary() == Some(now_ms)).await;
}
