//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kv_core::conformance::{CODEC, Counter};
use kv_core::{CasUpdate, Store, StoreError, WatchEvent, WatchStream};
use kv_etcd::EtcdConfig;
use peers::LONG;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// A dial time-out that is long for etcd on this machine and short for a test.
pub const DIAL: Duration = Duration::from_secs(3);

pub type AnyStore = Arc<dyn Store<Counter>>;

/// A store with the defaults, except for a shorter dial time-out.
pub fn store_at<E: ToString>(endpoints: impl IntoIterator<Item = E>) -> AnyStore {
    store_of(&config(endpoints))
}

pub fn config<E: ToString>(endpoints: impl IntoIterator<Item = E>) -> EtcdConfig {
    let endpoints = endpoints.into_iter().map(|endpoint| endpoint.to_string());
    EtcdConfig {
        dial_timeout: DIAL,
        ..EtcdConfig::new(endpoints)
    }
}

pub fn store_of(config: &EtcdConfig) -> AnyStore {
    Arc::new(kv_etcd::open(config, None, CODEC).unwrap())
}

pub fn counter(value: i64) -> Counter {
    Counter {
        value,
        writer: "test".into(),
    }
}

pub async fn put(store: &AnyStore, key: &str, value: i64) {
    store
        .cas(key, &mut |_| CasUpdate::Put(counter(value)))
        .await
        .unwrap();
}

/// One more; answers the new value.
pub async fn increment(store: &AnyStore, key: &str) -> Result<i64, StoreError> {
    let outcome = store
        .cas(key, &mut |current| {
            CasUpdate::Put(counter(current.map_or(0, |current| current.value) + 1))
        })
        .await?;
    Ok(outcome.into_value().unwrap().value)
}

pub async fn value_of(store: &AnyStore, key: &str) -> i64 {
    store
        .get(key)
        .await
        .unwrap()
        .map_or(0, |stored| stored.value)
}

/// Everything below a prefix, read key by key.
pub async fn stored(store: &AnyStore, prefix: &str) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for key in store.list(prefix).await.unwrap() {
        all.insert(key.clone(), value_of(store, &key).await);
    }
    all
}

/// A watch and what it has shown so far.
pub struct Watched {
    stream: WatchStream<Counter>,
    pub picture: BTreeMap<String, i64>,
    /// How many events there were, and how many of them were `Synced`.
    pub events: u64,
    pub synced: u64,
}

impl Watched {
    /// A watch that has shown what exists.
    pub async fn begin(store: &AnyStore, prefix: &str) -> Self {
        let mut this = Self::new(store.watch_prefix(prefix));
        this.until_synced().await;
        this
    }

    pub fn new(stream: WatchStream<Counter>) -> Self {
        Self {
            stream,
            picture: BTreeMap::new(),
            events: 0,
            synced: 0,
        }
    }

    pub async fn next(&mut self) -> WatchEvent<Counter> {
        let event = timeout(LONG, self.stream.next())
            .await
            .unwrap_or_else(|_| panic!("no event in {LONG:?}; have {:?}", self.picture))
            .unwrap();
        self.events += 1;
        match &event {
            WatchEvent::Put(key, value) => {
                self.picture.insert(key.clone(), value.value);
            }
            WatchEvent::Deleted(key) => {
                assert!(self.picture.remove(key).is_some(), "{key:?} was not there");
            }
            WatchEvent::Synced => self.synced += 1,
            WatchEvent::Undecodable(key, error) => panic!("{key:?}: {error}"),
            other => panic!("{other:?}"),
        }
        event
    }

    pub async fn until_synced(&mut self) {
        while !matches!(self.next().await, WatchEvent::Synced) {}
    }

    pub async fn until(&mut self, wanted: &BTreeMap<String, i64>) {
        let deadline = Instant::now() + LONG;
        while &self.picture != wanted {
            if timeout_at(deadline, self.next()).await.is_err() {
                panic!("have {:?}, want {wanted:?}", self.picture);
            }
        }
    }
}

/// Tasks that increment keys until they are told to stop.
pub struct Writers {
    tasks: JoinSet<()>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    acknowledged: AtomicI64,
    failed: AtomicI64,
}

impl Writers {
    /// One task for each key.
    pub fn start(store: &AnyStore, keys: &[&str]) -> Self {
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        for key in keys {
            let (store, counts, key) = (Arc::clone(store), Arc::clone(&counts), (*key).to_owned());
            tasks.spawn(async move {
                while !counts.stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match increment(&store, &key).await {
                        Ok(_) => counts.acknowledged.fetch_add(1, Ordering::Relaxed),
                        Err(StoreError::Unavailable { .. }) => {
                            counts.failed.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(StoreError::Conflict { .. }) => 0,
                        Err(other) => panic!("{other}"),
                    };
                    let took = began.elapsed();
                    assert!(took < DIAL * 2 + Duration::from_secs(2), "it took {took:?}");
                }
            });
        }
        Self { tasks, counts }
    }

    pub fn acknowledged(&self) -> i64 {
        self.counts.acknowledged.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> i64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    pub async fn more_acknowledged(&self, more: i64) {
        let goal = self.acknowledged() + more;
        peers::wait_for(&format!("{more} more writes"), LONG, || async {
            let done = self.acknowledged();
            (done >= goal)
                .then_some(())
                .ok_or(format!("{done} of {goal}"))
        })
        .await;
    }

    pub async fn more_failed(&self, more: i64) {
        let goal = self.failed() + more;
        peers::wait_for(&format!("{more} more failures"), LONG, || async {
            let done = self.failed();
            (done >= goal)
                .then_some(())
                .ok_or(format!("{done} of {goal}"))
        })
        .await;
    }

    /// Stops; panics unless the sum of what is stored fits what was acknowledged.
    pub async fn finish(mut self, stored: impl AsyncFnOnce() -> i64) {
        self.counts.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let (least, failed) = (self.acknowledged(), self.failed());
        let sum = stored().await;
        assert!(
            least <= sum && sum <= least + failed,
            "{least} increments were acknowledged and {failed} failed, but {sum} are stored"
        );
    }
}

/// Does not compress.
pub fn random_text(length: usize) -> String {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(33 + (state >> 33) as u8 % 90)
    })
    .take(length)
    .collect()
}
