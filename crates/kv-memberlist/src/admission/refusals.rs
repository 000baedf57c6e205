//! Counts what is refused, and logs some of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kv_core::LogThrottle;

use crate::metrics::Metrics;
use crate::seal::refusal::Refusal;

/// Told of refused packets. Clones share what was logged last.
#[derive(Clone)]
pub(crate) struct Refusals {
    metrics: Metrics,
    /// One for each reason.
    throttles: Arc<HashMap<&'static str, LogThrottle>>,
}

impl Refusals {
    pub(crate) fn new(metrics: Metrics) -> Self {
        let reasons = Refusal::ALL.map(Refusal::reason).into_iter();
        Self {
            metrics,
            throttles: Arc::new(reasons.map(|it| (it, LogThrottle::default())).collect()),
        }
    }

    /// Counts a refused packet, and logs one of each reason from time to time. `from` is the other
    /// end as the network says it, not as the packet does.
    pub(crate) fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        let reason = refusal.reason();
        self.metrics.refuse(reason);
        let throttle = self.throttles.get(reason);
        if throttle.is_some_and(|throttle| throttle.admit().is_some()) {
            tracing::warn!(
                %from,
                reason,
                "a gossip packet was refused: {refusal}; others of this kind are counted in \
                 memberlist_client_refused_packets_total"
            );
        }
    }
}
