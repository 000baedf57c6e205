//! Elects one replica per (tenant, cluster) of highly available senders, and tells of each sample
//! whether it comes from the elected one.
//!
//! - [`election::decide`] is the rule, a pure function.
//! - [`HaTracker`] applies it: it answers from a cache without locks, keeps the elections in a
//!   [`kv_core::Store`], follows what others write there, fails over when the elected replica goes
//!   silent and cleans up after clusters that are gone.
//!
//! - [`HaTracker::watch`] tells of every election.
//! - With the feature `grpc`, `grpc::service` offers all of this to other programs.
//!
//! This crate knows the store contract only, never a backend, and does no network I/O of its own.
//! Any number of trackers can live in one process; they share nothing but the store they are given.

mod admission;
mod cache;
mod candidates;
mod cleanup;
mod clock;
mod desc;
mod due;
pub mod election;
mod elections;
mod feed;
mod forgotten;
#[allow(missing_docs, clippy::all, reason = "generated code")]
#[rustfmt::skip]
mod generated;
#[cfg(feature = "grpc")]
pub mod grpc;
mod health;
mod limits;
mod metrics;
mod outlook;
mod room;
mod sightings;
mod skew;
mod status;
mod store_trouble;
mod tenant;
mod tracker;
mod update;
mod watch;

pub use clock::Clock;
pub use desc::{CODEC, parse_key};
pub use elections::{ClusterElection, Elections};
pub use feed::{ElectionChange, ElectionEvent, ElectionState, ElectionWatch};
pub use generated::ReplicaDesc;
pub use limits::{HaLimits, TenantLimits};
pub use outlook::FailoverOutlook;
pub use skew::ClockSkew;
pub use status::{ClusterStatus, Election, ReplicaStatus};
pub use store_trouble::StoreTrouble;
pub use tenant::validate_tenant;
pub use tracker::{
    ElectedReplica, HaTracker, Lookup, Outcome, Sighting, TrackerConfig, TrackerError,
    TrackerHandle,
};

/// Messages of `proto/ha_tracker.proto`, and with the feature `grpc` client and server.
pub mod proto {
    pub use crate::generated::*;
}
