//! Elects one replica per (tenant, cluster) of highly available senders, and decides for each
//! sample whether it comes from the elected one.
//!
//! - [`election::decide`] is the rule, a pure function.
//! - [`HaTracker`] applies it: it answers from a cache without locks, keeps the elections in a
//!   [`kv_core::Store`], follows the writes of other trackers, fails over when the elected replica
//!   goes silent, and removes clusters that no longer send.
//! - [`HaTracker::watch`] reports every election.
//! - With the feature `grpc`, `grpc::service` offers all of this to other programs.
//!
//! ```
//! use std::sync::Arc;
//!
//! use ha_tracker::{Clock, HaLimits, HaTracker, Outcome, ReplicaDesc, Sighting, TrackerConfig};
//! use kv_core::InMemoryStore;
//! use prometheus_client::registry::Registry;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), ha_tracker::TrackerError> {
//! // Trackers that share elections share a store; see `kv-etcd`, `kv-consul` and `kv-memberlist`.
//! let store = Arc::new(InMemoryStore::<ReplicaDesc>::default());
//! let (limits, config) = (Arc::new(HaLimits::default()), TrackerConfig::default());
//! let (tracker, handle) = HaTracker::start(store, limits, config, &mut Registry::default());
//! tracker.ready().await;
//!
//! let request_of = |replica| Sighting {
//!     tenant: "team-a",
//!     cluster: "eu-1",
//!     replica,
//!     newest_ms: None,
//!     now_ms: Clock::System.now_ms(),
//! };
//! assert!(matches!(tracker.check(&request_of("a")).await?, Outcome::Accepted));
//! assert!(matches!(tracker.check(&request_of("b")).await?, Outcome::Deduplicated(_)));
//! handle.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows the store contract only, never a backend, and does no network I/O of its own.
//! Any number of trackers can live in one process; they share only the store that they are given.
#![warn(clippy::future_not_send)]

mod atomic_time;
mod cache;
mod check;
mod clock;
mod clock_skew;
mod cluster;
mod config;
mod delivery;
mod desc;
pub mod election;
mod election_watch;
mod failover;
mod gate;
#[allow(missing_docs, clippy::all, reason = "generated code")]
#[rustfmt::skip]
mod generated;
#[cfg(feature = "grpc")]
pub mod grpc;
mod handover;
mod history;
mod limits;
mod metrics;
mod ready;
mod status;
mod store_health;
mod survey;
mod tasks;
mod tenant;
mod timing;
mod tracker;
mod writer;

pub use cache::{Election, ElectionChange, ElectionState, Elections};
pub use check::{ElectedReplica, Lookup, Outcome, Sighting, TrackerError};
pub use clock::Clock;
pub use clock_skew::ClockSkew;
pub use cluster::SendInterval;
pub use config::TrackerConfig;
pub use delivery::Delivery;
pub use desc::{CODEC, parse_key};
pub use election_watch::{ElectionEvent, ElectionWatch};
pub use failover::FailoverOutlook;
pub use gate::{ElectionGate, Failover, FailoverCause, GateAnswer};
pub use generated::ReplicaDesc;
pub use handover::{HandOverError, HandedOver};
pub use history::{ELECTIONS_KEPT, ELECTIONS_KEPT_OF_A_CLUSTER, ElectionCause, ElectionRecord};
pub use limits::{HaLimits, TenantLimits};
pub use status::{ClusterStatus, ReplicaStatus};
pub use store_health::StoreOutage;
pub use survey::{RedundancyLost, SendersAhead};
pub use tenant::validate_tenant;
pub use tracker::{HaTracker, TrackerHandle};

/// Messages of `proto/ha_tracker.proto`, and with the feature `grpc` client and server.
pub mod proto {
    pub use crate::generated::*;
}
