//! Elects one of several copies of a program, over any [`kv_core::Store`].
//!
//! Each copy has a [`Participant`]. [`Participant::run`] waits until it is elected, runs the work
//! while it is, and drops the work before another copy can be elected.
//!
//! ```
//! use std::sync::Arc;
//!
//! use kv_core::InMemoryStore;
//! use kv_election::{Participant, Timing};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), kv_election::ElectionError> {
//! // Copies in several processes share a store: kv-etcd, kv-consul, or kv-memberlist.
//! let store = Arc::new(InMemoryStore::default());
//! let participant = Participant::new(store, "jobs/nightly-report", "host-1", Timing::default())?;
//! let report = participant
//!     .run(async |term| format!("written with token {}", term.token()))
//!     .await?;
//! assert_eq!(report, "written with token 1");
//! # Ok(())
//! # }
//! ```
//!
//! # When to use it
//!
//! For work that one copy must do at a time and that another copy can take over: a scheduler, a
//! compactor, a consumer of a queue. If the work writes to something that can compare numbers, two
//! copies cannot both write, whatever happens to clocks, processes and networks: see below.
//!
//! It is not for many elections per second, and not a queue of those who wait: which of them is
//! elected next is not defined.
//!
//! # What holds
//!
//! - **At most one works**, as long as the store is one in which a compare-and-swap is seen by all
//!   (etcd, Consul), and a copy is not stopped in the middle of a poll of its work. A participant
//!   counts from *before* its last successful write; the others count from *after* they saw it, each
//!   on its own monotonic clock. So clocks need not agree.
//! - **Tokens grow**: each election has a larger [`Term::token`] than all before it, also after a
//!   release. Do not delete the key: tokens would begin again.
//! - **A copy that was frozen** (SIGSTOP, a long pause of the machine) finds its term over before its
//!   work is polled again.
//! - **A copy that ends in peace** releases its term, and the next one is elected at once. One that
//!   is killed, or whose future is dropped, is replaced after [`Timing::timeout`].
//! - **While the store fails**, the elected copy works on until its term ends, and no other copy is
//!   elected.
//! - **With gossip**, two sides that cannot reach each other each elect one, possibly with the same
//!   token. [`Timing::settle`] covers copies that begin at the same time, not partitions.
//!
//! # Fencing
//!
//! No timeout protects from a process that is stopped between its last look at the clock and a write
//! that is on its way. A token does: send it with each write, and let the receiver refuse a write
//! whose token is smaller than the largest that it has seen. In SQL: `UPDATE … SET token = $1, …
//! WHERE token <= $1`.
//!
//! # Beside others
//!
//! | | this crate | etcd's election | a lease of Kubernetes |
//! |---|---|---|---|
//! | needs | any store of `kv-core` | etcd | the API server |
//! | who decides that a copy is gone | the others, each by its own clock | etcd, by the lease's time to live | the others, each by its own clock |
//! | the work is stopped before another begins | yes, by [`Participant::run`] | the program must watch its session | client-go's callback asks for it |
//! | fencing token | [`Term::token`] | the revision of the key | `leaseTransitions`, not meant for it |
//! | next after a crash | [`Timing::timeout`] (15 s) | time to live (60 s) | `leaseDuration` (15 s) |
//! | fair | no | yes, first come first served | no |
#![warn(clippy::future_not_send)]

mod error;
mod lease;
mod participant;
mod term;
mod timing;

pub use error::ElectionError;
pub use lease::{CODEC, Lease};
pub use participant::Participant;
pub use term::Term;
pub use timing::Timing;
