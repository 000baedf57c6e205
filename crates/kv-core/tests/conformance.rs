//! The conformance suite against this crate's own store and decorators.

use std::sync::Arc;

use async_trait::async_trait;
use kv_core::conformance::{Backend, Counter, run};
use kv_core::{InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreRole};

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
