//! Settings of a tenant, and the rules about them.

use std::time::Duration;

use settings::{Kind, Report, format_duration, settings};

use crate::election::Timeouts;

const UPDATE_TIMEOUT: &str = "ha_tracker_update_timeout";
const JITTER_MAX: &str = "ha_tracker_update_timeout_jitter_max";
const FAILOVER_TIMEOUT: &str = "ha_tracker_failover_timeout";
/// The failover timeout must exceed the times of an update by this much: for a write, and for
/// clocks that differ.
const MARGIN: Duration = Duration::from_secs(1);

settings! {
    /// The tracker's settings of one tenant.
    #[derive(Copy, Eq)]
    pub struct HaLimits {
        /// HA clusters that the tenant may have. 0 for no limit.
        #[setting(
            name = "ha_max_clusters",
            flag = "max-clusters",
            kind = Kind::Unsigned,
            default = "100"
        )]
        pub max_clusters: u64,
        /// An election younger than this is not written to the store again.
        #[setting(
            name = "ha_tracker_update_timeout",
            flag = "update-timeout",
            kind = Kind::Duration,
            default = "15s",
            nonzero
        )]
        pub update_timeout: Duration,
        /// The update timeout is shifted by a random time of up to this much, either way, so that
        /// distributors do not write at once.
        #[setting(
            name = "ha_tracker_update_timeout_jitter_max",
            flag = "update-timeout-jitter-max",
            kind = Kind::Duration,
            default = "5s"
        )]
        pub update_timeout_jitter_max: Duration,
        /// Another replica is elected when the elected one was silent for this long, and for two and a
        /// half times the usual time between its requests. At least the update timeout, its jitter and
        /// 1s together.
        #[setting(
            name = "ha_tracker_failover_timeout",
            flag = "failover-timeout",
            kind = Kind::Duration,
            default = "30s"
        )]
        pub failover_timeout: Duration,
        /// Also wait until the samples of the other replica are newer than the last sample of the
        /// elected one by this much. 0 disables this condition.
        #[setting(
            name = "ha_tracker_sample_failover_timeout",
            flag = "failover-sample-timeout",
            kind = Kind::Duration,
            default = "0s"
        )]
        pub sample_failover_timeout: Duration,
        /// The elected replica may be silent for this much longer if its last request was refused with
        /// 429 or 5xx, by the distributor or by a downstream: the longest time that senders wait before
        /// they try again, and half of it for jitter. vmagent waits up to 1m. 0 disables this.
        #[setting(
            name = "ha_tracker_sender_backoff",
            flag = "sender-backoff",
            kind = Kind::Duration,
            default = "90s"
        )]
        pub sender_backoff: Duration,
    }
}

impl HaLimits {
    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        let (update, jitter) = (self.update_timeout, self.update_timeout_jitter_max);
        if jitter >= update && report.accepted(&[UPDATE_TIMEOUT, JITTER_MAX]) {
            let problem = format!(
                "got {}; must be less than {}",
                format_duration(jitter),
                report.described(UPDATE_TIMEOUT, format_duration(update))
            );
            report.bad_together(&[JITTER_MAX, UPDATE_TIMEOUT], problem);
        }
        let least = update.saturating_add(jitter).saturating_add(MARGIN);
        let concerned = [FAILOVER_TIMEOUT, UPDATE_TIMEOUT, JITTER_MAX];
        if self.failover_timeout < least && report.accepted(&concerned) {
            let problem = format!(
                "got {}; must be at least {}: the sum of {}, {} and {}s; raise it, or lower these",
                format_duration(self.failover_timeout),
                format_duration(least),
                report.described(UPDATE_TIMEOUT, format_duration(update)),
                report.described(JITTER_MAX, format_duration(jitter)),
                MARGIN.as_secs(),
            );
            report.bad_together(&concerned, problem);
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_rules() {
        let mut report = Report::default();
        HaLimits::default().check(&mut report);
        assert_eq!(report.into_result(), Ok(()));
    }
}
