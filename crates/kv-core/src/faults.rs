//! A store whose calls can be made to fail or to take time, for tests of what is built on stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{CasOutcome, Store, StoreError, UpdateFn, WatchStream};

/// The switches of a [`FaultyStore`].
#[derive(Debug, Default)]
pub struct Faults {
    failing: AtomicBool,
    delay_ms: AtomicU64,
    hanging: watch::Sender<bool>,
    cas_calls: AtomicU64,
}

impl Faults {
    /// From now on calls fail, or do not.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// From now on calls wait this long before they begin.
    pub fn delay(&self, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// From now on calls hang, as with a stopped server, or the hanging ones continue.
    pub fn hang(&self, hanging: bool) {
        self.hanging.send_replace(hanging);
    }

    /// Compare-and-swaps that reached the store.
    pub fn cas_calls(&self) -> u64 {
        self.cas_calls.load(Ordering::Relaxed)
    }

    async fn apply(&self, operation: &'static str, key: &str) -> Result<(), StoreError> {
        tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))).await;
        // The sender is a field of self: it cannot be gone.
        let _ = self.hanging.subscribe().wait_for(|hanging| !hanging).await;
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable {
                store: "faulty",
                operation,
                key: key.to_owned(),
                source: "switched off by the test".into(),
            });
        }
        Ok(())
    }
}

/// Forwards calls to another store, as far as its [`Faults`] allow. Watches are always forwarded.
pub struct FaultyStore<V> {
    inner: Arc<dyn Store<V>>,
    faults: Arc<Faults>,
}

impl<V> FaultyStore<V> {
    /// Puts `faults` before `inner`.
    pub fn new(inner: Arc<dyn Store<V>>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl<V: Send + 'static> Store<V> for FaultyStore<V> {
    fn name(&self) -> &'static str {
        "faulty"
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.faults.apply("List", prefix).await?;
        self.inner.list(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.faults.apply("GET", key).await?;
        self.inner.get(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.faults.apply("Delete", key).await?;
        self.inner.delete(key).await
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        self.faults.apply("CAS", key).await?;
        self.faults.cas_calls.fetch_add(1, Ordering::Relaxed);
        self.inner.cas(key, update).await
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        self.inner.watch_key(key)
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        self.inner.watch_prefix(prefix)
    }
}
