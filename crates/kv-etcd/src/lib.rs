//! The key-value store contract over etcd v3.
//!
//! [`open`] gives an [`EtcdStore`]. It talks to one member at a time, and to the next once that one
//! fails. Nothing is sent before the first call: a store can be opened while etcd is down, and each
//! call and each watch connects by itself.
//!
//! Keys and values are in etcd as dskit writes them, so that processes of Mimir and Cortex can share
//! them: the raw key, and the bytes of the codec.

mod address;
mod bytes;
mod config;
mod connector;
mod error;
mod members;
mod range;
mod survey;
mod updates;
mod watch;

use std::time::Duration;

use kv_core::{Backoff, Codec, RetryPolicy, TypedStore};

pub use bytes::EtcdBytes;
pub use config::{ConfigError, Credentials, EtcdConfig};

/// A [`kv_core::Store`] whose data is in etcd.
pub type EtcdStore<V> = TypedStore<V, EtcdBytes>;

/// Pauses after a compare-and-swap that lost: a round trip to etcd takes about a millisecond.
const CONFLICT: Backoff = Backoff {
    first: Duration::from_millis(2),
    longest: Duration::from_millis(200),
};
const FAILURE: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
};

/// A store of values of `codec`. Does no I/O; must be used within a tokio runtime that has I/O and
/// time enabled, and outlives the store.
///
/// A call makes at most `max_retries` attempts (at least one), each bounded by `dial_timeout`, and
/// ends after twice the `dial_timeout` at the latest. A write whose answer was lost is not repeated,
/// since it may have had its effect.
///
/// # Errors
/// When the configuration cannot work, whatever the state of etcd.
pub fn open<V: 'static>(
    config: &EtcdConfig,
    codec: impl Codec<V>,
) -> Result<EtcdStore<V>, ConfigError> {
    let policy = RetryPolicy {
        attempts: config.max_retries.max(1),
        conflict: CONFLICT,
        failure: FAILURE,
        deadline: config.dial_timeout.saturating_mul(2),
    };
    Ok(TypedStore::new(EtcdBytes::new(config)?, codec, policy))
}
