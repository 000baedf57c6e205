//! The typed configuration: the structs of the crates that are configured, in those of the program.
//! Names follow Mimir's YAML.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ha_tracker::HaLimits;
use kv_memberlist::MemberlistConfig;
use serde::{Deserialize, Serialize};
use settings::{Secret, SecretUrl};

use super::store_model::KvStoreConfig;
use super::text;

/// The whole configuration of one distributor process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Off: every request belongs to [`Config::no_auth_tenant`].
    pub multitenancy_enabled: bool,
    /// The tenant of every request when multitenancy is off.
    pub no_auth_tenant: String,
    /// Listeners, TLS, shutdown, logs.
    pub server: ServerConfig,
    /// Push path, HA tracker, downstream.
    pub distributor: DistributorConfig,
    /// Default limits of every tenant; the runtime configuration overrides them.
    pub limits: Limits,
    /// Where the per-tenant overrides come from.
    pub runtime_config: RuntimeConfigSource,
    /// Gossip; of use when it is the tracker's store.
    pub memberlist: MemberlistConfig,
}

/// `server.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Empty in YAML means all addresses.
    #[serde(with = "settings::field")]
    pub http_listen_address: Option<IpAddr>,
    /// 0 asks the kernel for a free port (its number is logged).
    pub http_listen_port: u16,
    /// Empty in YAML means all addresses.
    #[serde(with = "settings::field")]
    pub grpc_listen_address: Option<IpAddr>,
    /// 0 asks the kernel for a free port.
    pub grpc_listen_port: u16,
    /// TLS of the HTTP listener.
    pub http_tls_config: ServerTls,
    /// TLS of the gRPC listener.
    pub grpc_tls_config: ServerTls,
    /// Most connections of the HTTP listener; 0 = derived from the limit of descriptors.
    pub http_listen_conn_limit: u64,
    /// Most connections of the gRPC listener; 0 = derived from the limit of descriptors.
    pub grpc_listen_conn_limit: u64,
    /// How long an HTTP/1.1 connection may be idle.
    #[serde(with = "settings::field")]
    pub http_server_idle_timeout: Duration,
    /// How long requests in flight may take after SIGTERM.
    #[serde(with = "settings::field")]
    pub graceful_shutdown_timeout: Duration,
    /// Log level.
    pub log_level: LogLevel,
    /// Log format.
    pub log_format: LogFormat,
}

/// TLS of one listener; off when no certificate is set. Mimir's names.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// `cert_file`: PEM chain.
    #[serde(with = "settings::field")]
    pub cert_file: Option<PathBuf>,
    /// `key_file`: PEM private key.
    #[serde(with = "settings::field")]
    pub key_file: Option<PathBuf>,
    /// `client_ca_file`: PEM roots that client certificates are verified against.
    #[serde(with = "settings::field")]
    pub client_ca_file: Option<PathBuf>,
    /// `client_auth_type`.
    pub client_auth_type: ClientAuth,
}

/// `client_auth_type`, with the names of Go's crypto/tls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ClientAuth {
    /// `NoClientCert`: the default.
    #[default]
    NoClientCert,
    /// `VerifyClientCertIfGiven`.
    VerifyClientCertIfGiven,
    /// `RequireAndVerifyClientCert`: mutual TLS.
    RequireAndVerifyClientCert,
}

/// `server.log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// `debug`.
    Debug,
    /// `info`: the default.
    Info,
    /// `warn`.
    Warn,
    /// `error`.
    Error,
}

/// `server.log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `logfmt`: the default.
    Logfmt,
    /// `json`.
    Json,
}

/// `distributor.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributorConfig {
    /// The HA tracker and its store.
    pub ha_tracker: HaTrackerConfig,
    /// Largest body of a push request, compressed and decoded each, bytes.
    pub max_recv_msg_size: u64,
    /// How long one request may wait for the downstream.
    #[serde(with = "settings::field")]
    pub remote_timeout: Duration,
    /// Limits of this instance, over all tenants. 0 = off.
    pub instance_limits: InstanceLimits,
    /// Where accepted samples go. All must answer success.
    pub downstream: Vec<DownstreamConfig>,
}

/// `distributor.instance_limits.*`; 0 is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceLimits {
    /// Push requests in flight.
    pub max_inflight_push_requests: u64,
    /// Memory that push requests in flight hold, bytes; `None` is derived from the memory that the
    /// process may use.
    #[serde(with = "text::number_or_auto")]
    pub max_inflight_push_requests_bytes: Option<u64>,
    /// Samples per second.
    pub max_ingestion_rate: f64,
}

/// `distributor.ha_tracker.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaTrackerConfig {
    /// Off: every sample passes with its labels untouched.
    pub enable_ha_tracker: bool,
    /// Adds `cortex_ha_tracker_elected_replica_status`.
    pub enable_elected_replica_metric: bool,
    /// Where elections live.
    pub kvstore: KvStoreConfig,
}

/// One entry of `distributor.downstream`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownstreamConfig {
    /// Label of this downstream in metrics and logs; default: host and port of the URL.
    pub name: String,
    /// http or https, with the path.
    pub url: SecretUrl,
    /// At most this long per request; also bounded by `distributor.remote_timeout`.
    #[serde(with = "settings::field")]
    pub remote_timeout: Duration,
    /// Added to every request. Values may be credentials.
    pub headers: BTreeMap<String, Secret>,
    /// Header that carries the tenant; default `X-Scope-OrgID`, empty = not sent.
    pub tenant_header: String,
    /// HTTP basic authentication.
    #[serde(with = "text::optional_basic_auth")]
    pub basic_auth: Option<BasicAuth>,
    /// Bearer token.
    #[serde(with = "settings::field")]
    pub bearer_token: Option<Secret>,
    /// File with a bearer token, read again when it changes.
    #[serde(with = "settings::field")]
    pub bearer_token_file: Option<PathBuf>,
    /// TLS to the downstream.
    pub tls: ClientTls,
    /// Requests in flight to this downstream; more wait within the time-out.
    pub max_concurrency: u64,
}

/// `basic_auth` of a downstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// `tls` of a downstream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// PEM roots instead of the system's.
    #[serde(with = "settings::field")]
    pub ca_file: Option<PathBuf>,
    /// PEM client certificate chain.
    #[serde(with = "settings::field")]
    pub cert_file: Option<PathBuf>,
    /// PEM client key.
    #[serde(with = "settings::field")]
    pub key_file: Option<PathBuf>,
    /// Name to verify instead of the URL's host.
    #[serde(with = "settings::field")]
    pub server_name: Option<String>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// `limits.*`: the settings that a tenant can have of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Deduplicate this tenant's samples.
    pub accept_ha_samples: bool,
    /// Label that names the cluster, default `cluster`.
    pub ha_cluster_label: String,
    /// Label that names the replica, default `__replica__`.
    pub ha_replica_label: String,
    /// How the tracker elects.
    #[serde(flatten)]
    pub elections: HaLimits,
    /// Samples per second, per tenant and instance; 0 = off.
    pub ingestion_rate: f64,
    /// Samples that may come at once when `ingestion_rate` is set; 0 = the samples of one second.
    pub ingestion_burst_size: u64,
}

/// `runtime_config.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfigSource {
    /// YAML files, comma-separated; later files win.
    #[serde(rename = "file")]
    pub files: Vec<PathBuf>,
    /// How often the files are looked at.
    #[serde(with = "settings::field")]
    pub period: Duration,
}
