//! Watching the elections of a tracker, with paused time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_tracker::{ElectionEvent, ElectionWatch, ReplicaDesc};
use kv_core::{CasUpdate, Store};
use support::{Fleet, limits};

/// What a watcher makes of the events: replica by (tenant, cluster).
#[derive(Default)]
struct Picture {
    elected: BTreeMap<(String, String), String>,
    states: u32,
    missed: u64,
}

impl Picture {
    fn apply(&mut self, event: ElectionEvent) {
        match event {
            ElectionEvent::State(state) => {
                self.states += 1;
                let elections = state.elections.iter().map(|election| {
                    let key = (election.tenant.clone(), election.cluster.clone());
                    (key, election.desc.replica.clone())
                });
                self.elected = elections.collect();
            }
            ElectionEvent::Changed(change) => {
                let key = (change.tenant.clone(), change.cluster.clone());
                match &change.desc {
                    Some(desc) => self.elected.insert(key, desc.replica.clone()),
                    None => self.elected.remove(&key),
                };
            }
            ElectionEvent::Lagged(missed) => self.missed += missed,
            other => panic!("{other:?}"),
        }
    }

    /// Until nothing more comes.
    async fn follow(&mut self, watch: &mut ElectionWatch) {
        let soon = Duration::from_millis(1);
        while let Ok(Some(event)) = tokio::time::timeout(soon, watch.next()).await {
            self.apply(event);
        }
    }

    fn replica(&self, cluster: &str) -> Option<&str> {
        let key = ("t".to_owned(), cluster.to_owned());
        self.elected.get(&key).map(String::as_str)
    }
}

async fn put(fleet: &Fleet, cluster: &str, replica: &str, elected_at: i64) {
    let desc = ReplicaDesc {
        replica: replica.to_owned(),
        received_at: elected_at,
        elected_at,
        ..ReplicaDesc::default()
    };
    let key = format!("t/{cluster}");
    let mut update = |_: Option<&ReplicaDesc>| CasUpdate::Put(desc.clone());
    fleet.store.cas(&key, &mut update).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watcher_gets_the_state_and_then_every_change() {
    let fleet = Fleet::start(1, limits()).await;
    put(&fleet, "a", "r1", 1).await;
    let mut watch = fleet.trackers[0].watch();
    let mut picture = Picture::default();
    fleet.advance(Duration::from_millis(10)).await;
    picture.follow(&mut watch).await;
    assert_eq!((picture.states, picture.replica("a")), (1, Some("r1")));

    put(&fleet, "b", "r1", 2).await;
    put(&fleet, "a", "r2", 3).await;
    picture.follow(&mut watch).await;
    assert_eq!(picture.replica("b"), Some("r1"));
    assert_eq!(picture.replica("a"), Some("r2"));
    fleet.store.delete("t/a").await.unwrap();
    picture.follow(&mut watch).await;
    assert_eq!(picture.replica("a"), None);
    assert_eq!((picture.states, picture.missed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_no_change_and_the_same_replica_elected_again_is() {
    let fleet = Fleet::start(1, limits()).await;
    put(&fleet, "a", "r1", 1).await;
    let mut watch = fleet.trackers[0].watch();
    let mut picture = Picture::default();
    picture.follow(&mut watch).await;
    fleet
        .store
        .cas("t/a", &mut |current: Option<&ReplicaDesc>| {
            CasUpdate::Put(ReplicaDesc {
                received_at: 100,
                ..current.unwrap().clone()
            })
        })
        .await
        .unwrap();
    let soon = Duration::from_millis(1);
    assert!(tokio::time::timeout(soon, watch.next()).await.is_err());
    put(&fleet, "a", "r1", 200).await;
    let Some(ElectionEvent::Changed(change)) = watch.next().await else {
        panic!("no change")
    };
    assert_eq!(change.desc.as_ref().unwrap().elected_at, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_is_told_and_gets_the_state_again() {
    let fleet = Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    let mut slow = tracker.watch();
    let mut fast = tracker.watch();
    let (mut slow_picture, mut fast_picture) = (Picture::default(), Picture::default());
    slow_picture.apply(slow.next().await.unwrap());
    for number in 0..3000 {
        put(&fleet, &format!("c{}", number % 10), "r", number).await;
        fast_picture.follow(&mut fast).await;
    }
    fleet.store.delete("t/c3").await.unwrap();
    fast_picture.follow(&mut fast).await;
    slow_picture.follow(&mut slow).await;
    assert_eq!((fast_picture.states, fast_picture.missed), (1, 0));
    assert_eq!(slow_picture.states, 2);
    assert!(slow_picture.missed > 1900, "{}", slow_picture.missed);
    assert_eq!(slow_picture.elected, fast_picture.elected);
    assert_eq!(slow_picture.elected.len(), 9);
}

/// Otherwise a thousand watchers of ten thousand clusters would need gigabytes.
#[tokio::test(start_paused = true)]
async fn watchers_share_one_state_until_something_changes() {
    let fleet = Fleet::start(1, limits()).await;
    put(&fleet, "a", "r1", 1).await;
    fleet.advance(Duration::from_millis(10)).await;
    let tracker = &fleet.trackers[0];
    let first = tracker.election_state();
    assert_eq!(first.elections.len(), 1);
    for _ in 0..1000 {
        let Some(ElectionEvent::State(state)) = tracker.watch().next().await else {
            panic!("no state")
        };
        assert!(Arc::ptr_eq(&first, &state));
    }
    put(&fleet, "b", "r1", 1).await;
    fleet.advance(Duration::from_millis(10)).await;
    assert_eq!(tracker.election_state().elections.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_tracker() {
    let fleet = Fleet::start(1, limits()).await;
    let (tracker, handle) = fleet.another_tracker();
    let mut watch = tracker.watch();
    assert!(matches!(watch.next().await, Some(ElectionEvent::State(_))));
    handle.shutdown().await;
    assert!(watch.next().await.is_none());
}
