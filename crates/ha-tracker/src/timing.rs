//! How often clusters are polled, and how long calls and failovers may take: from a tenant's limits
//! to durations.

use std::sync::Arc;
use std::time::Duration;

use crate::atomic_time::AtomicTime;
use crate::clock::saturating_ms;
use crate::election::Timeouts;
use crate::failover::Rules;
use crate::limits::TenantLimits;

/// A cluster is polled this many times per update timeout. More often than once, so that a failover
/// happens soon after it is due; polling costs no I/O.
const POLLS_PER_UPDATE_TIMEOUT: u32 = 5;
/// Bounds of the time between two polls.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(20);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two polls while there is no cluster.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The timeout of one compare-and-swap is the update timeout, but no less than this: a call that
/// hangs must not keep other clusters from being refreshed.
const MIN_CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to write all entries that are due.
const TIME_TO_WRITE: Duration = Duration::from_secs(1);

/// The limits of the tenants, and this tracker's place in the range of the jitter.
pub(crate) struct Timing {
    limits: Arc<dyn TenantLimits>,
    jitter: f64,
    /// When this process last refused a request that it had not read.
    refused_unread: AtomicTime,
}

impl Timing {
    /// `jitter` in [-1, 1); `None` draws one.
    pub(crate) fn new(limits: Arc<dyn TenantLimits>, jitter: Option<f64>) -> Self {
        Self {
            limits,
            jitter: jitter.unwrap_or_else(|| rand::random_range(-1.0..1.0)),
            refused_unread: AtomicTime::new(None),
        }
    }

    /// What the election rule compares with.
    pub(crate) fn timeouts(&self, tenant: &str) -> Timeouts {
        self.limits.ha_limits(tenant).timeouts(self.jitter)
    }

    /// What decides whether the elected replica of a cluster of this tenant is overdue.
    pub(crate) fn rules(&self, tenant: &str) -> Rules {
        let limits = self.limits.ha_limits(tenant);
        Rules {
            timeouts: limits.timeouts(self.jitter),
            back_off_ms: saturating_ms(limits.sender_backoff),
            refused_unread_ms: self.refused_unread.get(),
        }
    }

    /// A request was refused before it was known whose it was.
    pub(crate) fn refused_unread(&self, now_ms: i64) {
        self.refused_unread.set_if_changed(Some(now_ms));
    }

    /// Most clusters of a tenant; `None` = no limit.
    pub(crate) fn max_clusters(&self, tenant: &str) -> Option<u64> {
        Some(self.limits.ha_limits(tenant).max_clusters).filter(|most| *most > 0)
    }

    /// Time between two polls of clusters of this tenant, at most.
    pub(crate) fn poll_interval(&self, tenant: &str) -> Duration {
        let update_timeout = self.limits.ha_limits(tenant).update_timeout;
        (update_timeout / POLLS_PER_UPDATE_TIMEOUT).clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL)
    }

    /// Time between two polls of the clusters of all these tenants.
    pub(crate) fn shortest_poll_interval(&self, tenants: &[impl AsRef<str>]) -> Duration {
        let intervals = tenants.iter().map(|name| self.poll_interval(name.as_ref()));
        intervals.min().unwrap_or(IDLE_POLL_INTERVAL)
    }

    /// How long one write for a known cluster may take.
    pub(crate) fn call_timeout(&self, tenant: &str) -> Duration {
        let limits = self.limits.ha_limits(tenant);
        limits.update_timeout.max(MIN_CALL_TIMEOUT)
    }

    /// Time in which every tracker that sees an elected replica refreshes its entry after the store
    /// is back: a hanging call ends, the next poll comes, all due entries are written.
    pub(crate) fn refresh_time(&self, tenant: &str) -> Duration {
        let limits = self.limits.ha_limits(tenant);
        self.call_timeout(tenant)
            .saturating_add(limits.update_timeout_jitter_max)
            .saturating_add(limits.update_timeout / POLLS_PER_UPDATE_TIMEOUT)
            .saturating_add(TIME_TO_WRITE)
    }
}
