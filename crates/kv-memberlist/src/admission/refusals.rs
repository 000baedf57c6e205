//! Counts what is refused, and logs some of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::seal::packet::Refusal;

/// How often a refused packet of one reason is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Whoever refuses packets tells this. Clones share what was logged last.
#[derive(Clone)]
pub(crate) struct Refusals {
    metrics: Metrics,
    logged: Arc<Mutex<HashMap<&'static str, Instant>>>,
}

impl Refusals {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            logged: Arc::default(),
        }
    }

    /// Counts a refused packet, and logs one of each reason from time to time. `from` is the other
    /// end as the network says it, not as the packet does.
    pub(crate) fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        let reason = refusal.reason();
        self.metrics.refuse(reason);
        if self.is_to_be_logged(reason) {
            tracing::warn!(
                %from,
                reason,
                "a gossip packet was refused: {refusal}; others of this kind are counted in \
                 memberlist_client_refused_packets_total"
            );
        }
    }

    fn is_to_be_logged(&self, reason: &'static str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = logged
            .get(reason)
            .is_some_and(|last| last.elapsed() < LOG_EVERY);
        if !quiet {
            logged.insert(reason, Instant::now());
        }
        !quiet
    }
}
