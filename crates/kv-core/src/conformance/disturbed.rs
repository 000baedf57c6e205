//! Rules that hold while the server of a backend is disturbed: stopped, killed, cut off.
//!
//! A backend's test provides the disturbance; the rules are the same for all backends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::backend::{Backend, Counter, counter};
use super::everyday::map_is;
use crate::{Store, StoreError, StoreExt, WatchEvent, lock};

/// How long recovery may take.
const RECOVERY: Duration = Duration::from_secs(60);

/// From `tasks` handles at once, increments one key `increments` times each: none is lost and none
/// is applied twice. A call that gives up after too many conflicts is made again.
pub async fn storm(backend: &dyn Backend, key: &'static str, tasks: i64, increments: i64) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let store = backend.open().await;
        running.spawn(async move {
            let mut done = 0;
            while done < increments {
                match increment(&*store, key).await {
                    Ok(_) => done += 1,
                    // Allowed under contention: attempts are bounded.
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => panic!("an increment ended with {other}"),
                }
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    let stored = backend.open().await.get(key).await.unwrap().unwrap();
    assert_eq!(stored.value, tasks * increments, "increments of {key:?}");
}

async fn increment(store: &dyn Store<Counter>, key: &str) -> Result<i64, StoreError> {
    let next = |current: Option<&Counter>| counter(current.map_or(0, |now| now.value) + 1);
    Ok(store.update(key, next).await?.value)
}

/// Increments one key from four tasks while `disturb` runs, until each succeeds again afterwards.
/// Every acknowledged increment is in the final value; a failed one may be in it, at most once.
pub async fn acknowledged_increments_survive(
    store: Arc<dyn Store<Counter>>,
    key: &'static str,
    disturb: impl Future<Output = ()>,
) {
    let calm = Arc::new(AtomicBool::new(false));
    let (succeeded, failed) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = Arc::clone(&store);
        let calm = Arc::clone(&calm);
        let (succeeded, failed) = (Arc::clone(&succeeded), Arc::clone(&failed));
        running.spawn(async move {
            loop {
                let was_calm = calm.load(Ordering::SeqCst);
                match increment(&*store, key).await {
                    Ok(_) => {
                        succeeded.fetch_add(1, Ordering::SeqCst);
                        if was_calm {
                            return;
                        }
                    }
                    Err(StoreError::Conflict { .. }) => {}
                    Err(StoreError::Unavailable { .. }) => {
                        failed.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(other) => panic!("an increment ended with {other}"),
                }
            }
        });
    }
    reaches(&succeeded, 20, "increments").await;
    disturb.await;
    let before = succeeded.load(Ordering::SeqCst);
    calm.store(true, Ordering::SeqCst);
    let all = async { while running.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(RECOVERY, all)
        .await
        .expect("increments do not succeed again");
    let (succeeded, failed) = (
        succeeded.load(Ordering::SeqCst),
        failed.load(Ordering::SeqCst),
    );
    assert!(succeeded > before, "nothing was written afterwards");
    let stored = store.get(key).await.unwrap().unwrap().value;
    assert!(
        (succeeded..=succeeded + failed).contains(&stored),
        "{key:?} is {stored} after {succeeded} acknowledged and {failed} failed increments"
    );
}

/// Waits until `count` is at least `wanted`.
async fn reaches(count: &AtomicI64, wanted: i64, what: &str) {
    let deadline = Instant::now() + RECOVERY;
    while count.load(Ordering::SeqCst) < wanted {
        let have = count.load(Ordering::SeqCst);
        assert!(
            Instant::now() < deadline,
            "{have} {what} succeeded, not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A watch of `watched` while `writing`, another way to the same data, changes and deletes keys all
/// the time and `disturb` runs `times` times, with writes that succeed before, between and after.
/// In the end the watcher and a live map have exactly what is stored, and no key ever went back to an
/// older value.
pub async fn a_watch_survives(
    writing: Arc<dyn Store<Counter>>,
    watched: &dyn Store<Counter>,
    prefix: &str,
    times: usize,
    mut disturb: impl AsyncFnMut(),
) {
    let picture = Arc::new(Mutex::new(BTreeMap::<String, i64>::new()));
    let follower = tokio::spawn({
        let mut watch = watched.watch_prefix(prefix);
        let picture = Arc::clone(&picture);
        async move {
            let mut newest = 0;
            while let Some(event) = watch.next().await {
                match event {
                    WatchEvent::Put(key, value) => {
                        newest = newest.max(value.value);
                        let before = lock(&picture).insert(key.clone(), value.value);
                        if let Some(before) = before {
                            assert!(before <= value.value, "{key:?} went back in time");
                        }
                    }
                    WatchEvent::Deleted(key) => {
                        lock(&picture).remove(&key);
                    }
                    WatchEvent::Synced => {}
                    WatchEvent::Undecodable(key, error) => panic!("{key:?}: {error}"),
                }
            }
            panic!("the watch ended");
        }
    });
    let map = watched.watch_map(prefix);
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicI64::new(0));
    let writer = tokio::spawn(churn(
        Arc::clone(&writing),
        prefix.to_owned(),
        Arc::clone(&stop),
        Arc::clone(&written),
    ));
    let more_writes = async || {
        let enough = written.load(Ordering::SeqCst) + 40;
        reaches(&written, enough, "writes").await;
    };
    for _ in 0..times {
        more_writes().await;
        disturb().await;
    }
    more_writes().await;
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    let stored = stored(&*writing, prefix).await;
    let deadline = Instant::now() + RECOVERY;
    while *lock(&picture) != stored {
        assert!(
            !follower.is_finished(),
            "the watcher failed: {:?}",
            follower.await
        );
        assert!(
            Instant::now() < deadline,
            "the watcher has {:?}\nbut stored is {stored:?}",
            lock(&picture)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    follower.abort();
    map_is(&map, &stored).await;
}

/// Writes ever larger values under 20 keys and deletes one in seven times; counts what is
/// acknowledged.
async fn churn(
    store: Arc<dyn Store<Counter>>,
    prefix: String,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicI64>,
) {
    let mut value = 0;
    while !stop.load(Ordering::SeqCst) {
        value += 1;
        let key = format!("{prefix}{}", value % 20);
        let outcome = if value % 7 == 0 {
            store.delete(&key).await
        } else {
            store.put(&key, counter(value)).await
        };
        match outcome {
            Ok(()) => {
                written.fetch_add(1, Ordering::SeqCst);
            }
            Err(StoreError::Unavailable { .. } | StoreError::Conflict { .. }) => {}
            Err(other) => panic!("writing {key:?} ended with {other}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What is below `prefix`, once the store answers.
async fn stored(store: &dyn Store<Counter>, prefix: &str) -> BTreeMap<String, i64> {
    let deadline = Instant::now() + RECOVERY;
    'again: loop {
        assert!(Instant::now() < deadline, "the store does not recover");
        let Ok(keys) = store.list(prefix).await else {
            continue;
        };
        let mut stored = BTreeMap::new();
        for key in keys {
            match store.get(&key).await {
                Ok(Some(value)) => stored.insert(key, value.value),
                Ok(None) => None,
                Err(_) => continue 'again,
            };
        }
        return stored;
    }
}
