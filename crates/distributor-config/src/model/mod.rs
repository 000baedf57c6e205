//! The typed configuration: the structs of the crates that are configured, in those of the program.
//! Names follow Mimir's YAML.

mod downstream;
mod kvstore;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use ha_tracker::HaLimits;
use kv_memberlist::MemberlistConfig;
use settings::{Kind, settings};

pub use downstream::{BasicAuth, ClientTls, DownstreamConfig};
pub use kvstore::{KvStoreConfig, MultiSettings, StoreKind};
pub use server::{ClientAuth, LogFormat, LogLevel, ServerConfig, ServerTls};

settings! {
    /// The whole configuration of one distributor process.
    #[serde(deny_unknown_fields)]
    pub struct Config {
        /// Take the tenant of a request from its X-Scope-OrgID header. When false, every request
        /// belongs to no_auth_tenant.
        #[setting(flag = "auth.multitenancy-enabled", kind = Kind::Bool, default = "true", basic)]
        pub multitenancy_enabled: bool,
        /// Tenant of every request when multitenancy is off.
        #[setting(flag = "auth.no-auth-tenant", kind = Kind::Text, default = "anonymous", nonzero)]
        pub no_auth_tenant: String;
        /// Listeners, TLS, shutdown, logs.
        pub server: ServerConfig = ServerConfig::default(),
        /// Push path, HA tracker, downstream.
        pub distributor: DistributorConfig = DistributorConfig::default(),
        /// Default limits of every tenant; the runtime configuration overrides them.
        pub limits: Limits = Limits::default(),
        /// Where the per-tenant overrides come from.
        pub runtime_config: RuntimeConfigSource = RuntimeConfigSource::default(),
        /// Gossip; of use when it is the tracker's store.
        pub memberlist: MemberlistConfig = MemberlistConfig::default(),
    }
}

settings! {
    /// `distributor.*`.
    #[serde(deny_unknown_fields)]
    pub struct DistributorConfig {
        /// Largest push request, compressed and decoded each.
        #[setting(
            flag = "distributor.max-recv-msg-size",
            kind = Kind::Size,
            default = "100MiB",
            nonzero
        )]
        pub max_recv_msg_size: u64,
        /// How long a push request may wait for the downstream.
        #[setting(
            flag = "distributor.remote-timeout",
            kind = Kind::Duration,
            default = "20s",
            nonzero
        )]
        pub remote_timeout: Duration;
        /// The HA tracker and its store.
        pub ha_tracker: HaTrackerConfig = HaTrackerConfig::default(),
        /// Limits of this instance, over all tenants. 0 = off.
        pub instance_limits: InstanceLimits = InstanceLimits::default(),
        /// Where accepted samples go. All must answer success.
        pub downstream: Vec<DownstreamConfig> = Vec::new(),
    }
}

settings! {
    /// `distributor.instance_limits.*`; 0 is off.
    #[serde(deny_unknown_fields)]
    pub struct InstanceLimits {
        /// Push requests that this instance handles at once; more are refused. 0 for no limit.
        #[setting(
            flag = "distributor.instance-limits.max-inflight-push-requests",
            kind = Kind::Unsigned,
            default = "2000"
        )]
        pub max_inflight_push_requests: u64,
        /// Memory that push requests may hold on this instance, over all of them: compressed and
        /// decoded bodies, and what waits for the downstream. auto is half of what the process may
        /// use (its control group's limit, or else the machine's memory), at most 2 GiB. 0 for no
        /// limit.
        #[setting(
            flag = "distributor.instance-limits.max-inflight-push-requests-bytes",
            kind = Kind::SizeOrAuto,
            default = "auto"
        )]
        pub max_inflight_push_requests_bytes: Option<u64>,
        /// Samples per second of this instance, over all tenants. 0 for no limit.
        #[setting(
            flag = "distributor.instance-limits.max-ingestion-rate",
            kind = Kind::Float,
            default = "0"
        )]
        pub max_ingestion_rate: f64,
    }
}

settings! {
    /// `distributor.ha_tracker.*`.
    #[serde(deny_unknown_fields)]
    pub struct HaTrackerConfig {
        /// Deduplicate the samples of HA pairs, for the tenants whose accept_ha_samples is true.
        #[setting(
            flag = "distributor.ha-tracker.enable",
            kind = Kind::Bool,
            default = "false",
            basic
        )]
        pub enable_ha_tracker: bool,
        /// Expose cortex_ha_tracker_elected_replica_status, with the elected replica as a label.
        #[setting(
            flag = "distributor.ha-tracker.enable-elected-replica-metric",
            kind = Kind::Bool,
            default = "false"
        )]
        pub enable_elected_replica_metric: bool;
        /// Where elections live.
        pub kvstore: KvStoreConfig = KvStoreConfig::default(),
    }
}

settings! {
    /// `limits.*`: the settings that a tenant can have of its own.
    pub struct Limits {
        /// Deduplicate the samples of this tenant; needs the HA tracker to be enabled.
        #[setting(
            flag = "distributor.ha-tracker.enable-for-all-users",
            kind = Kind::Bool,
            default = "false",
            basic
        )]
        pub accept_ha_samples: bool,
        /// Label that names the HA cluster of a series.
        #[setting(
            flag = "distributor.ha-tracker.cluster",
            kind = Kind::Text,
            default = "cluster",
            basic,
            nonzero
        )]
        pub ha_cluster_label: String,
        /// Label that names the replica of a series; removed from what is accepted.
        #[setting(
            flag = "distributor.ha-tracker.replica",
            kind = Kind::Text,
            default = "__replica__",
            basic,
            nonzero
        )]
        pub ha_replica_label: String,
        /// Samples per second of the tenant, at each instance. 0 for no limit.
        #[setting(flag = "distributor.ingestion-rate-limit", kind = Kind::Float, default = "0")]
        pub ingestion_rate: f64,
        /// Samples of the tenant that may come at once when ingestion_rate is set. 0 for the
        /// samples of one second.
        #[setting(flag = "distributor.ingestion-burst-size", kind = Kind::Unsigned, default = "0")]
        pub ingestion_burst_size: u64;
        /// How the tracker elects.
        #[serde(flatten)]
        pub elections: HaLimits = HaLimits::default(),
    }
}

settings! {
    /// `runtime_config.*`.
    #[serde(deny_unknown_fields)]
    pub struct RuntimeConfigSource {
        /// YAML files with per-tenant overrides of the limits, read again when they change; later
        /// files win.
        #[setting(
            name = "file",
            flag = "runtime-config.file",
            kind = Kind::List,
            default = "",
            basic
        )]
        pub files: Vec<PathBuf>,
        /// How often to look whether the runtime configuration changed.
        #[setting(
            flag = "runtime-config.reload-period",
            kind = Kind::Duration,
            default = "10s",
            nonzero
        )]
        pub period: Duration,
    }
}
