//! What a [`crate::ConsulStore`] is made of.

use std::fmt;
use std::time::Duration;

use kv_core::{Backoff, RetryPolicy, without_userinfo};
use url::Url;

/// Attempts of one call; dskit's number.
const ATTEMPTS: u32 = 10;

/// Settings, with the names, defaults and meaning of dskit's `consul.*`.
#[derive(Clone)]
pub struct ConsulConfig {
    /// `host:port` of the agent, default `localhost:8500`; with `https://` in front, TLS.
    pub host: String,
    /// ACL token, sent as `X-Consul-Token`.
    pub acl_token: Option<String>,
    /// Bound of every call, its retries included, default 20 s. A blocking query has its waiting
    /// time (10 s) on top.
    pub http_client_timeout: Duration,
    /// Every answer is confirmed by a quorum of Consul's servers. Default false: a watch takes any
    /// server's answer; reads, and what a CAS compares, come from the leader.
    pub consistent_reads: bool,
    /// Most blocking queries of one watch per second, default 1; 0 for no limit.
    pub watch_rate_limit: f64,
    /// Blocking queries that may follow one another at once, default 1.
    pub watch_burst_size: u32,
    /// Mean pause after a CAS that lost against another's, default 1 s; jittered by half.
    pub cas_retry_delay: Duration,
    /// TLS towards an `https://` host.
    pub tls: Option<rustls::ClientConfig>,
}

impl Default for ConsulConfig {
    fn default() -> Self {
        Self {
            host: "localhost:8500".to_owned(),
            acl_token: None,
            http_client_timeout: Duration::from_secs(20),
            consistent_reads: false,
            watch_rate_limit: 1.0,
            watch_burst_size: 1,
            cas_retry_delay: Duration::from_secs(1),
            tls: None,
        }
    }
}

/// Without the token.
impl fmt::Debug for ConsulConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulConfig")
            .field("host", &without_userinfo(&self.host))
            .field("http_client_timeout", &self.http_client_timeout)
            .field("consistent_reads", &self.consistent_reads)
            .field("watch_rate_limit", &self.watch_rate_limit)
            .field("watch_burst_size", &self.watch_burst_size)
            .field("cas_retry_delay", &self.cas_retry_delay)
            .finish_non_exhaustive()
    }
}

/// Why a store cannot be made as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No agent has this address.
    #[error("host: got {host:?}; must be host:port, or http://host:port, or https://host:port")]
    Host {
        /// What was configured.
        host: String,
    },
    /// TLS without a configuration for it.
    #[error("host: {host:?} needs TLS, which is not configured")]
    NoTls {
        /// What was configured.
        host: String,
    },
    /// A header cannot carry the token.
    #[error("acl_token: it has characters that an HTTP header cannot carry")]
    Token,
    /// The watch could never ask.
    #[error("watch_burst_size: must be at least 1 while watch_rate_limit is set")]
    NoBurst,
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

impl ConsulConfig {
    /// The agent's URL, with a path of `/` alone.
    pub(crate) fn base(&self) -> Result<Url, ConfigError> {
        let shown = || without_userinfo(&self.host).into_owned();
        let wrong = || ConfigError::Host { host: shown() };
        let text = if self.host.contains("://") {
            self.host.clone()
        } else {
            format!("http://{}", self.host)
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
        if url.scheme() == "https" && self.tls.is_none() {
            return Err(ConfigError::NoTls { host: shown() });
        }
        Ok(url)
    }

    pub(crate) fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: ATTEMPTS,
            conflict: Backoff::constant(self.cas_retry_delay),
            failure: Backoff {
                first: Duration::from_millis(50),
                longest: Duration::from_secs(1),
            },
            deadline: self.http_client_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_and_nothing_more() {
        let base = |host: &str| {
            let config = ConsulConfig {
                host: host.to_owned(),
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
        let error = base("https://consul:8501").unwrap_err();
        assert!(matches!(error, ConfigError::NoTls { .. }), "{error}");
    }

    #[test]
    fn the_token_is_not_printed() {
        let config = ConsulConfig {
            acl_token: Some("hush".to_owned()),
            ..ConsulConfig::default()
        };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
