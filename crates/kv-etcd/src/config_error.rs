//! What can be wrong with a configuration.

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The list of endpoints is empty.
    #[error("etcd has no endpoints; name at least one member as host:port")]
    NoEndpoints,
    /// With a timeout of zero no call could succeed.
    #[error("the dial timeout of etcd is zero; give a duration, such as 10s")]
    NoTimeout,
    /// TLS is enabled but not configured.
    #[error("TLS is enabled for etcd, but not set up")]
    NoTls,
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
