//! Two stores that do as the test says, and a multi store over them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use kv_core::faults::{Faults, FaultyStore};
use kv_core::{
    CasOutcome, CasUpdate, InMemoryStore, Mergeable, Store, StoreError, UpdateFn, WatchEvent,
    WatchStream,
};
use kv_multi::{BackfillState, MultiConfig, MultiHandle, MultiStore, Override, Part};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub(crate) const FIRST: &str = "first";
pub(crate) const SECOND: &str = "second";

/// The larger wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Max(pub(crate) u64);

impl Mergeable for Max {
    fn merge(&mut self, other: &Self) -> bool {
        let newer = other.0 > self.0;
        self.0 = self.0.max(other.0);
        newer
    }
}

/// One of the two stores. Clones are the same store.
#[derive(Clone)]
pub(crate) struct Side {
    name: &'static str,
    /// The content, without faults.
    memory: InMemoryStore<Max>,
    pub(crate) faults: Arc<Faults>,
    calls: Arc<Mutex<Vec<String>>>,
    silent: Arc<AtomicBool>,
    panicking: Arc<AtomicBool>,
}

impl Side {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            memory: InMemoryStore::default(),
            faults: Arc::default(),
            calls: Arc::default(),
            silent: Arc::default(),
            panicking: Arc::default(),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store<Max>> {
        Arc::new(self.clone())
    }

    /// Stores a value without the multi store's knowledge.
    pub(crate) async fn put(&self, key: &str, value: u64) {
        put(&self.memory, key, value).await;
    }

    /// What is there.
    pub(crate) async fn value(&self, key: &str) -> Option<u64> {
        let value = self.memory.get(key).await.unwrap();
        value.map(|value| value.0)
    }

    pub(crate) async fn keys(&self) -> usize {
        self.memory.list("").await.unwrap().len()
    }

    /// From now on watches begin with silence.
    pub(crate) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// From now on a compare-and-swap panics.
    pub(crate) fn panic(&self) {
        self.panicking.store(true, Ordering::Relaxed);
    }

    /// What the store was asked, such as `cas a/1`, except for the pictures of comparisons.
    pub(crate) fn calls(&self) -> Vec<String> {
        let mut calls = self.calls.lock().unwrap().clone();
        calls.retain(|call| call != "watch_prefix ");
        calls
    }

    /// Pictures that comparisons took.
    pub(crate) fn pictures(&self) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| *call == "watch_prefix ").count()
    }

    fn called(&self, operation: &str, key: &str) {
        self.calls
            .lock()
            .unwrap()
            .push(format!("{operation} {key}"));
    }

    fn faulty(&self) -> FaultyStore<Max> {
        FaultyStore::new(Arc::new(self.memory.clone()), Arc::clone(&self.faults))
    }
}

#[async_trait]
impl Store<Max> for Side {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.called("list", prefix);
        self.faulty().list(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Max>, StoreError> {
        self.called("get", key);
        self.faulty().get(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.called("delete", key);
        self.faulty().delete(key).await
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, Max>,
    ) -> Result<CasOutcome<Max>, StoreError> {
        self.called("cas", key);
        assert!(!self.panicking.load(Ordering::Relaxed), "{key} panics");
        self.faulty().cas(key, update).await
    }

    fn watch_key(&self, key: &str) -> WatchStream<Max> {
        self.called("watch_key", key);
        self.memory.watch_key(key)
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<Max> {
        self.called("watch_prefix", prefix);
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(futures::stream::pending());
        }
        self.memory.watch_prefix(prefix)
    }
}

/// A multi store over `first`, the configured primary, and `second`.
pub(crate) struct Multi {
    pub(crate) first: Side,
    pub(crate) second: Side,
    pub(crate) store: MultiStore<Max>,
    pub(crate) handle: MultiHandle<Max>,
    pub(crate) registry: Registry,
}

pub(crate) fn mirrored() -> MultiConfig {
    MultiConfig {
        mirror_enabled: true,
        ..MultiConfig::default()
    }
}

pub(crate) fn start(config: MultiConfig) -> Multi {
    let (first, second) = (Side::new(FIRST), Side::new(SECOND));
    let part = Part::from(second.store());
    start_over(first, second, part, config)
}

/// With mirroring, and the first comparison behind it.
pub(crate) async fn start_mirrored() -> Multi {
    let multi = start(mirrored());
    multi.until_complete().await;
    multi
}

/// `part` decides when `second` becomes usable.
pub(crate) fn start_over(first: Side, second: Side, part: Part<Max>, config: MultiConfig) -> Multi {
    let mut registry = Registry::default();
    let (store, handle) =
        kv_multi::start(first.store(), part, config, "test", &mut registry).unwrap();
    Multi {
        first,
        second,
        store,
        handle,
        registry,
    }
}

impl Multi {
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The value of the series of this name that has this in its labels.
    pub(crate) fn metric(&self, name: &str, label: &str) -> Option<f64> {
        let text = self.metrics();
        let series = text.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?.strip_prefix('{')?;
            labels.contains(label).then_some(value)
        })?;
        Some(series.parse().unwrap())
    }

