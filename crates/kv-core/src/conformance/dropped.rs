//! Futures that are dropped at each await: the store works on, and nothing is left behind.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::DELIVERY;
use super::backend::{Backend, Counter, counter};
use crate::{Store, StoreError, StoreExt, WatchEvent};

/// More polls than any call takes.
const MOST_POLLS: usize = 10_000;

/// Rounds in which what is left behind is counted.
const ROUNDS: usize = 3;

/// Polls a future until it is ready, at most `polls` times, and drops it: `None` if it was not ready.
pub async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left > 0
            && let Poll::Ready(value) = future.as_mut().poll(context)
        {
            return Poll::Ready(Some(value));
        }
        left = left.saturating_sub(1);
        match left {
            0 => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Drops each call, a watch and a live map after one poll, after two, and so on until they complete.
/// The store works after each, no write is lost or applied twice, and no tasks pile up in the
/// runtime.
pub async fn calls_can_be_dropped(backend: &dyn Backend) {
    let store = &*backend.open().await;
    store.put("dropped/other", counter(0)).await.unwrap();
    // What it starts for its first calls may stay, such as connections.
    drop_all(store).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut dropped = 0;
    for _ in 0..ROUNDS {
        dropped += drop_all(store).await;
    }
    // A pool may have another connection than before. What is left behind by each call is more.
    let allowed = before + dropped / 2;
    let deadline = Instant::now() + DELIVERY;
    while tasks() > allowed {
        assert!(
            Instant::now() < deadline,
            "{} tasks are alive after {dropped} calls were dropped, {before} before",
            tasks()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns how many were dropped.
async fn drop_all(store: &dyn Store<Counter>) -> usize {
    let mut dropped = increments_can_be_dropped(store).await;
    for polls in 0..=MOST_POLLS {
        let calls = async {
            store.get("dropped/other").await.unwrap();
            store.list("dropped/").await.unwrap();
            store.delete("dropped/absent").await.unwrap();
            watch(store).await;
            let map = store.watch_map("dropped/");
            map.synced().await.unwrap();
        };
        let done = polled(calls, polls).await;
        let other = store.get("dropped/other").await.unwrap();
        assert_eq!(other, Some(counter(0)), "after {polls} polls");
        if done.is_some() {
            return dropped;
        }
        dropped += 1;
    }
    panic!("the calls do not complete");
}

/// Returns how many were dropped.
async fn increments_can_be_dropped(store: &dyn Store<Counter>) -> usize {
    let key = "dropped/increments";
    store.delete(key).await.unwrap();
    let increment = || {
        let next = |current: Option<&Counter>| counter(current.map_or(0, |now| now.value) + 1);
        store.update(key, next)
    };
    for polls in 0..=MOST_POLLS {
        let completed = match polled(increment(), polls).await {
            Some(Ok(_)) => true,
            // The one before, which was dropped, arrives late.
            Some(Err(StoreError::Conflict { .. })) | None => false,
            Some(Err(error)) => panic!("an increment ended with {error}"),
        };
        // Another one works, and takes what was dropped before into account.
        increment().await.unwrap();
        if completed {
            let stored = store.get(key).await.unwrap().unwrap().value;
            let succeeded = polls as i64 + 2;
            assert!(
                (succeeded..=succeeded + polls as i64).contains(&stored),
                "{stored} after {succeeded} increments and {polls} that were dropped"
            );
            return polls;
        }
    }
    panic!("an increment does not complete");
}

/// Watches until everything was seen.
async fn watch(store: &dyn Store<Counter>) {
    let mut watch = store.watch_prefix("dropped/");
    let mut seen = 0;
    loop {
        match watch.next().await {
            Some(WatchEvent::Put(..)) => seen += 1,
            Some(WatchEvent::Synced) => break,
            other => panic!("{other:?} in the first picture"),
        }
    }
    assert!(seen > 0, "nothing was seen");
}
