//! The contract of the key-value stores that elections are kept in.
//!
//! A [`Store`] holds typed values under string keys, changes them by compare-and-swap
//! ([`Store::cas`]) and reports changes as streams ([`Store::watch_prefix`]). The trait is
//! object-safe, so decorators ([`PrefixStore`], [`MetricsStore`]) and combinations of stores are
//! stores as well.
//!
//! ```
//! use kv_core::{CasUpdate, InMemoryStore, Store};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), kv_core::StoreError> {
//! let store = InMemoryStore::<u32>::default();
//! // One more than there was, whatever others write at the same time.
//! let mut increment = |current: Option<&u32>| CasUpdate::Put(current.copied().unwrap_or(0) + 1);
//! store.cas("visits/home", &mut increment).await?;
//! assert_eq!(store.get("visits/home").await?, Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows no backend and does no I/O. It contains what backends share:
//!
//! - the [`Codec`] of stored bytes;
//! - [`TypedStore`]: retries, deadlines and errors over a server's [`ByteStore`];
//! - [`Mergeable`] and [`Value`], for stores with more than one writer;
//! - the queue of a watcher ([`WatchHub`]), and the [`InMemoryStore`];
//! - for background tasks and their handles: [`Tasks`], [`TaskFailed`], [`LogThrottle`];
//! - behind the feature `testing`, the suite that every backend has to pass, and a store that fails
//!   on demand.

mod byte_store;
mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod faults;
mod lock;
mod log_throttle;
mod memory;
mod merge;
mod metrics;
mod prefix;
mod retry;
mod store;
mod tasks;
mod visible;
mod watch;

pub use byte_store::{ByteStore, Failure, TypedStore};
pub use codec::{Codec, CodecError, SnappyProtobuf};
pub use lock::lock;
pub use log_throttle::LogThrottle;
pub use memory::InMemoryStore;
pub use merge::{Mergeable, Value};
pub use metrics::{KvMetrics, MetricsStore, StoreRole, TRACES};
pub use prefix::PrefixStore;
pub use retry::{Backoff, RetryPolicy};
pub use store::{CasOutcome, CasUpdate, MAX_KEY, Store, StoreError, UpdateFn};
pub use tasks::{FailureCause, TaskFailed, Tasks};
pub use visible::{is_treacherous, visible};
pub use watch::{WatchEvent, WatchHub, WatchScope, WatchStream};
