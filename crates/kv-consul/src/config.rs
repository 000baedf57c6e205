//! Settings of a Consul agent, and their mistakes.

use std::time::Duration;

use http::HeaderValue;
use settings::{Kind, Report, Secret, SecretUrl, redact_userinfo, settings};
use url::Url;

settings! {
    /// How to reach Consul. Names, defaults and meaning are those of dskit's `consul.*`.
    ///
    /// A blocking query of a watch may take its waiting time (10 s) in addition to
    /// `http_client_timeout`.
    #[serde(deny_unknown_fields)]
    pub struct ConsulConfig {
        /// Host and port of the agent; https:// in front selects TLS.
        #[setting(
            flag = "hostname",
            kind = Kind::Text,
            default = "localhost:8500",
            basic,
            nonzero
        )]
        pub host: SecretUrl,
        /// ACL token; it must allow key:write below the prefix.
        #[setting(flag = "acl-token", kind = Kind::Text, default = "", secret)]
        pub acl_token: Option<Secret>,
        /// How long a call may take, its retries included.
        #[setting(flag = "client-timeout", kind = Kind::Duration, default = "20s", nonzero)]
        pub http_client_timeout: Duration,
        /// Have a quorum of servers confirm every answer. When false, watches may be answered by
        /// any server, and the reads of a compare-and-swap by the leader.
        #[setting(flag = "consistent-reads", kind = Kind::Bool, default = "false")]
        pub consistent_reads: bool,
        /// Most queries of the watch per second; each reads all keys. 0 for no limit.
        #[setting(flag = "watch-rate-limit", kind = Kind::Float, default = "1")]
        pub watch_rate_limit: f64,
        /// Queries that the watch may send at once before watch_rate_limit applies.
        #[setting(flag = "watch-burst-size", kind = Kind::Unsigned, default = "1")]
        pub watch_burst_size: u64,
        /// Pause before a compare-and-swap that lost against another one is tried again; it varies
        /// randomly by half.
        #[setting(flag = "cas-retry-delay", kind = Kind::Duration, default = "1s")]
        pub cas_retry_delay: Duration,
    }
}

/// Why a store cannot be made as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not the address of an agent.
    #[error("host: got {host:?}; must be host:port, or http://host:port, or https://host:port")]
    Host {
        /// What was configured.
        host: String,
    },
    /// TLS is needed but not configured.
    #[error("host: {host:?} needs TLS, which is not configured")]
    NoTls {
        /// What was configured.
        host: String,
    },
    /// A header cannot contain the token.
    #[error("acl_token: it has characters that an HTTP header cannot contain")]
    Token,
    /// The watch could never send a query.
    #[error("watch_burst_size: must be at least 1 while watch_rate_limit is set")]
    NoBurst,
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be set up.
    #[cfg(feature = "client")]
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl ConsulConfig {
    /// The agent at this address, `host:port` or a URL, and the defaults.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: SecretUrl::new(host),
            ..Self::default()
        }
    }

    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        if report.accepted(&["watch_rate_limit", "watch_burst_size"])
            && let Err(error) = self.burst()
        {
            report.unusable(error.to_string());
        }
        if report.accepted(&["host"])
            && let Err(error) = self.base()
        {
            report.unusable(error.to_string());
        }
        if let Err(error) = self.token() {
            report.unusable(error.to_string());
        }
    }

    /// Whether the connection to the agent uses TLS.
    pub fn has_tls(&self) -> bool {
        self.host.expose().starts_with("https://")
    }

    /// Queries that may be sent at once.
    pub(crate) fn burst(&self) -> Result<u32, ConfigError> {
        if self.watch_rate_limit > 0.0 && self.watch_burst_size == 0 {
            return Err(ConfigError::NoBurst);
        }
        Ok(u32::try_from(self.watch_burst_size).unwrap_or(u32::MAX))
    }

    /// The agent's URL, with the path `/`.
    pub(crate) fn base(&self) -> Result<Url, ConfigError> {
        let host = self.host.expose();
        let wrong = || ConfigError::Host {
            host: redact_userinfo(host),
        };
        let text = if host.contains("://") {
            host.to_owned()
        } else {
            format!("http://{host}")
        };
        let url = Url::parse(&text).map_err(|_| wrong())?;
        let plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong());
        }
        Ok(url)
    }

    /// The header that carries the token, if there is one.
    pub(crate) fn token(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let Some(token) = self.acl_token.as_ref().filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let mut value = HeaderValue::from_str(token.expose()).map_err(|_| ConfigError::Token)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_and_nothing_more() {
        let base = |host: &str| {
            let config = ConsulConfig {
                host: SecretUrl::new(host),
                ..ConsulConfig::default()
            };
            config.base().map(String::from)
        };
        assert_eq!(base("localhost:8500").unwrap(), "http://localhost:8500/");
        assert_eq!(base("http://[::1]:8500/").unwrap(), "http://[::1]:8500/");
        for wrong in [
            "",
            "ftp://consul",
            "consul:8500/v1",
            "user:hush@consul",
            "a b",
        ] {
            let error = base(wrong).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
            assert!(
                matches!(error, ConfigError::Host { .. }),
                "{wrong}: {error}"
            );
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn https_needs_tls() {
        let config = ConsulConfig {
            host: SecretUrl::new("https://consul:8501"),
            ..ConsulConfig::default()
        };
        let error = crate::ConsulBytes::new(&config, None).err().unwrap();
        assert!(matches!(error, ConfigError::NoTls { .. }), "{error}");
    }

    #[test]
    fn the_defaults_keep_the_rules() {
        let mut report = Report::default();
        ConsulConfig::default().check(&mut report);
        assert_eq!(report.into_result(), Ok(()));
    }

    #[test]
    fn the_token_is_not_printed() {
        let config = ConsulConfig {
            acl_token: Some(Secret::new("hush")),
            ..ConsulConfig::default()
        };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
