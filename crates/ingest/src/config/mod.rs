//! Settings of the push path and of what a tenant may push.

mod downstream;

use std::time::Duration;

use remote_write::{Decides, HaLabelNames, HaRule};
use settings::{Kind, Report, settings, words};

use crate::fleet::Fleet;

use crate::retry_after::RetryAfterHeader;

pub use downstream::{BasicAuth, ClientTls, DownstreamConfig, RESERVED_HEADERS};

settings! {
    /// The push path.
    pub struct IngestConfig {
        /// Largest push request, compressed and decoded each.
        #[setting(flag = "max-recv-msg-size", kind = Kind::Size, default = "100MiB", nonzero)]
        pub max_recv_msg_size: u64,
        /// How long a push request may wait for the downstream.
        #[setting(flag = "remote-timeout", kind = Kind::Duration, default = "20s", nonzero)]
        pub remote_timeout: Duration,
        /// Read a push request whose Content-Type is not remote write's as remote write 1.0, as Mimir
        /// does. When false, it is answered with 415, as the specification has it.
        #[setting(flag = "accept-unknown-content-types", kind = Kind::Bool, default = "true")]
        pub accept_unknown_content_types: bool;
        /// Limits of this instance, over all tenants. 0 = off.
        pub instance_limits: InstanceLimits = InstanceLimits::default(),
        /// What senders are told about when to try again.
        pub retry_after_header: RetryAfterHeader = RetryAfterHeader::default(),
        /// Where accepted samples go. All must answer success.
        pub downstream: Vec<DownstreamConfig> = Vec::new(),
    }
}

impl IngestConfig {
    /// The rules about the values. Each downstream has its own
    /// ([`DownstreamConfig::check`]).
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
    }
}

settings! {
    /// Limits of one instance, over all tenants.
    #[serde(deny_unknown_fields)]
    pub struct InstanceLimits {
        /// Push requests that this instance handles at once; more are refused. 0 for no limit.
        #[setting(flag = "max-inflight-push-requests", kind = Kind::Unsigned, default = "2000")]
        pub max_inflight_push_requests: u64,
        /// Memory that all push requests of this instance may use: compressed and decoded bodies,
        /// and data that waits for the downstream. auto is half of the memory that the process may
        /// use (its control group's limit, or else the machine's memory), at most 2 GiB. 0 for no
        /// limit.
        #[setting(
            flag = "max-inflight-push-requests-bytes",
            kind = Kind::SizeOrAuto,
            default = "auto"
        )]
        pub max_inflight_push_requests_bytes: Option<u64>,
        /// Samples, exemplars and metadata per second of this instance, over all tenants. 0 for no
        /// limit.
        #[setting(flag = "max-ingestion-rate", kind = Kind::Float, default = "0")]
        pub max_ingestion_rate: f64,
    }
}

settings! {
    /// What one tenant may push, and which labels its HA pairs have.
    pub struct PushLimits {
        /// Deduplicate the samples of this tenant; needs the HA tracker to be enabled.
        #[setting(
            flag = "ha-tracker.enable-for-all-users",
            kind = Kind::Bool,
            default = "false",
            basic
        )]
        pub accept_ha_samples: bool,
        /// Label that names the HA cluster of a series.
        #[setting(
            flag = "ha-tracker.cluster",
            kind = Kind::Text,
            default = "cluster",
            basic,
            nonzero
        )]
        pub ha_cluster_label: String,
        /// Label that names the replica of a series; removed from what is accepted.
        #[setting(
            flag = "ha-tracker.replica",
            kind = Kind::Text,
            default = "__replica__",
            basic,
            nonzero
        )]
        pub ha_replica_label: String,
        /// Judge each series of a push request by its own cluster and replica. When false, the
        /// first series decides for the whole request, as in Mimir and Cortex. Set it to true if
        /// one request can have samples of several replicas or clusters.
        #[setting(flag = "ha-tracker.per-sample-dedupe", kind = Kind::Bool, default = "false")]
        pub ha_tracker_per_sample_dedupe: bool,
        /// Samples, exemplars and metadata per second of the tenant. 0 for no limit.
        #[setting(flag = "ingestion-rate-limit", kind = Kind::Float, default = "0")]
        pub ingestion_rate: f64,
        /// Scope of ingestion_rate. global: the whole fleet; each instance allows its share if it
        /// knows the number of instances (by gossip), and the whole rate otherwise. local: each
        /// instance.
        #[setting(
            flag = "ingestion-rate-limit-strategy",
            kind = Kind::OneOf(RateStrategy::WORDS),
            default = "global"
        )]
        pub ingestion_rate_strategy: RateStrategy,
        /// Samples, exemplars and metadata of the tenant that an instance accepts at once when
        /// ingestion_rate is set. 0 for the amount of one second.
        #[setting(flag = "ingestion-burst-size", kind = Kind::Unsigned, default = "0")]
        pub ingestion_burst_size: u64,
    }
}

words! {
    /// `limits.ingestion_rate_strategy`.
    pub enum RateStrategy {
        /// The fleet's.
        Global = "global",
        /// Each instance's.
        Local = "local",
    }
}

impl PushLimits {
    /// Among how many instances `ingestion_rate` is shared.
    pub(crate) fn rate_shares(&self, fleet: &Fleet) -> usize {
        match self.ingestion_rate_strategy {
            RateStrategy::Global => fleet.instances().unwrap_or(1),
            RateStrategy::Local => 1,
        }
    }

    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        let labels = ["ha_replica_label", "ha_cluster_label"];
        if self.ha_cluster_label == self.ha_replica_label && report.accepted(&labels) {
            let problem = format!(
                "got {:?}, which is also ha_cluster_label{}; they must be different labels",
                self.ha_replica_label,
                report.set_at("ha_cluster_label")
            );
            report.bad_together(&labels, problem);
        }
    }

    /// How HA series are recognised; `None` if they are as any others.
    pub(crate) fn ha_rule(&self) -> Option<HaRule<'_>> {
        let names = HaLabelNames {
            cluster: &self.ha_cluster_label,
            replica: &self.ha_replica_label,
        };
        let decides = match self.ha_tracker_per_sample_dedupe {
            true => Decides::EachSeries,
            false => Decides::FirstSeries,
        };
        self.accept_ha_samples.then(|| names.rule(decides))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_the_rules() {
        let mut report = Report::default();
        IngestConfig::default().check(&mut report);
        PushLimits::default().check(&mut report);
        assert_eq!(report.into_result(), Ok(()));
    }

    #[test]
    fn a_rate_of_the_fleet_is_shared_by_those_that_are_known() {
        let mut limits = PushLimits::default();
        let fleet = Fleet::default();
        assert_eq!(limits.rate_shares(&fleet), 1);
        fleet.set(3);
        assert_eq!(limits.rate_shares(&fleet), 3);
        limits.ingestion_rate_strategy = RateStrategy::Local;
        assert_eq!(limits.rate_shares(&fleet), 1);
    }

    #[test]
    fn one_label_cannot_be_both() {
        let mut report = Report::default();
        let limits = PushLimits {
            ha_cluster_label: "__replica__".to_owned(),
            ..PushLimits::default()
        };
        limits.check(&mut report);
        assert_eq!(
            report.into_result().unwrap_err().to_string(),
            "ha_replica_label: got \"__replica__\", which is also ha_cluster_label; they must be \
             different labels"
        );
    }
}
