//! The gossip protocol of HashiCorp's memberlist, in the form that Grafana's dskit gives it: a node
//! that uses this crate joins a ring of Mimir's, sees its members, and shares its key-value store.
//!
//! The crate knows neither sockets nor a clock: bytes, times and random numbers come from the caller,
//! and what is to be sent, and when to come back, is returned. It knows nothing of what is stored
//! either: values are bytes with the name of a codec, and the caller says how two of them merge.
//!
//! ```
//! use std::time::Duration;
//!
//! use memberlist_protocol::membership::{Action, Config, Node};
//! use memberlist_protocol::message::Addr;
//! use rand::SeedableRng;
//! use rand::rngs::StdRng;
//!
//! let config = Config::new("member-1", Addr::V4([127, 0, 0, 1]), 7946);
//! let mut node = Node::new(config, StdRng::seed_from_u64(1), Duration::ZERO);
//! // Whatever arrives goes to `handle`; what is to be sent comes from `poll`.
//! let now = node.next_deadline();
//! for action in node.poll(now) {
//!     println!("to be done: {action:?}");
//! }
//! assert_eq!(node.present(), 1, "it knows itself");
//! ```
//!
//! What is sent and received is in [`message`] and [`codec`]; who is there, in [`membership`]; the
//! key-value store, in [`kv`].

pub mod broadcast;
pub mod codec;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod kv;
pub mod membership;
pub mod message;

#[cfg(test)]
mod testing;
