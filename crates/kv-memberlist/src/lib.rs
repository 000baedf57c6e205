//! The key-value store contract over gossip, without a server.
//!
//! Each member publishes a map of the entries that it was the last to write; gossip spreads all
//! maps to all members; each member merges them into one view ([`MemberlistStore`]). Two members
//! that write a key at the same time both succeed, and all members end with the join of their
//! values ([`kv_core::Mergeable`]).
//!
//! - A copy that is superseded by another member's newer value is dropped after a while, so that
//!   the amount of gossip depends on the number of keys.
//! - The entries of a dead or leaving member are taken over by the others at once.
//! - A deleted key is remembered as a tombstone, for longer than any member that could bring it
//!   back; it never deletes a newer value.
//! - A member is not ready, and its store's calls wait, until it has all entries of its cluster:
//!   after its start, and after its process was stopped for a while.
//! - With keys ([`Keyring`]) everything on the wire is encrypted and authenticated.
//!
//! [`start`] creates a store and the [`Memberlist`] that keeps it running.
//!
//! ```no_run
//! use kv_core::{Codec, StoreExt, Value};
//! use kv_memberlist::MemberlistConfig;
//! use prometheus_client::registry::Registry;
//!
//! # async fn example<V: Value>(codec: impl Codec<V>, on: V) -> Result<(), Box<dyn std::error::Error>> {
//! let config = MemberlistConfig {
//!     join_members: vec!["dns+flags-gossip:7946".to_owned()],
//!     ..MemberlistConfig::default()
//! };
//! let (store, member) = kv_memberlist::start(config, codec, &mut Registry::default()).await?;
//! // Waits until everything that the others have is here.
//! store.put("flags/dark-mode", on).await?;
//! // Hands over what only this member has published.
//! member.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! Use it for small state that all copies of a program may write and must see within a second, with
//! no server to run. Do not use it where one of two writes at the same time must fail: both succeed,
//! and the values are joined. While two parts of a network cannot reach each other, each goes on by
//! itself. For that, use `kv-etcd` or `kv-consul`.
//!
//! From the wire up: packets travel over a `link`, sealed (`seal`); `admission` decides which are
//! accepted; an `engine` gossips with them, and is the only layer that knows a protocol. Entries
//! that it receives are merged into the `view`, on which the `store` works. The tasks of a `member`
//! drive both.
#![warn(clippy::future_not_send)]

mod admission;
mod clock;
mod config;
mod engine;
mod link;
mod member;
mod metrics;
mod names;
mod phase;
mod seal;
#[cfg(feature = "testing")]
pub mod simulated;
mod status;
mod store;
mod view;
mod watchdog;

pub use config::{CompressionAlgorithm, MemberlistConfig, Protocol};
#[cfg(feature = "testing")]
pub use engine::fuzzing;
pub use engine::memberlist::TlsSetupError;
pub use link::foreign::{ForeignProtocol, Foreigner};
pub use member::{Inspector, JoinMemberError, Memberlist, StartError, check_join_member, start};
pub use seal::keyring::{KeyError, Keyring};
pub use settings::Secret;
pub use status::{
    Chosen, EntryInfo, History, HistoryEntry, Member, MemberState, OtherKey, ProtocolInUse,
};
pub use store::MemberlistStore;
pub use view::RawValue;
