//! The contract of key-value stores with compare-and-swap and watches, and what its backends share.
//!
//! A [`Store`] holds typed values under string keys, changes them by compare-and-swap
//! ([`Store::cas`]) and reports changes as streams ([`Store::watch_prefix`]). [`StoreExt`] has the
//! calls that everyday code wants, and a map of a prefix that follows the store. The trait is
//! object-safe, so decorators ([`PrefixStore`], [`MetricsStore`]) and combinations of stores are
//! stores as well.
//!
//! ```
//! use kv_core::{InMemoryStore, StoreExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In production: kv-etcd, kv-consul or kv-memberlist.
//! let store = InMemoryStore::<u32>::default();
//! let visits = store.watch_map("visits/");
//! // One more than there was, whatever others write at the same time.
//! store.update("visits/home", |visits| visits.copied().unwrap_or(0) + 1).await?;
//! let seen = visits.wait_for(|visits| visits.get("visits/home").cloned()).await?;
//! assert_eq!(*seen, 1);
//! # Ok(())
//! # }
//! ```
//!
//! The package is `kv-contract`: `kv-core = { package = "kv-contract", version = "0.1" }`.
//!
//! # When to use it
//!
//! For small state that several processes write and must see soon: elections, flags, settings,
//! membership, counters. The same program runs over etcd, Consul, gossip, or memory in its tests, and
//! can move from one to another while it runs (`kv-multi`). It is not a database: there are no
//! transactions over several keys and no queries, and a watch delivers the last of several changes.
//!
//! # A value of your own
//!
//! A store of a server needs a [`Codec`]: [`SnappyProtobuf`] for a message that derives
//! `prost::Message`, `Json` (feature `json`) for what derives serde's traits, or one of your own.
//! A store by gossip also needs [`Mergeable`]: how two versions are joined, in three lines with
//! [`keep_larger`]. `laws` checks both for your type.
//!
//! # A backend of your own
//!
//! Implement [`ByteStore`]: single attempts on bytes with versions. [`TypedStore`] makes a [`Store`]
//! of it, with codec, bounded retries, deadlines and errors. `conformance` is the suite that every
//! backend passes: call it from a test.
//!
//! # What is here
//!
//! This crate knows no backend and does no I/O. Besides the above it has the queue of a watcher
//! ([`WatchHub`]), and for background tasks and their handles [`Tasks`], [`TaskFailed`] and
//! [`LogThrottle`].
//!
//! | feature | what it adds |
//! |---|---|
//! | `json` | `Json`, with serde |
//! | `testing` | `laws`, `conformance`, and `faults`: a store that fails on demand |
#![warn(clippy::future_not_send)]

mod byte_store;
mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
mod ext;
#[cfg(feature = "testing")]
pub mod faults;
#[cfg(feature = "testing")]
pub mod laws;
mod live_map;
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
#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, CodecError, SnappyProtobuf};
pub use ext::{StoreExt, UpdateError};
pub use live_map::{LiveMap, MapEnded};
pub use log_throttle::LogThrottle;
pub use memory::InMemoryStore;
pub use merge::{Mergeable, Value, keep_larger};
pub use metrics::{KvMetrics, MetricsStore, StoreRole};
pub use prefix::PrefixStore;
pub use retry::{Backoff, RetryPolicy};
pub use store::{CasOutcome, CasUpdate, MAX_KEY, Store, StoreError, UpdateFn};
pub use tasks::{FailureCause, TaskFailed, Tasks};
pub use watch::{WatchEvent, WatchHub, WatchScope, WatchStream};

// Shared by the crates of this workspace; they can change at any time.
#[doc(hidden)]
pub use lock::lock;
#[doc(hidden)]
pub use metrics::TRACES;
#[doc(hidden)]
pub use visible::{is_treacherous, visible};
