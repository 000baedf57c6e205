//! The typed configuration of the key-value store. Names follow dskit's YAML.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::ClientTls;
use super::secret::{Secret, SecretUrl};
use super::text;

/// `distributor.ha_tracker.kvstore.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvStoreConfig {
    /// Which store.
    pub store: StoreKind,
    /// Prefix of every key, default `ha-tracker/`.
    pub prefix: String,
    /// How to reach Consul.
    pub consul: ConsulSettings,
    /// How to reach etcd.
    pub etcd: EtcdSettings,
    /// Which two stores make a multi store.
    pub multi: MultiSettings,
}

impl KvStoreConfig {
    /// The stores whose settings are used: one, or primary and secondary of a multi store, as far
    /// as they are stores.
    pub fn in_use(&self) -> Vec<StoreKind> {
        match self.store {
            StoreKind::Multi => [&self.multi.primary, &self.multi.secondary]
                .into_iter()
                .filter_map(|name| StoreKind::single(name))
                .collect(),
            single => vec![single],
        }
    }
}

/// `kvstore.store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// `consul`.
    Consul,
    /// `etcd`.
    Etcd,
    /// `inmemory`: one process only.
    Inmemory,
    /// `memberlist`: gossip, set up by [`MemberlistSettings`](super::MemberlistSettings).
    Memberlist,
    /// `multi`: two of the others, set up by [`MultiSettings`].
    Multi,
}

impl StoreKind {
    /// Those that a multi store can be made of.
    pub const SINGLE: [Self; 4] = [Self::Consul, Self::Etcd, Self::Inmemory, Self::Memberlist];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consul => "consul",
            Self::Etcd => "etcd",
            Self::Inmemory => "inmemory",
            Self::Memberlist => "memberlist",
            Self::Multi => "multi",
        }
    }

    /// The store of this name, if a multi store can be made of it.
    pub fn single(name: &str) -> Option<Self> {
        Self::SINGLE.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// `kvstore.multi.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiSettings {
    /// Name of the store that is read.
    pub primary: String,
    /// Name of the other.
    pub secondary: String,
    /// Whether the other is written to.
    pub mirror_enabled: bool,
    /// Bound of one write to the other.
    #[serde(with = "text::duration")]
    pub mirror_timeout: Duration,
}

/// `kvstore.consul.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsulSettings {
    /// `host:port` of the agent, or its URL.
    pub host: SecretUrl,
    /// ACL token.
    #[serde(with = "text::optional_secret")]
    pub acl_token: Option<Secret>,
    /// Bound of a call, its retries included.
    #[serde(with = "text::duration")]
    pub http_client_timeout: Duration,
    /// Every answer is confirmed by a quorum.
    pub consistent_reads: bool,
    /// Blocking queries per second; 0 = no limit.
    pub watch_rate_limit: f64,
    /// Blocking queries at once.
    pub watch_burst_size: u64,
    /// Mean pause after a lost compare-and-swap.
    #[serde(with = "text::duration")]
    pub cas_retry_delay: Duration,
}

/// `kvstore.etcd.*`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdSettings {
    /// Members, `host:port` or URLs.
    pub endpoints: Vec<SecretUrl>,
    /// Bound of connecting and of one attempt.
    #[serde(with = "text::duration")]
    pub dial_timeout: Duration,
    /// Attempts of a call.
    pub max_retries: u64,
    /// Connect with TLS.
    pub tls_enabled: bool,
    /// PEM client certificate chain.
    #[serde(with = "text::optional_path")]
    pub tls_cert_path: Option<PathBuf>,
    /// PEM client key.
    #[serde(with = "text::optional_path")]
    pub tls_key_path: Option<PathBuf>,
    /// PEM roots instead of the system's.
    #[serde(with = "text::optional_path")]
    pub tls_ca_path: Option<PathBuf>,
    /// Name to verify instead of the endpoint's host.
    #[serde(with = "text::optional")]
    pub tls_server_name: Option<String>,
    /// Accept any certificate.
    pub tls_insecure_skip_verify: bool,
    /// User name; empty = no authentication.
    pub username: String,
    /// Password.
    #[serde(with = "text::optional_secret")]
    pub password: Option<Secret>,
}

impl EtcdSettings {
    /// The TLS settings, if TLS is on.
    pub fn tls(&self) -> Option<ClientTls> {
        self.tls_enabled.then(|| ClientTls {
            ca_file: self.tls_ca_path.clone(),
            cert_file: self.tls_cert_path.clone(),
            key_file: self.tls_key_path.clone(),
            server_name: self.tls_server_name.clone(),
            insecure_skip_verify: self.tls_insecure_skip_verify,
        })
    }
}
