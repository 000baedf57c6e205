//! The one place that turns configuration into a store.

use std::sync::Arc;

use ha_tracker::ReplicaDesc;
use kv_core::{InMemoryStore, KvMetrics, MetricsStore, PrefixStore, Store, StoreRole};
use prometheus_client::registry::Registry;

use crate::config::{KvStoreConfig, StoreKind};

/// The `kv_name` label of the tracker's store.
const KV_NAME: &str = "distributor-hatracker";

/// The configured backend.
pub(crate) fn backend(config: &KvStoreConfig) -> Arc<dyn Store<ReplicaDesc>> {
    match config.store {
        StoreKind::Inmemory => Arc::new(InMemoryStore::default()),
    }
}

/// The tracker's view of a backend: keys below the prefix, every call measured.
pub(crate) fn decorate(
    backend: Arc<dyn Store<ReplicaDesc>>,
    prefix: &str,
    registry: &mut Registry,
) -> Arc<dyn Store<ReplicaDesc>> {
    let metrics = KvMetrics::register(registry);
    let measured = MetricsStore::new(backend, metrics, StoreRole::Primary, KV_NAME);
    Arc::new(PrefixStore::new(Arc::new(measured), prefix))
}