    /// Mirror writes and failures, as the metrics have them.
    pub(crate) fn mirror_writes(&self) -> (f64, f64) {
        let writes = self.metric("cortex_multikv_mirror_writes_total", "");
        let errors = self.metric("cortex_multikv_mirror_write_errors_total", "");
        let status = self.store.status().mirror;
        assert_eq!(writes, Some(status.writes_total as f64));
        assert_eq!(errors, Some(status.write_errors_total as f64));
        (writes.unwrap(), errors.unwrap())
    }

    /// Keys that wait or are in progress, according to the metric.
    pub(crate) fn pending(&self) -> usize {
        let pending = self.store.status().mirror.pending_keys;
        let metric = self.metric("cortex_multikv_mirror_pending_keys", "");
        assert_eq!(metric, Some(pending as f64));
        pending
    }

    /// Leaves mirroring as it is.
    pub(crate) async fn switch_to(&self, primary: &str) {
        let wanted = Override {
            primary: Some(primary.to_owned()),
            mirror_enabled: Some(self.store.status().mirror_enabled),
        };
        assert!(soon(self.store.apply(&wanted)).await.unwrap());
        assert_eq!(self.store.primary(), primary);
    }

    pub(crate) async fn set_mirroring(&self, mirror_enabled: bool) {
        let wanted = Override {
            primary: Some(self.store.primary().to_owned()),
            mirror_enabled: Some(mirror_enabled),
        };
        assert!(soon(self.store.apply(&wanted)).await.unwrap());
    }

    pub(crate) async fn until_mirrored(&self) {
        until("all is mirrored", async || {
            self.store.status().mirror.pending_keys == 0
        })
        .await;
    }

    pub(crate) async fn until_complete(&self) {
        until("the backfill is complete", async || {
            self.store.status().backfill.state == BackfillState::Complete
        })
        .await;
    }

    pub(crate) async fn put(&self, key: &str, value: u64) {
        put(&self.store, key, value).await;
    }
}

pub(crate) async fn put(store: &dyn Store<Max>, key: &str, value: u64) {
    let mut update = |_: Option<&Max>| CasUpdate::Put(Max(value));
    let outcome = store.cas(key, &mut update).await.unwrap();
    assert_eq!(outcome, CasOutcome::Stored(Max(value)));
}

/// Waits for what must come.
pub(crate) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(300);
    tokio::time::timeout(limit, coming).await.unwrap()
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(300), "not: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Long enough for everything that a multi store does of its own accord.
pub(crate) async fn a_while() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Whether it took this long, except for the few milliseconds by which timers are late.
pub(crate) fn took(since: Instant, seconds: f64) -> bool {
    let took = since.elapsed().as_secs_f64();
    (seconds..seconds + 0.1).contains(&took)
}

/// The next event, such as `Put a/1 7`.
pub(crate) async fn event(watch: &mut WatchStream<Max>) -> String {
    match soon(watch.next()).await.unwrap() {
        WatchEvent::Put(key, Max(value)) => format!("Put {key} {value}"),
        WatchEvent::Deleted(key) => format!("Deleted {key}"),
        WatchEvent::Undecodable(key, error) => panic!("{key}: {error}"),
        WatchEvent::Synced => "Synced".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The events up to `Synced`, in the order of their text.
pub(crate) async fn picture(watch: &mut WatchStream<Max>) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        match event(watch).await {
            synced if synced == "Synced" => break,
            event => events.push(event),
        }
    }
    events.sort();
    events
}
