//! The options of a tracker.

use std::time::Duration;

use settings::{Kind, settings};

use crate::clock::Clock;

settings! {
    /// Options of a tracker, besides its store and its limits.
    pub struct TrackerConfig {
        /// Expose cortex_ha_tracker_elected_replica_status, with the elected replica as a label.
        #[setting(
            name = "enable_elected_replica_metric",
            flag = "enable-elected-replica-metric",
            kind = Kind::Bool,
            default = "false"
        )]
        pub elected_replica_metric: bool,
        /// Expose cortex_ha_tracker_replica_*: when each replica was seen, how often it sends, its clock
        /// and its last refusal; at most five replicas of a cluster, with the replica as a label.
        #[setting(
            name = "enable_replica_metrics",
            flag = "enable-replica-metrics",
            kind = Kind::Bool,
            default = "false"
        )]
        pub replica_metrics: bool,
        /// Allow handing an election over by hand: POST /distributor/ha_tracker/handover, HandOver over
        /// gRPC, and a button on the HA tracker's page. All who reach these ports may use it.
        #[setting(
            name = "enable_handover",
            flag = "enable-handover",
            kind = Kind::Bool,
            default = "false"
        )]
        pub handover: bool;
        /// Mean time between two clean-ups; each is 20 % earlier or later. Default 30 min.
        #[serde(skip)]
        pub cleanup_interval: Duration = Duration::from_secs(30 * 60),
        /// An entry not refreshed for this long is marked for deletion, and deleted this long
        /// after that. Default 30 min.
        #[serde(skip)]
        pub cleanup_age: Duration = Duration::from_secs(30 * 60),
        /// Time source of the background tasks.
        #[serde(skip)]
        pub clock: Clock = Clock::System,
        /// Position in the jitter range of the update timeout, in [-1, 1); `None` draws one.
        #[serde(skip)]
        pub jitter: Option<f64> = None,
    }
}
