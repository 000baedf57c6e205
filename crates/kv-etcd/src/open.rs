//! Opens a store with given settings.

use std::time::Duration;

use kv_core::{Backoff, Codec, RetryPolicy, TypedStore};
use rustls::ClientConfig;

use crate::{ConfigError, EtcdBytes, EtcdConfig};

/// A [`kv_core::Store`] whose data is in etcd.
pub type EtcdStore<V> = TypedStore<V, EtcdBytes>;

/// Pauses after a compare-and-swap that lost against another writer: a round trip to etcd takes
/// about a millisecond.
const CONFLICT: Backoff = Backoff {
    first: Duration::from_millis(2),
    longest: Duration::from_millis(200),
};
const FAILURE: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
};

/// A store of values of `codec`. Does no I/O; must be used within a tokio runtime that has I/O and
/// time enabled, which must outlive the store. While `tls_enabled` is set, connections are
/// encrypted, members verified and a client certificate presented as `tls` says, except for ALPN,
/// which is always HTTP/2.
///
/// A call makes at most `max_retries` attempts (at least one), each bounded by `dial_timeout`, and
/// ends after twice the `dial_timeout` at the latest. A write whose answer was lost is not
/// repeated, since it may have taken effect.
///
/// # Errors
/// The configuration cannot work, regardless of the state of etcd.
pub fn open<V: 'static>(
    config: &EtcdConfig,
    tls: Option<ClientConfig>,
    codec: impl Codec<V>,
) -> Result<EtcdStore<V>, ConfigError> {
    let policy = RetryPolicy {
        attempts: u32::try_from(config.max_retries).unwrap_or(u32::MAX).max(1),
        conflict: CONFLICT,
        failure: FAILURE,
        deadline: config.dial_timeout.saturating_mul(2),
    };
    let bytes = EtcdBytes::new(config, tls)?;
    Ok(TypedStore::new(bytes, codec, policy))
}
