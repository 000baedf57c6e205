//! Settings of one downstream.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use settings::{Kind, Report, Secret, SecretUrl, settings};
use tls_files::{ClientFiles, ReloadingClient, TlsError};
use url::Url;

/// Headers that the protocol fixes: [`DownstreamConfig::headers`] cannot have them.
pub const RESERVED_HEADERS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "x-prometheus-remote-write-version",
];

settings! {
    /// One downstream: a remote-write endpoint that accepted samples are sent to.
    #[serde(deny_unknown_fields)]
    pub struct DownstreamConfig {
        /// Label in metrics and logs, different for each; empty for host and port of the URL.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub name: String,
        /// Remote-write endpoint, http or https, with its path; required.
        #[setting(flag = "", kind = Kind::Url, default = "")]
        pub url: SecretUrl,
        /// How long one request may take; distributor.remote_timeout bounds it too.
        #[setting(flag = "", kind = Kind::Duration, default = "20s", nonzero)]
        pub remote_timeout: Duration,
        /// Headers added to every request.
        #[setting(flag = "", kind = Kind::Headers, default = "", secret)]
        pub headers: BTreeMap<String, Secret>,
        /// Header that carries the tenant; empty to send none.
        #[setting(flag = "", kind = Kind::HeaderName, default = "X-Scope-OrgID")]
        pub tenant_header: String,
        /// Bearer token of every request.
        #[setting(flag = "", kind = Kind::Text, default = "", secret)]
        pub bearer_token: Option<Secret>,
        /// File with the bearer token, read again when it changes.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub bearer_token_file: Option<PathBuf>,
        /// Requests in flight to this downstream; more wait, within the timeout.
        #[setting(flag = "", kind = Kind::Unsigned, default = "256", nonzero)]
        pub max_concurrency: u64;
        /// HTTP basic authentication.
        #[serde(with = "optional_basic_auth")]
        pub basic_auth: Option<BasicAuth> = None,
        /// TLS to the downstream.
        pub tls: ClientTls = ClientTls::default(),
    }
}

settings! {
    /// HTTP basic authentication of a downstream.
    #[serde(deny_unknown_fields)]
    pub struct BasicAuth {
        /// User of HTTP basic authentication.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub username: String,
        /// Password of HTTP basic authentication.
        #[setting(flag = "", kind = Kind::Text, default = "", secret)]
        pub password: Secret,
        /// File with the password, read again when it changes.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub password_file: Option<PathBuf>,
    }
}

settings! {
    /// TLS to a downstream.
    #[serde(deny_unknown_fields)]
    pub struct ClientTls {
        /// PEM file with the CA certificates to trust instead of the system's.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub ca_file: Option<PathBuf>,
        /// PEM file with the client certificate chain.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub cert_file: Option<PathBuf>,
        /// PEM file with the client's private key.
        #[setting(flag = "", kind = Kind::Path, default = "")]
        pub key_file: Option<PathBuf>,
        /// Name to verify in the certificate instead of the URL's host.
        #[setting(flag = "", kind = Kind::Text, default = "")]
        pub server_name: Option<String>,
        /// Accept any certificate.
        #[setting(flag = "", kind = Kind::Bool, default = "false")]
        pub insecure_skip_verify: bool,
    }
}

impl ClientTls {
    /// Reads the files.
    pub(crate) fn client_config(
        &self,
    ) -> Result<(Arc<ReloadingClient>, rustls::ClientConfig), TlsError> {
        ReloadingClient::new(&ClientFiles {
            ca_file: self.ca_file.as_deref(),
            cert_file: self.cert_file.as_deref(),
            key_file: self.key_file.as_deref(),
            server_name: self.server_name.as_deref(),
            accepts_any: self.insecure_skip_verify,
        })
    }
}

impl DownstreamConfig {
    /// What it is called in metrics and logs: its name, or else host and port of its URL. Empty if
    /// it has neither.
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let host_and_port = Url::parse(self.url.expose()).ok().and_then(|url| {
            let port = url.port_or_known_default()?;
            Some(format!("{}:{port}", url.host_str()?))
        });
        host_and_port.unwrap_or_default()
    }

    /// The rules about the values. That the files exist is found out by
    /// [`Downstreams::new`](crate::Downstreams::new).
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        if self.url.expose().is_empty() {
            report.missing("url", "missing; every downstream needs a url");
        }
        if let Some(basic) = &self.basic_auth
            && basic.username.is_empty()
        {
            let problem = "missing; basic_auth needs a username";
            report.missing("basic_auth.username", problem);
        }
        if let Some(basic) = &self.basic_auth
            && basic.password_file.is_some()
            && !basic.password.is_empty()
        {
            let problem = "is set beside basic_auth.password; remove one of them";
            report.bad("basic_auth.password_file", problem);
        }
        self.check_credentials(report);
        report.pair(
            ("tls.cert_file", self.tls.cert_file.is_some()),
            ("tls.key_file", self.tls.key_file.is_some()),
        );
    }

    /// Only one of them can be the Authorization header.
    fn check_credentials(&self, report: &mut Report<'_>) {
        let mut headers = self.headers.keys();
        let in_url = Url::parse(self.url.expose())
            .is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
        let ways = [
            ("basic_auth.username", self.basic_auth.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
            (
                "headers",
                headers.any(|name| name.eq_ignore_ascii_case("authorization")),
            ),
            ("url", in_url),
        ];
        let used: Vec<&str> = ways.iter().filter(|way| way.1).map(|way| way.0).collect();
        if let [_, .., last] = used.as_slice() {
            let problem = format!(
                "several kinds of authentication are set ({}); keep one of them",
                used.join(", ")
            );
            report.bad(last, problem);
        }
    }
}

/// Empty names where there is no authentication.
mod optional_basic_auth {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::BasicAuth;

    pub(super) fn serialize<S: Serializer>(
        auth: &Option<BasicAuth>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        auth.clone().unwrap_or_default().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BasicAuth>, D::Error> {
        let auth = BasicAuth::deserialize(deserializer)?;
        Ok(Some(auth).filter(|auth| *auth != BasicAuth::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(config: &DownstreamConfig) -> String {
        let mut report = Report::default();
        config.check(&mut report);
        report
            .into_result()
            .map_or_else(|mistakes| mistakes.to_string(), |()| String::new())
    }

    #[test]
    fn the_label_is_the_name_or_the_address() {
        let mut config = DownstreamConfig {
            url: SecretUrl::new("https://user:p@mimir.example.com/push"),
            ..DownstreamConfig::default()
        };
        assert_eq!(config.label(), "mimir.example.com:443");
        config.name = "main".to_owned();
        assert_eq!(config.label(), "main");
        assert_eq!(DownstreamConfig::default().label(), "");
    }

    #[test]
    fn rules_are_told_without_an_application() {
        let config = DownstreamConfig {
            url: SecretUrl::new("http://user:p@a/"),
            basic_auth: Some(BasicAuth {
                password: Secret::new("p"),
                ..BasicAuth::default()
            }),
            tls: ClientTls {
                key_file: Some("key".into()),
                ..ClientTls::default()
            },
            max_concurrency: 0,
            ..DownstreamConfig::default()
        };
        assert_eq!(
            mistakes(&config),
            "max_concurrency: must be a whole number from 1; \
             basic_auth.username: missing; basic_auth needs a username; \
             url: several kinds of authentication are set (basic_auth.username, url); keep one \
             of them; tls.key_file: is set without tls.cert_file; set both"
        );
        assert_eq!(
            mistakes(&DownstreamConfig::default()),
            "url: missing; every downstream needs a url"
        );
    }
}
