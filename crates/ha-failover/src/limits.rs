//! Settings of a tenant and of the process, and what follows from them.

use std::time::Duration;

use ha_tracker::{HaLimits, SendInterval};
use settings::{Kind, Report, settings, words};

use crate::Settings;

/// Between the time after which the elected replica is late and the failover timeout.
const MARGIN: Duration = Duration::from_secs(2);
/// What is taken for the interval of a replica that is not known well: Prometheus's default, and the
/// longest that is usual.
const UNKNOWN_INTERVAL: Duration = Duration::from_secs(60);
/// How long a request is held beyond twice the failover timeout.
const HOLD_MARGIN: Duration = Duration::from_secs(15);

settings! {
    /// How a tenant's clusters fail over.
    #[derive(Copy, Eq)]
    pub struct FailoverLimits {
        /// classic: samples of the replica that is not elected are dropped, and a failover loses what
        /// was sent until it. lossless: they are held until the elected replica has sent as much, and a
        /// failover continues where the elected one ended. Same for all distributors of a fleet.
        #[setting(
            name = "ha_failover_mode",
            flag = "failover-mode",
            kind = Kind::OneOf(FailoverMode::WORDS),
            default = "classic"
        )]
        pub mode: FailoverMode,
        /// In lossless mode, the first sample of a new elected replica is later than the last one of
        /// its predecessor by more than this. At least the difference between the replicas' clocks and
        /// the duration of a scrape together.
        #[setting(
            name = "ha_failover_guard",
            flag = "failover-guard",
            kind = Kind::Duration,
            default = "1s"
        )]
        pub guard: Duration,
        /// In lossless mode, what distributors hold is forwarded in slices of sample time of this
        /// length, one after another. Shorter than the shortest scrape interval.
        #[setting(
            name = "ha_failover_slice",
            flag = "failover-slice",
            kind = Kind::Duration,
            default = "4s",
            nonzero
        )]
        pub slice: Duration,
        /// In lossless mode, bytes of compressed requests that an instance holds of the tenant.
        #[setting(
            name = "ha_failover_hold_bytes",
            flag = "failover-hold-bytes",
            kind = Kind::Size,
            default = "128MiB"
        )]
        pub hold_bytes: u64,
    }
}

words! {
    /// `limits.ha_failover_mode`.
    pub enum FailoverMode {
        /// What is sent while no replica is elected is lost.
        Classic = "classic",
        /// What is sent while no replica is elected is held.
        Lossless = "lossless",
    }
}

settings! {
    /// Bounds of an instance.
    #[derive(Copy, Eq)]
    pub struct FailoverConfig {
        /// Bytes of compressed requests of all tenants that this instance holds for failovers without
        /// loss.
        #[setting(
            name = "max_hold_bytes",
            flag = "max-hold-bytes",
            kind = Kind::Size,
            default = "512MiB"
        )]
        pub max_hold_bytes: u64,
    }
}

impl FailoverConfig {
    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
    }
}

impl FailoverLimits {
    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
    }

    /// The rules of a cluster, for the tracker's timeouts of the tenant. `interval`: how often the
    /// elected replica sends, if it is known. `settle`: see [`Settings::settle_ms`].
    pub fn settings(
        &self,
        elections: &HaLimits,
        interval: Option<SendInterval>,
        settle: Duration,
    ) -> Settings {
        let usual = Settings::default();
        let interval_ms = interval.map_or(0, |interval| saturating_ms(interval.usual));
        let refreshed = elections.update_timeout + elections.update_timeout_jitter_max;
        // Less where the timeouts are short.
        let margin = MARGIN.min(elections.failover_timeout / 4);
        let before_failover = elections.failover_timeout.saturating_sub(margin);
        let late_ms = saturating_ms((refreshed + margin).min(before_failover))
            // Not by its own measure.
            .max(interval_ms.saturating_mul(2));
        let failover_ms =
            saturating_ms(elections.failover_timeout).max(interval_ms.saturating_mul(5) / 2);
        Settings {
            guard_ms: saturating_ms(self.guard),
            slice_ms: saturating_ms(self.slice),
            settle_ms: saturating_ms(settle),
            late_after_ms: late_ms,
            // A distributor that sees the elected replica refreshes its entry until it is overdue
            // there; only then the time of the others begins.
            hold_ms: failover_ms
                .saturating_mul(2)
                .saturating_add(saturating_ms(HOLD_MARGIN)),
            backoff_ms: saturating_ms(elections.sender_backoff),
            // Not less than what is certainly shorter than a scrape interval.
            interval_ms: match interval {
                Some(interval) if interval.is_established => interval_ms,
                _ => saturating_ms(UNKNOWN_INTERVAL).max(interval_ms),
            }
            .max(saturating_ms(self.slice)),
            hold_bytes: self.hold_bytes,
            ..usual
        }
    }
}

pub(crate) fn saturating_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Why a store's settings do not allow for lossless mode; `None` if they do.
pub fn refusal(prefix: &str) -> Option<String> {
    records_prefix(prefix).is_none().then(|| {
        format!(
            "ha_failover_mode: lossless keeps records beside the elections, which needs a prefix that \
             ends with '/': kvstore.prefix is {prefix:?}; set it to \"ha-tracker/\", in every \
             distributor of the fleet"
        )
    })
}

/// The prefix of the records, for the elections' prefix: beside it, so that programs that read the
/// elections do not see them. `None` if there is none.
pub fn records_prefix(prefix: &str) -> Option<String> {
    let name = prefix.strip_suffix('/').filter(|name| !name.is_empty())?;
    (!name.ends_with('/')).then(|| [name, "-failover/"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stand_beside_the_elections() {
        let prefix = |of: &str| records_prefix(of);
        assert_eq!(
            prefix("ha-tracker/").as_deref(),
            Some("ha-tracker-failover/")
        );
        assert_eq!(prefix("a/b/").as_deref(), Some("a/b-failover/"));
        for bad in ["", "/", "ha-tracker", "a//"] {
            assert_eq!(prefix(bad), None, "{bad:?}");
            assert!(refusal(bad).is_some());
        }
        assert_eq!(refusal("ha-tracker/"), None);
    }

    #[test]
    fn an_elected_replica_is_late_before_the_failover_and_after_a_refresh() {
        let limits = FailoverLimits::default();
        let elections = HaLimits::default();
        let usual = limits.settings(&elections, None, Duration::ZERO);
        assert_eq!((usual.late_after_ms, usual.hold_ms), (22_000, 75_000));
        assert_eq!(usual.backoff_ms, 90_000);
        let each = |seconds, is_established| {
            let interval = SendInterval {
                usual: Duration::from_secs(seconds),
                is_established,
            };
            limits.settings(&elections, Some(interval), Duration::from_secs(1))
        };
        let slow = each(60, false);
        assert_eq!((slow.late_after_ms, slow.hold_ms), (120_000, 315_000));
        assert_eq!((slow.interval_ms, slow.settle_ms), (60_000, 1_000));
        // What is known for a minute is known; shards that send all the time are scraped as rarely as
        // others.
        assert_eq!(usual.interval_ms, 60_000);
        assert_eq!(each(5, false).interval_ms, 60_000);
        assert_eq!(each(5, true).interval_ms, 5_000);
        assert_eq!(each(0, true).interval_ms, 4_000);
    }
}
