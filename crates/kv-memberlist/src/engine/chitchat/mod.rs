//! Gossip by chitchat: each member publishes a map, and sees the maps of all others.
//!
//! The only part of this crate that knows chitchat.

pub(crate) mod catch_up;
#[cfg(feature = "testing")]
pub mod fuzzing;
pub(crate) mod inspect;
pub(crate) mod liveness;
mod maps;
mod roster;
pub(crate) mod snapshot;
mod socket;
mod wire;

pub(crate) use maps::{Gossip, Missing, OnCopy, Part, Peer, PeerId};
pub(crate) use wire::{Contacts, Wire};
