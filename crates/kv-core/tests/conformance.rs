//! The conformance suite against this crate's own store and decorators.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use kv_core::conformance::{Backend, Counter, calls_can_be_dropped, run};
use kv_core::{
    CasOutcome, InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreError, StoreRole,
    UpdateFn, WatchStream,
};

#[derive(Default)]
struct InMemory(InMemoryStore<Counter>);

#[async_trait]
impl Backend for InMemory {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    run(&InMemory::default()).await;
}

struct Decorated(InMemoryStore<Counter>, KvMetrics);

#[async_trait]
impl Backend for Decorated {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        let prefixed = PrefixStore::new(Arc::new(self.0.clone()), "ha-tracker/");
        let metrics = self.1.clone();
        Arc::new(MetricsStore::new(
            Arc::new(prefixed),
            metrics,
            StoreRole::Primary,
            "test",
        ))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decorated() {
    let metrics = KvMetrics::register(&mut prometheus_client::registry::Registry::default());
    run(&Decorated(InMemoryStore::default(), metrics)).await;
}

/// Leaves a task behind with each compare-and-swap.
struct Leaky(InMemoryStore<Counter>);

#[async_trait]
impl Store<Counter> for Leaky {
    fn name(&self) -> &'static str {
        "leaky"
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.list(prefix).await
    }

    async fn get(&self, key: &str) -> Result<Option<Counter>, StoreError> {
        self.0.get(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key).await
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, Counter>,
    ) -> Result<CasOutcome<Counter>, StoreError> {
        tokio::spawn(std::future::pending::<()>());
        self.0.cas(key, update).await
    }

    fn watch_key(&self, key: &str) -> WatchStream<Counter> {
        self.0.watch_key(key)
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<Counter> {
        self.0.watch_prefix(prefix)
    }
}

#[async_trait]
impl Backend for Leaky {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(Self(self.0.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_are_left_behind_are_noticed() {
    let ended = tokio::spawn(async {
        calls_can_be_dropped(&Leaky(InMemoryStore::default())).await;
    });
    let panic = ended.await.unwrap_err().into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("tasks are alive after"), "{text}");
}
