//! The parts that pages show.

use std::sync::Arc;

use distributor_config::{Config, TenantLimits};
use ha_tracker::HaTracker;
use kv_memberlist::Inspector;

use crate::exposition::Exposition;
use crate::health::Health;
use crate::multi_kv::MultiKv;
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
