//! HashiCorp's memberlist, as Mimir's and Cortex's members speak it by dskit: with this engine, a
//! member takes part in a ring of theirs.
//!
//! What is protocol is in the crate `memberlist_protocol`. Here is what joins it to this member:
//!
//! - [`engine`]: the [`crate::engine::Engine`] that all this makes, and its tasks.
//! - [`shared`] and [`ring`]: what the tasks share, and what of it is under one lock: who is in the
//!   ring, and the entries.
//! - [`pair`]: entries as dskit writes them; [`rules`]: what becomes of those that others tell.
//! - [`others`]: what is known of the keys of other components, which are not kept.
//! - [`roster`]: members as the rest of this crate knows them.
//! - [`setup`]: from the settings of a member to its engine.
//! - [`net`]: one connection for each packet, and for each exchange of states: over TCP, or on a network
//!   in memory.
//!
//! **Epochs.** A write that the values' merge would not put above what its writer has seen begins a new
//! epoch. Go's members know none: the fields that tell of it are lost when they repeat an entry. So
//! what comes without an epoch counts for the one that its key is in. In a ring of our members only,
//! such a write wins as everywhere; where Go's members are, the value that their merge prefers comes
//! back. Both end with the same value on all members: an epoch only ever grows, and within one all
//! merge alike.

mod drive;
mod engine;
mod net;
mod options;
mod others;
mod pair;
mod ring;
mod roster;
mod rules;
mod setup;
mod shared;

#[cfg(feature = "testing")]
pub(crate) use self::net::bind_simulated;
pub(crate) use self::net::{Sockets, bind};
pub use self::setup::TlsSetupError;
pub(crate) use self::setup::{Surroundings, start, tls};
