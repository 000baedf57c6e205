//! Counts refused packets, and logs some of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use kv_core::{LogThrottle, lock};
use tokio::time::Instant;

use crate::link::foreign::Foreigner;
use crate::metrics::Metrics;
use crate::seal::refusal::Refusal;

/// Records refused packets. Clones share the state of the log.
#[derive(Clone)]
pub(crate) struct Refusals {
    metrics: Metrics,
    /// One for each reason.
    throttles: Arc<HashMap<&'static str, LogThrottle>>,
    last_foreigner: Arc<Mutex<Option<Foreigner>>>,
}

impl Refusals {
    pub(crate) fn new(metrics: Metrics) -> Self {
        let reasons = Refusal::ALL.map(Refusal::reason).into_iter();
        Self {
            metrics,
            throttles: Arc::new(reasons.map(|it| (it, LogThrottle::default())).collect()),
            last_foreigner: Arc::default(),
        }
    }

    /// What spoke another protocol last.
    pub(crate) fn last_foreigner(&self) -> Option<Foreigner> {
        *lock(&self.last_foreigner)
    }

    /// Counts a refused packet, and logs one of each reason from time to time. `from` is the source
    /// according to the network, not the address in the packet.
    pub(crate) fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        let reason = refusal.reason();
        self.metrics.refuse(reason);
        if let Refusal::NotOurs(protocol) = refusal {
            self.metrics.foreign(protocol);
            let at = Instant::now();
            *lock(&self.last_foreigner) = Some(Foreigner { protocol, from, at });
        }
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
