//! The parts that pages show.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use distributor_config::{Config, TenantLimits};
use ha_tracker::{HaTracker, ReplicaDesc};
use kv_memberlist::Inspector;
use kv_multi::MultiStore;

use crate::exposition::Exposition;
use crate::health::Health;
use crate::readiness::Readiness;

/// All parts that pages show, for [`router`](crate::router), which gives each page its own.
pub struct Admin {
    /// The configuration in effect.
    pub config: Arc<Config>,
    /// The runtime configuration in effect.
    pub limits: TenantLimits,
    /// Elections; `None` if the HA tracker is off.
    pub tracker: Option<Arc<HaTracker>>,
    /// Gossip; `None` if it is not used.
    pub gossip: Option<Inspector>,
    /// The multi store; `None` with another store.
    pub multi: Option<MultiKv>,
    /// Whether this instance may get traffic.
    pub readiness: Arc<Readiness>,
    /// What needs attention.
    pub health: Arc<Health>,
    /// All metrics.
    pub exposition: Exposition,
    /// Of this process.
    pub build: Build,
}

/// Which build this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// The revision that it is built from.
    pub revision: &'static str,
}

/// The multi store, and what became of what overrides its configuration.
#[derive(Clone)]
pub struct MultiKv {
    /// The store.
    pub store: MultiStore<ReplicaDesc>,
    /// Why the override that the runtime configuration has now is not in effect; empty if it is.
    pub refused: Arc<ArcSwapOption<String>>,
}
