//! The key-value store that dskit keeps on the ring: how keys are written, and what becomes of those
//! that other members send.
//!
//! Every member holds every key. A write is merged into what is stored, and what it has changed is
//! broadcast; a member that receives a change merges it and broadcasts what *it* has changed, if
//! anything: that ends an epidemic. Now and then, two members exchange all that they hold.
//!
//! [`KeyValuePair`] and [`state`] are the bytes. [`Store`] is dskit's rules about them, with dskit's
//! deletions. The values are the caller's: a [`Codec`] for each kind says how two are merged.

mod codec;
mod pair;
pub mod state;
mod store;
pub mod value;

#[cfg(test)]
mod tests;

pub use codec::{BadValue, Codec, Merged, Origin};
pub use pair::KeyValuePair;
pub use store::{Change, Counts, Entry, Rejection, StateOutcome, Store, StoreLimits, WriteError};
