//! The key-value store contract over etcd v3.
//!
//! `open` gives an `EtcdStore`. It talks to one member at a time, and to the next once that one
//! fails. Nothing is sent before the first call: a store can be opened while etcd is down, and each
//! call and each watch connects by itself.
//!
//! Keys and values are in etcd as dskit writes them, so that processes of Mimir and Cortex can share
//! them: the raw key, and the bytes of the codec.
//!
//! Without the feature `client`, which is on by default, this crate is its settings only.

#![cfg_attr(
    not(feature = "client"),
    allow(
        dead_code,
        reason = "rules of addresses are checked, and nothing connects to them"
    )
)]

mod address;
#[cfg(feature = "client")]
mod bytes;
mod config;
#[cfg(feature = "client")]
mod connector;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod members;
#[cfg(feature = "client")]
mod open;
#[cfg(feature = "client")]
mod range;
#[cfg(feature = "client")]
mod survey;
#[cfg(feature = "client")]
mod updates;
#[cfg(feature = "client")]
mod watch;

#[cfg(feature = "client")]
pub use bytes::EtcdBytes;
pub use config::{ConfigError, EtcdConfig};
#[cfg(feature = "client")]
pub use open::{EtcdStore, open};
