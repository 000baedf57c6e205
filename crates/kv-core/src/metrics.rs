//! Request metrics of any store, as a decorator.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::{CasOutcome, Store, StoreError, UpdateFn, WatchStream};

/// The target of spans that are sent as traces; nothing else has it.
pub const TRACES: &str = "traces";

/// Which part a store plays; the `role` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreRole {
    /// The only store, or the one that is read.
    Primary,
    /// The one that is mirrored to.
    Secondary,
}

impl EncodeLabelValue for StoreRole {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let text = match self {
            StoreRole::Primary => "primary",
            StoreRole::Secondary => "secondary",
        };
        EncodeLabelValue::encode(&text, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    operation: &'static str,
    status_code: &'static str,
    r#type: &'static str,
    role: StoreRole,
    kv_name: &'static str,
}

/// `cortex_kv_request_duration_seconds`, shared by all stores of a process.
#[derive(Debug, Clone)]
pub struct KvMetrics {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl KvMetrics {
    /// Registers the histogram (seconds).
    pub fn register(registry: &mut Registry) -> Self {
        let durations =
            Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new([
                    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ])
            });
        registry.register(
            "cortex_kv_request_duration_seconds",
            "Time spent on key-value store requests",
            durations.clone(),
        );
        Self { durations }
    }
}

/// Measures every call of the store inside. A watch is measured when it ends, as in dskit.
pub struct MetricsStore<V> {
    inner: Arc<dyn Store<V>>,
    observer: Observer,
}

#[derive(Clone)]
struct Observer {
    metrics: KvMetrics,
    store: &'static str,
    role: StoreRole,
    kv_name: &'static str,
}

impl Observer {
    fn observe(&self, operation: &'static str, succeeded: bool, took: Duration) {
        let labels = Labels {
            operation,
            status_code: if succeeded { "200" } else { "500" },
            r#type: self.store,
            role: self.role,
            kv_name: self.kv_name,
        };
        self.metrics
            .durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}

impl Observer {
    /// Of a call that a request waits for: calls of background tasks are no part of any trace.
    fn span(&self, operation: &'static str) -> Span {
        if Span::current().is_disabled() {
            return Span::none();
        }
        tracing::trace_span!(
            target: TRACES,
            "store",
            otel.kind = "client",
            db.system.name = self.store,
            db.operation.name = operation,
        )
    }
}

impl<V: Send + 'static> MetricsStore<V> {
    /// Measures `inner`. `kv_name` names the user of the store, such as `distributor-hatracker`.
    pub fn new(
        inner: Arc<dyn Store<V>>,
        metrics: KvMetrics,
        role: StoreRole,
        kv_name: &'static str,
    ) -> Self {
        let store = inner.name();
        Self {
            inner,
            observer: Observer {
                metrics,
                store,
                role,
                kv_name,
            },
        }
    }

    async fn measured<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // A cancelled call did not succeed.
        let mut measure = MeasureOnDrop {
            observer: Some(self.observer.clone()),
            operation,
            start: Instant::now(),
            succeeded: false,
        };
        let result = call.instrument(self.observer.span(operation)).await;
        match result {
            // The update function aborted; the store worked.
            Ok(_) | Err(StoreError::Aborted { .. }) => measure.succeeded = true,
            // The store was not called.
            Err(StoreError::InvalidKey { .. }) => measure.observer = None,
            Err(_) => {}
        }
        result
    }

    fn measured_stream(&self, operation: &'static str, events: WatchStream<V>) -> WatchStream<V> {
        let measure = MeasureOnDrop {
            observer: Some(self.observer.clone()),
            operation,
            start: Instant::now(),
            succeeded: true,
        };
        Box::pin(events.inspect(move |_| {
            // Moved into the stream, so that it is dropped with it.
            let _ = &measure;
        }))
    }
}

struct MeasureOnDrop {
    observer: Option<Observer>,
    operation: &'static str,
    start: Instant,
    succeeded: bool,
}

impl Drop for MeasureOnDrop {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer.observe(self.operation, self.succeeded, self.start.elapsed());
        }
    }
}

#[async_trait]
impl<V: Send + 'static> Store<V> for MetricsStore<V> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.measured("List", self.inner.list(prefix)).await
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.measured("GET", self.inner.get(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.measured("Delete", self.inner.delete(key)).await
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        self.measured("CAS", self.inner.cas(key, update)).await
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        self.measured_stream("WatchKey", self.inner.watch_key(key))
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        self.measured_stream("WatchPrefix", self.inner.watch_prefix(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CasUpdate, InMemoryStore};

    #[tokio::test(start_paused = true)]
    async fn every_operation_is_counted_under_its_name() {
        let mut registry = Registry::default();
        let metrics = KvMetrics::register(&mut registry);
        let inner = Arc::new(InMemoryStore::<u32>::default());
        let store = MetricsStore::new(inner, metrics, StoreRole::Primary, "distributor-hatracker");
        store.list("").await.unwrap();
        store.get("k").await.unwrap();
        store.cas("k", &mut |_| CasUpdate::Put(1)).await.unwrap();
        store
            .cas("k", &mut |_| CasUpdate::Abort("no".into()))
            .await
            .unwrap_err();
        store.delete("k").await.unwrap();
        drop(store.watch_key("k"));
        drop(store.watch_prefix(""));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let mut counts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("cortex_kv_request_duration_seconds_count"))
            .collect();
        counts.sort_unstable();
        let rest =
            r#"status_code="200",type="inmemory",role="primary",kv_name="distributor-hatracker"}"#;
        let expected = [
            ("CAS", 2),
            ("Delete", 1),
            ("GET", 1),
            ("List", 1),
            ("WatchKey", 1),
            ("WatchPrefix", 1),
        ]
        .map(|(operation, count)| format!(r#"{{operation="{operation}",{rest} {count}"#));
        assert_eq!(counts, expected);
    }
}
