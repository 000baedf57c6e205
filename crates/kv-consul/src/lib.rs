//! The key-value store contract over Consul's KV API.
//!
//! [`ConsulStore`] speaks to a Consul agent, as dskit's client of the same name does, and can share
//! keys with it. Requests are consulrs's endpoint types; how they become bytes on the wire is this
//! crate's own (`agent`), since consulrs writes other keys than it is given.
//!
//! - **CAS** compares the key's `ModifyIndex`; what it compares is read from Consul's leader.
//! - **Watches** are blocking queries, at most `watch_rate_limit` a second. Consul answers each with
//!   everything below the prefix; what has not changed is recognised before it is decoded.
//! - **Keys** are kept byte for byte. Those that an agent would rewrite or refuse are refused here:
//!   empty segments, `.` and `..` as segments, characters that cannot be printed.

mod agent;
mod bytes;
mod config;
mod key;
mod rate;
mod snapshot;
mod watch;

pub use bytes::ConsulBytes;
pub use config::{ConfigError, ConsulConfig};
pub use key::refusal;

/// A store of values in Consul.
pub type ConsulStore<V> = kv_core::TypedStore<V, ConsulBytes>;

/// A store of `codec`'s values at the agent of `config`. Connects to nothing yet: a store can be
/// made while its agent is down.
pub fn open<V: 'static>(
    config: &ConsulConfig,
    codec: impl kv_core::Codec<V>,
) -> Result<ConsulStore<V>, ConfigError> {
    Ok(kv_core::TypedStore::new(
        ConsulBytes::new(config)?,
        codec,
        config.retry_policy(),
    ))
}
