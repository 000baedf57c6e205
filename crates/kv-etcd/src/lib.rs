//! The key-value store contract over etcd v3.
//!
//! `open` returns an `EtcdStore`. It uses one member at a time, and changes to the next one when
//! that fails. Nothing is sent before the first call: a store can be opened while etcd is down, and
//! each call and each watch connects by itself.
//!
//! Keys and values are in etcd as dskit writes them, so that processes of Mimir and Cortex can share
//! them: the raw key, and the bytes of the codec.
//!
//! ```no_run
//! use kv_core::{Codec, StoreExt};
//! use kv_etcd::EtcdConfig;
//!
//! # async fn example(codec: impl Codec<u32>) -> Result<(), Box<dyn std::error::Error>> {
//! let config = EtcdConfig::new(["etcd-0:2379", "etcd-1:2379", "etcd-2:2379"]);
//! let store = kv_etcd::open(&config, None, codec)?;
//! store.update("visits/home", |visits| visits.copied().unwrap_or(0) + 1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Without the feature `client`, which is on by default, this crate has only its settings.
#![warn(clippy::future_not_send)]
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
#[cfg(feature = "client")]
mod client;
mod config;
mod config_error;
#[cfg(feature = "client")]
mod connector;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
#[allow(missing_docs, clippy::all, reason = "generated code")]
#[rustfmt::skip]
mod generated;
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
pub use config::EtcdConfig;
pub use config_error::ConfigError;
#[cfg(feature = "client")]
pub use open::{EtcdStore, open};
pub use settings::{Secret, SecretUrl};
