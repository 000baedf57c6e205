//! The gossip protocol of HashiCorp's memberlist, in the form that Grafana's dskit gives it: a node
//! that uses this crate joins a ring of Mimir's, sees its members, and shares its key-value store.
//!
//! The crate knows neither sockets nor a clock: bytes, times and random numbers come from the caller,
//! and what is to be sent, and when to come back, is returned. It knows nothing of what is stored
//! either: values are bytes with the name of a codec, and the caller says how two of them merge.

pub mod broadcast;
pub mod codec;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod kv;
pub mod membership;
pub mod message;

#[cfg(test)]
mod testing;
