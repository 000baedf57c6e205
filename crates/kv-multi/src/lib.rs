//! A key-value store that combines two, to move running services from one to the other.
//!
//! Reads, watches and compare-and-swaps go to the *primary*. With mirroring on, its writes are also
//! applied to the *secondary*, in the background: callers neither wait for this nor see its
//! failures. Which of the two is the primary, and whether to mirror, can be changed at run time
//! ([`MultiStore::apply`]).
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use kv_core::{Store, Value};
//! use kv_multi::{MultiConfig, Override};
//! use prometheus_client::registry::Registry;
//!
//! # async fn example<V: Value>(
//! #     etcd: Arc<dyn Store<V>>,
//! #     gossip: Arc<dyn Store<V>>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let config = MultiConfig { mirror_enabled: true, ..MultiConfig::default() };
//! let mut registry = Registry::default();
//! let (store, handle) = kv_multi::start(etcd, gossip, config, "my-service", &mut registry)?;
//! // The second store can take over once a comparison finds nothing that it lacks.
//! if store.compare(Duration::from_secs(10)).await?.behind() == 0 {
//!     let primary = Some("memberlist".to_owned());
//!     store.apply(&Override { primary, ..Override::default() }).await?;
//! }
//! handle.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! What makes a move safe:
//!
//! - A write is mirrored with the value that it replaced: in the secondary it overwrites what it
//!   had seen in the primary, and is joined with anything newer. Distributors with opposite
//!   primaries, as in the middle of a rollout, end with the same values in both stores.
//! - While mirroring is on, both stores are compared regularly ([`Comparison`]), and entries that
//!   the secondary lacks are copied at a bounded rate: those from before mirroring, those whose
//!   mirror write failed, and those that another process has not mirrored.
//! - A switch waits for the writes in progress, mirrors pending changes, and only then lets the
//!   next write go to the new primary. Both waits are bounded, so that a switch away from a hanging
//!   primary is possible.
#![warn(clippy::future_not_send)]

mod change;
mod compare;
mod comparer;
mod comparison;
mod config;
mod metrics;
mod mirror;
mod outcomes;
mod roles;
mod state;
mod status;
mod store;
mod switch;
mod tasks;
mod watch;

pub use comparison::{CompareError, Comparison, Difference, Reason};
pub use config::{ConfigError, MultiConfig};
pub use roles::Part;
pub use state::{Override, Refused};
pub use status::{BackfillState, BackfillStatus, MirrorFailure, MirrorStatus, Status};
pub use store::{MultiHandle, MultiStore, start};
