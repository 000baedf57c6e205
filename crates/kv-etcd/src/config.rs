//! The settings, and what can be wrong with them.

use std::fmt;
use std::time::Duration;

/// How to reach etcd, and how hard to try.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The members: `host:port`, `http://host:port` or `https://host:port`; at least one. Without a
    /// scheme it is `https` if [`EtcdConfig::tls`] is set, else `http`.
    pub endpoints: Vec<String>,
    /// Bound of connecting and of each attempt of a call; a whole call may take twice as long. More
    /// than zero. Default: 10 seconds.
    pub dial_timeout: Duration,
    /// Attempts of one call, the first included; 0 counts as 1. Default: 10.
    pub max_retries: u32,
    /// Encrypts the connections, verifies the members and presents a client certificate as it says,
    /// except for ALPN, which is always HTTP/2. Default: none, plain TCP.
    pub tls: Option<rustls::ClientConfig>,
    /// Who logs in. Default: nobody; etcd has authentication off or knows us by our certificate.
    pub credentials: Option<Credentials>,
}

impl EtcdConfig {
    /// These members and the defaults.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            dial_timeout: Duration::from_secs(10),
            max_retries: 10,
            tls: None,
            credentials: None,
        }
    }
}

/// A user of etcd. The password does not show in `Debug`.
#[derive(Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why no store can work with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The list of endpoints is empty.
    #[error("etcd has no endpoints; name at least one member as host:port")]
    NoEndpoints,
    /// No time-out at all would let no call succeed.
    #[error("the dial time-out of etcd is zero; give a duration, such as 10s")]
    NoTimeout,
    /// Not the address of a member.
    #[error("etcd endpoint {endpoint:?}: {problem}; write it as host:port")]
    BadEndpoint {
        /// The endpoint as it was given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `http://`, but TLS is on.
    #[error(
        "etcd endpoint {endpoint:?} is plain http, but TLS is enabled; write https:// or no scheme, or disable TLS"
    )]
    PlainWithTls {
        /// The endpoint as it was given.
        endpoint: String,
    },
    /// `https://`, but TLS is off.
    #[error(
        "etcd endpoint {endpoint:?} is https, but TLS is not enabled; enable it, or write http:// or no scheme"
    )]
    TlsNotEnabled {
        /// The endpoint as it was given.
        endpoint: String,
    },
}
