//! `distributor.downstream`: where accepted samples go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use settings::{Secret, SecretUrl};

use crate::text;

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
