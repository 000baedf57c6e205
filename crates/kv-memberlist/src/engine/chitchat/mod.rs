//! Gossip by chitchat: the only part of this crate that knows it.
//!
//! Each member publishes a map, and sees the maps of all others. chitchat spreads maps and
//! heartbeats; what is between it and the network, and what it leaves to its user, is here:
//!
//! - [`engine`]: the [`crate::engine::Engine`] that all this makes; its tasks are those of
//!   [`supervisor`] and [`snapshot`].
//! - [`gossip`]: what is in a map, and how it is changed and read.
//! - [`liveness`]: who is dead: whose heartbeat does not grow.
//! - [`catch_up`] and [`snapshot`]: how a member gets what the others hold.
//! - [`socket`], [`wire`], [`contacts`]: chitchat's transport, sealed, and what is seen
//!   of the others on it.
//! - [`inspect`] and [`roster`]: what chitchat, which trusts its peers, must not be told.

mod catch_up;
mod contacts;
mod engine;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod gossip;
mod inspect;
mod liveness;
mod own_state;
mod roster;
mod snapshot;
mod socket;
mod supervisor;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use self::engine::{Parts, start};
