//! The key-value store contract over Consul's KV API.
//!
//! `ConsulStore` talks to a Consul agent, like dskit's client of the same name, and can share keys
//! with it.
//!
//! - **CAS** compares the key's `ModifyIndex`, which it reads from Consul's leader.
//! - **Watches** are blocking queries, at most `watch_rate_limit` a second. Consul answers each
//!   with everything below the prefix; unchanged entries are recognized before they are decoded.
//! - **Keys** are kept byte for byte. Keys that an agent would rewrite or refuse are refused here:
//!   those with empty segments, `.` or `..` as a segment, or unprintable characters.
//!
//! ```no_run
//! use kv_consul::ConsulConfig;
//! use kv_core::{Codec, StoreExt};
//!
//! # async fn example(codec: impl Codec<u32>) -> Result<(), Box<dyn std::error::Error>> {
//! // The agent on this machine.
//! let store = kv_consul::open(&ConsulConfig::new("localhost:8500"), None, codec)?;
//! store.update("visits/home", |visits| visits.copied().unwrap_or(0) + 1).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Without the feature `client`, which is on by default, this crate has only its settings.
#![warn(clippy::future_not_send)]
#![cfg_attr(
    not(feature = "client"),
    allow(dead_code, reason = "rules are checked, and nothing is sent")
)]

#[cfg(feature = "client")]
mod agent;
#[cfg(feature = "client")]
mod bytes;
mod config;
mod key;
#[cfg(feature = "client")]
mod open;
#[cfg(feature = "client")]
mod rate;
#[cfg(feature = "client")]
mod request;
#[cfg(feature = "client")]
mod snapshot;
#[cfg(feature = "client")]
mod watch;

#[cfg(feature = "client")]
pub use bytes::ConsulBytes;
pub use config::{ConfigError, ConsulConfig};
pub use key::refusal;
#[cfg(feature = "client")]
pub use open::{ConsulStore, open};
pub use settings::{Secret, SecretUrl};
