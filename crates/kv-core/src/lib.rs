//! The key-value store contract that elections live in.
//!
//! A [`Store`] holds typed values under string keys, changes them by compare-and-swap
//! ([`Store::cas`]) and reports changes as streams ([`Store::watch_prefix`]). The trait is
//! object-safe, so decorators ([`PrefixStore`], [`MetricsStore`]) and combinations of stores are
//! stores as well.
//!
//! This crate knows no backend and does no I/O. It brings what backends share: the [`Codec`] of
//! stored bytes, [`TypedStore`] (retries, deadlines and errors over a server's [`ByteStore`]), [`Mergeable`] for stores without a single writer, the watcher queue
//! ([`WatchHub`]), the [`InMemoryStore`], and behind the feature `testing` the suite that every
//! backend has to pass, and a store that fails on demand.

mod byte_store;
mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod faults;
mod memory;
mod merge;
mod metrics;
mod prefix;
mod redact;
mod retry;
mod store;
mod visible;
mod watch;

pub use byte_store::{ByteStore, Failure, MAX_KEY, TypedStore};
pub use codec::{Codec, CodecError, SnappyProtobuf};
pub use memory::InMemoryStore;
pub use merge::{Mergeable, Value};
pub use metrics::{KvMetrics, MetricsStore, StoreRole};
pub use prefix::PrefixStore;
pub use redact::without_userinfo;
pub use retry::{Backoff, RetryPolicy};
pub use store::{CasOutcome, CasUpdate, Store, StoreError, UpdateFn};
pub use visible::{is_treacherous, visible};
pub use watch::{WatchEvent, WatchHub, WatchScope, WatchStream};
