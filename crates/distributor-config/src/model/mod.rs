//! The typed configuration: the structs of the crates that are configured, in those of the program.
//! Names follow Mimir's YAML.

mod kvstore;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use ha_failover::{FailoverConfig, FailoverLimits};
use ha_tracker::{HaLimits, TrackerConfig};
use ingest::{IngestConfig, PushLimits};
use kv_memberlist::MemberlistConfig;
use serde::{Deserialize, Serialize};
use settings::{Kind, settings};

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
        pub no_auth_tenant: String,
        /// YAML file with the credentials of senders (users with passwords, bearer tokens), read again
        /// when it changes. Empty: any client that reaches the port may send samples.
        #[setting(flag = "auth.senders-credentials-file", kind = Kind::Path, default = "")]
        pub senders_credentials_file: Option<PathBuf>,
        /// YAML file with the credentials for the pages and metrics, of the same form. /ready never
        /// needs any. Empty: any client that reaches the port may read them.
        #[setting(flag = "auth.pages-credentials-file", kind = Kind::Path, default = "")]
        pub pages_credentials_file: Option<PathBuf>,
        /// Mimir's modules to run, separated by commas. This program is the distributor: the list
        /// must contain it, or a module that includes it (all, write). -modules lists the names.
        #[setting(flag = "target", kind = Kind::Text, default = "distributor", nonzero)]
        pub target: String,
        /// How long the process continues to serve requests after it was told to stop. /ready
        /// answers 503 meanwhile, so that load balancers stop sending.
        #[setting(flag = "shutdown-delay", kind = Kind::Duration, default = "0s")]
        pub shutdown_delay: Duration;
        /// Listeners, TLS, shutdown, logs.
        pub server: ServerConfig = ServerConfig::default(),
        /// Push path, HA tracker, downstream.
        pub distributor: DistributorConfig = DistributorConfig::default(),
        /// Default limits of every tenant; the runtime configuration overrides them.
        pub limits: Limits = Limits::default(),
        /// Where the per-tenant overrides come from.
        pub runtime_config: RuntimeConfigSource = RuntimeConfigSource::default(),
        /// Gossip, if it is the tracker's store.
        pub memberlist: MemberlistConfig = MemberlistConfig::default(),
    }
}

/// `distributor.*`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DistributorConfig {
    /// The HA tracker and its store.
    pub ha_tracker: HaTrackerConfig,
    /// Bounds of failovers without loss.
    pub ha_failover: FailoverConfig,
    /// The push path, its bounds and its downstreams.
    #[serde(flatten)]
    pub push: IngestConfig,
}

settings! {
    /// `distributor.ha_tracker.*`.
    pub struct HaTrackerConfig {
        /// Deduplicate the samples of HA pairs, for the tenants whose accept_ha_samples is true.
        #[setting(
            flag = "distributor.ha-tracker.enable",
            kind = Kind::Bool,
            default = "false",
            basic
        )]
        pub enable_ha_tracker: bool,
        /// Allow removing a cluster from every store by hand: DELETE /distributor/ha_tracker/forget,
        /// which distributor forget sends. Protect the port with pages_credentials_file.
        #[setting(
            flag = "distributor.ha-tracker.enable-forget",
            kind = Kind::Bool,
            default = "false"
        )]
        pub enable_forget: bool;
        /// The tracker itself.
        #[serde(flatten)]
        pub tracker: TrackerConfig = TrackerConfig::default(),
        /// The store of the elections.
        pub kvstore: KvStoreConfig = KvStoreConfig::default(),
    }
}

/// `limits.*`: the settings that a tenant can have of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Deduplication, and rate limits.
    #[serde(flatten)]
    pub push: PushLimits,
    /// How the tracker elects.
    #[serde(flatten)]
    pub elections: HaLimits,
    /// What a failover may cost.
    #[serde(flatten)]
    pub failover: FailoverLimits,
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
        /// How often to check whether the runtime configuration has changed.
        #[setting(
            flag = "runtime-config.reload-period",
            kind = Kind::Duration,
            default = "10s",
            nonzero
        )]
        pub period: Duration;
        /// `-config.strict`: an unknown name in a file refuses it, instead of being left out.
        #[serde(skip)]
        pub strict: bool = false,
    }
}
