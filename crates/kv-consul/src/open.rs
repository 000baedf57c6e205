//! Opens a store with given settings.

use std::time::Duration;

use kv_core::{Backoff, Codec, RetryPolicy, TypedStore};
use rustls::ClientConfig;

use crate::{ConfigError, ConsulBytes, ConsulConfig};

/// Attempts of one call; dskit's number.
const ATTEMPTS: u32 = 10;
const FAILURE: Backoff = Backoff {
    first: Duration::from_millis(50),
    longest: Duration::from_secs(1),
};

/// A store of values in Consul.
pub type ConsulStore<V> = TypedStore<V, ConsulBytes>;

/// A store of `codec`'s values at the agent of `config`, with `tls` for an `https://` host. Does
/// not connect yet: a store can be opened while its agent is down.
///
/// # Errors
/// The configuration cannot work, regardless of the state of the agent.
pub fn open<V: 'static>(
    config: &ConsulConfig,
    tls: Option<ClientConfig>,
    codec: impl Codec<V>,
) -> Result<ConsulStore<V>, ConfigError> {
    let policy = RetryPolicy {
        attempts: ATTEMPTS,
        conflict: Backoff::constant(config.cas_retry_delay),
        failure: FAILURE,
        deadline: config.http_client_timeout,
    };
    let bytes = ConsulBytes::new(config, tls)?;
    Ok(TypedStore::new(bytes, codec, policy))
}
