//! How many connections there are, with dskit's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

/// Of all listeners.
#[derive(Clone)]
pub(crate) struct ConnectionMetrics {
    open: Family<Protocol, Gauge>,
    limit: Family<Protocol, Gauge>,
}

impl ConnectionMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            open: Family::default(),
            limit: Family::default(),
        };
        registry.register(
            "cortex_tcp_connections",
            "Current number of accepted TCP connections",
            metrics.open.clone(),
        );
        registry.register(
            "cortex_tcp_connections_limit",
            "The maximum number of TCP connections that can be accepted",
            metrics.limit.clone(),
        );
        metrics
    }

    /// The gauge of a listener's connections.
    pub(super) fn of(&self, protocol: &'static str, limit: usize) -> Gauge {
        let protocol = Protocol { protocol };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.limit.get_or_create(&protocol).set(limit);
        self.open.get_or_create(&protocol).clone()
    }
}
