//! The settings, and the rules about them.

use std::path::PathBuf;
use std::time::Duration;

use settings::{Kind, Report, Secret, SecretUrl, settings};

use crate::address::Address;
use crate::config_error::ConfigError;

settings! {
    /// How to reach etcd, and how often to try. Names and defaults are those of dskit's `etcd.*`.
    ///
    /// This crate does not read the files of TLS: [`open`](crate::open) takes the TLS configuration
    /// made from them.
    #[serde(deny_unknown_fields)]
    pub struct EtcdConfig {
        /// Members of the cluster, each as host:port or a URL.
        #[setting(flag = "endpoints", kind = Kind::List, default = "", basic)]
        pub endpoints: Vec<SecretUrl>,
        /// How long connecting and each attempt of a call may take; a call with its retries takes at
        /// most twice as long.
        #[setting(flag = "dial-timeout", kind = Kind::Duration, default = "10s", nonzero)]
        pub dial_timeout: Duration,
        /// Most attempts of a call.
        #[setting(flag = "max-retries", kind = Kind::Unsigned, default = "10")]
        pub max_retries: u64,
        /// Connect with TLS.
        #[setting(flag = "tls-enabled", kind = Kind::Bool, default = "false")]
        pub tls_enabled: bool,
        /// PEM file with the client certificate chain.
        #[setting(flag = "tls-cert-path", kind = Kind::Path, default = "")]
        pub tls_cert_path: Option<PathBuf>,
        /// PEM file with the client's private key.
        #[setting(flag = "tls-key-path", kind = Kind::Path, default = "")]
        pub tls_key_path: Option<PathBuf>,
        /// PEM file with the CA certificates to trust instead of the system's.
        #[setting(flag = "tls-ca-path", kind = Kind::Path, default = "")]
        pub tls_ca_path: Option<PathBuf>,
        /// Name to verify in the certificate instead of the endpoint's host.
        #[setting(flag = "tls-server-name", kind = Kind::Text, default = "")]
        pub tls_server_name: Option<String>,
        /// Accept any certificate.
        #[setting(flag = "tls-insecure-skip-verify", kind = Kind::Bool, default = "false")]
        pub tls_insecure_skip_verify: bool,
        /// User, if etcd has authentication on.
        #[setting(flag = "username", kind = Kind::Text, default = "")]
        pub username: String,
        /// Password of the user.
        #[setting(flag = "password", kind = Kind::Text, default = "", secret)]
        pub password: Option<Secret>,
    }
}

impl EtcdConfig {
    /// These members and the defaults.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(SecretUrl::new).collect(),
            ..Self::default()
        }
    }

    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        if self.password.is_some() && self.username.is_empty() {
            let (password, username) = (report.path("password"), report.path("username"));
            report.warn(format!("{password} has no effect without {username}"));
        }
        let files = [
            ("tls_cert_path", self.tls_cert_path.is_some()),
            ("tls_key_path", self.tls_key_path.is_some()),
            ("tls_ca_path", self.tls_ca_path.is_some()),
        ];
        if self.tls_enabled {
            report.pair(files[0], files[1]);
        } else if let Some((set, _)) = files.iter().find(|(_, is_set)| *is_set) {
            let (set, tls_enabled) = (report.path(set), report.path("tls_enabled"));
            report.warn(format!("{set} has no effect while {tls_enabled} is false"));
        }
        if report.accepted(&["endpoints", "dial_timeout", "tls_enabled"])
            && let Err(error) = self.addresses()
        {
            report.unusable(error.to_string());
        }
    }

    /// The addresses of the members, at least one.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>, ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoints);
        }
        if self.dial_timeout.is_zero() {
            return Err(ConfigError::NoTimeout);
        }
        let endpoints = self.endpoints.iter().map(SecretUrl::expose);
        endpoints
            .map(|endpoint| Address::parse(endpoint, self.tls_enabled))
            .collect()
    }

    /// User and password, if there is a user.
    pub(crate) fn credentials(&self) -> Option<(String, Secret)> {
        let password = || self.password.clone().unwrap_or_default();
        (!self.username.is_empty()).then(|| (self.username.clone(), password()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_lack_endpoints_only() {
        let mut report = Report::default();
        EtcdConfig::default().check(&mut report);
        let mistakes = report.into_result().unwrap_err().to_string();
        assert_eq!(mistakes, ConfigError::NoEndpoints.to_string());
        let mut report = Report::default();
        EtcdConfig::new(["etcd:2379"]).check(&mut report);
        assert_eq!(report.into_result(), Ok(()));
    }

    #[test]
    fn the_password_is_not_printed() {
        let config = EtcdConfig {
            username: "mimir".to_owned(),
            password: Some(Secret::new("hush")),
            ..EtcdConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(
            shown.contains("mimir") && !shown.contains("hush"),
            "{shown}"
        );
    }
}
