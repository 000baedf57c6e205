//! What a tenant may set for itself.

use std::time::Duration;

use crate::election::Timeouts;

/// The tracker's settings of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HaLimits {
    /// Most clusters; 0 = no limit.
    pub max_clusters: u64,
    /// An entry younger than this is not written again. Default 15 s.
    pub update_timeout: Duration,
    /// Each tracker shifts the update timeout by a random value in [-max, +max), so that a fleet
    /// does not write in step. Default 5 s.
    pub update_timeout_jitter_max: Duration,
    /// Silence of the elected replica after which another is elected. Default 30 s.
    pub failover_timeout: Duration,
    /// How far the other replica's samples must be ahead of the last recorded one besides; zero =
    /// no such condition.
    pub sample_failover_timeout: Duration,
}

impl Default for HaLimits {
    fn default() -> Self {
        Self {
            max_clusters: 100,
            update_timeout: Duration::from_secs(15),
            update_timeout_jitter_max: Duration::from_secs(5),
            failover_timeout: Duration::from_secs(30),
            sample_failover_timeout: Duration::ZERO,
        }
    }
}

impl HaLimits {
    /// The timeouts of a tracker whose jitter is `jitter`, in [-1, 1).
    pub(crate) fn timeouts(&self, jitter: f64) -> Timeouts {
        let shift = self.update_timeout_jitter_max.mul_f64(jitter.abs());
        let update = if jitter < 0.0 {
            self.update_timeout.saturating_sub(shift)
        } else {
            self.update_timeout + shift
        };
        Timeouts {
            update,
            failover: self.failover_timeout,
            sample_failover: self.sample_failover_timeout,
        }
    }
}

/// Where the tracker looks up a tenant's settings. Called off the hot path only; what it returns
/// may change from call to call.
pub trait TenantLimits: Send + Sync + 'static {
    /// The settings of this tenant.
    fn ha_limits(&self, tenant: &str) -> HaLimits;
}

impl TenantLimits for HaLimits {
    fn ha_limits(&self, _tenant: &str) -> HaLimits {
        *self
    }
}
