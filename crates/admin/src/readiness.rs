//! Readiness: whether this instance may get traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use distributor_config::StoreKind;
use ha_tracker::{HaTracker, ReplicaDesc};
use kv_memberlist::Inspector;
use kv_multi::MultiStore;

/// The components that readiness depends on.
pub struct Readiness {
    tracker: Option<Arc<HaTracker>>,
    gossip: Option<Inspector>,
    multi: Option<MultiStore<ReplicaDesc>>,
    draining: AtomicBool,
}

impl Readiness {
    /// For an instance with these components.
    pub fn new(
        tracker: Option<Arc<HaTracker>>,
        gossip: Option<Inspector>,
        multi: Option<MultiStore<ReplicaDesc>>,
    ) -> Self {
        Self {
            tracker,
            gossip,
            multi,
            draining: AtomicBool::new(false),
        }
    }

    /// From now on it is not ready, because it is shutting down.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Why this instance should get no traffic; empty if it may.
    pub fn not_ready_because(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("shutting down".to_owned());
        }
        if self
            .tracker
            .as_ref()
            .is_some_and(|tracker| !tracker.is_ready())
        {
            reasons.push("the HA tracker has not read its store yet".to_owned());
        }
        // As a secondary, gossip does not delay readiness.
        let decides = self
            .multi
            .as_ref()
            .is_none_or(|multi| multi.primary() == StoreKind::Memberlist.as_str());
        if let Some(waiting) = self.gossip.as_ref().and_then(Inspector::waiting_for)
            && decides
        {
            reasons.push(format!("memberlist: {waiting}"));
        }
        reasons
    }
}
