//! The key-value store that dskit keeps on the ring: how keys are written, and what becomes of those
//! that other members send.
//!
//! Every member holds every key. A write is merged into what is stored, and what it has changed is
//! broadcast; a member that receives a change merges it and broadcasts what *it* has changed, if
//! anything: that ends an epidemic. Now and then, two members exchange all that they hold.
//!
//! [`KeyValuePair`] and [`state`] are the bytes. A [`Store`] keeps pairs, and says what is to be told to
//! others. What becomes of two pairs of a key, its [`Rules`] say: [`Dskit`] has those of Go's members,
//! with a [`Codec`] for each kind of value.

mod codec;
mod dskit;
mod pair;
pub mod state;
mod store;
pub mod value;

#[cfg(test)]
mod tests;

pub use codec::{BadValue, Codec, MergedValue, Origin};
pub use dskit::{Dskit, Retention, WriteError};
pub use pair::KeyValuePair;
pub use store::{
    Change, Counts, Entry, Incoming, Merged, Rejection, Rules, StateOutcome, Store, StoreLimits,
    Stored, Told,
};
