//! What the push path is told: plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Bounds of the push path, over all tenants.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestConfig {
    /// Largest body of a push request, compressed and decoded each, bytes.
    pub max_recv_msg_size: u64,
    /// How long one request may wait for the tracker and the downstreams.
    pub remote_timeout: Duration,
    /// Push requests in flight; 0 = no limit.
    pub max_inflight_push_requests: u64,
    /// Memory that push requests in flight hold, bytes; 0 = no limit, `None` is derived from the
    /// memory that the process may use.
    pub max_inflight_push_requests_bytes: Option<u64>,
    /// Samples per second; 0 = no limit.
    pub max_ingestion_rate: f64,
}

/// What one tenant may, and which labels its HA pairs have. Borrowed for one request, since it may
/// change at any time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TenantLimits<'a> {
    /// Deduplicate the tenant's samples.
    pub accept_ha_samples: bool,
    /// Label that names the cluster.
    pub ha_cluster_label: &'a str,
    /// Label that names the replica.
    pub ha_replica_label: &'a str,
    /// Samples per second; 0 = no limit.
    pub ingestion_rate: f64,
    /// Samples that may come at once; 0 = the samples of one second.
    pub ingestion_burst_size: u64,
}

impl Default for TenantLimits<'_> {
    /// Nothing is deduplicated, nothing is limited. The labels are those of Prometheus's documentation.
    fn default() -> Self {
        Self {
            accept_ha_samples: false,
            ha_cluster_label: "cluster",
            ha_replica_label: "__replica__",
            ingestion_rate: 0.0,
            ingestion_burst_size: 0,
        }
    }
}

/// One downstream. It holds credentials, so it cannot be printed.
#[derive(Clone)]
pub struct DownstreamConfig {
    /// Label of this downstream in metrics and logs; no two have the same.
    pub name: String,
    /// http or https, with the path; perhaps with user and password.
    pub url: String,
    /// At most this long per request; also bounded by [`IngestConfig::remote_timeout`].
    pub remote_timeout: Duration,
    /// Added to every request. Values may be credentials.
    pub headers: BTreeMap<String, String>,
    /// Header that carries the tenant; empty = not sent.
    pub tenant_header: String,
    /// How requests are authenticated.
    pub credentials: Credentials,
    /// TLS, which is used with https.
    pub tls: rustls::ClientConfig,
    /// Requests in flight to this downstream; more wait within the timeout. At least 1.
    pub max_concurrency: u64,
}

/// The `Authorization` header of requests to a downstream.
#[derive(Clone)]
pub enum Credentials {
    /// Nothing, or what the URL or other headers have.
    None,
    /// HTTP basic authentication.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
    /// A file with a bearer token, read again when what is known of it is some seconds old.
    BearerFile(PathBuf),
}
