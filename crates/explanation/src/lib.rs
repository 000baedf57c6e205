//! Answers "why was this dropped?": who is elected in a cluster and why, what a sample of a replica
//! gets and until when, and what to do about it, in sentences.
//!
//! One pure function, [`answer`], over what one or several distributors know. The page of a
//! distributor and `distributor explain` share it, so that both say the same.

mod advice;
mod answer;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use admin_api::Elected;
use serde::Serialize;

pub use answer::answer;
pub use words::{about, between, list};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// The replica whose samples are asked about.
    pub replica: Option<String>,
}

/// What one distributor knows of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Whether its HA tracker is on.
    pub is_tracker_enabled: bool,
    /// What applies to the tenant.
    pub rules: Rules,
    /// `None` if it does not know the cluster.
    pub elected: Option<Elected>,
    /// Its clock, as its page shows it.
    pub now: String,
    /// Clusters of the tenant with a similar name, if it does not know this one.
    pub similar: Vec<String>,
    /// How many clusters the tenant has there, if that is known.
    pub clusters: Option<u64>,
}

/// The limits of the tenant that decide about its samples.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// `accept_ha_samples`: whether the tenant's samples are deduplicated.
    pub accepts_ha: bool,
    /// `ha_tracker_failover_timeout`, if it is known.
    pub failover_timeout: Option<Duration>,
    /// `ha_cluster_label`; empty if it is not known.
    pub cluster_label: String,
    /// `ha_replica_label`; empty if it is not known.
    pub replica_label: String,
    /// `ha_max_clusters`; 0 = no limit.
    pub max_clusters: u64,
    /// `ha_tracker_per_sample_dedupe`.
    pub is_per_sample: bool,
    /// `ha_failover_mode: lossless`.
    pub is_lossless: bool,
}

/// Which distributors were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of a fleet, as far as they answer.
    Fleet,
    /// The one that answers.
    ThisOne,
}

/// The name of a distributor, and what is known there or why not.
pub type Seen = (String, Result<View, String>);

/// The answer, in sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Who is elected, where all agree.
    pub elected: Option<String>,
    /// What a sample of the replica gets; `None` if no replica was asked for, or nothing is known.
    pub sample: Option<Sample>,
    /// Why, until when, and what is wrong.
    pub sentences: Vec<String>,
    /// What to do, most likely first; empty if nothing is to be done.
    pub advice: Vec<String>,
    /// All distributors answered and agree.
    pub is_well: bool,
}

/// What a sample gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sample {
    /// 200: it is stored.
    Stored,
    /// 202: it is acknowledged and dropped.
    Deduplicated,
    /// 400: the cluster would exceed the tenant's limit.
    Refused,
    /// Depends on the distributor that it is sent to.
    Differs,
}
