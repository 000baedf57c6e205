//! The key-value store contract over gossip: no service to run.
//!
//! Each member publishes a map of the entries that it wrote last; gossip spreads all maps to all
//! members; each member folds them into one merged view ([`MemberlistStore`]). Two members that
//! write a key at the same time both succeed, and all members end with the join of what they wrote
//! ([`kv_core::Mergeable`]).
//!
//! - A copy that another member's newer value has superseded is dropped after a while, so that what
//!   gossip carries grows with the keys.
//! - What a dead or leaving member held is taken over by the others at once.
//! - A deleted key is remembered as a tombstone, for a time that outlasts the members that could
//!   bring it back; it never takes a newer value with it.
//! - A member is not ready, and its store's calls wait, until it has all entries of its cluster: when
//!   it starts, and when its process goes on after having been stopped.
//! - With keys ([`Keyring`]) everything on the wire is encrypted and authenticated.
//!
//! [`start`] makes a store and the [`Memberlist`] that keeps it running.
//!
//! From the wire up: packets travel over a `link`, sealed (`seal`), and `admission` decides which are
//! taken; on them an `engine` gossips, the only layer that knows a protocol. What it hears is
//! folded into the `view`, on which stands the `store`. The tasks of a `member` drive both.

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

pub use config::{MemberlistConfig, Protocol};
#[cfg(feature = "testing")]
pub use engine::fuzzing;
pub use engine::memberlist::TlsSetupError;
pub use member::{Inspector, JoinMemberError, Memberlist, StartError, check_join_member, start};
pub use seal::keyring::{KeyError, Keyring};
pub use status::{EntryInfo, History, HistoryEntry, Member, MemberState};
pub use store::MemberlistStore;
pub use view::RawValue;
