//! The status of a cluster for pages and programs: its election, and when its replicas were seen.

use crate::cache::Election;
use crate::clock::saturating_ms;
use crate::cluster::{Cluster, Sightings};
use crate::election::Timeouts;
use crate::failover::Rules;

/// A replica as seen by this tracker; its requests to other distributors are not included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The replica.
    pub replica: String,
    /// When its last request arrived, Unix ms; `None` if none arrived here.
    pub seen_ms: Option<i64>,
    /// Time of the newest sample in that request, Unix ms; `None` if it had none.
    pub sample_ms: Option<i64>,
    /// Whether it sends steadily: its requests span 5 s or more, and none came later than two minutes
    /// after the one before, up to now.
    pub is_steady: bool,
}

/// A cluster: its election, and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Who is elected.
    pub election: Election,
    /// Until the entry is due for its next update, ms; negative if overdue.
    pub update_in_ms: i64,
    /// Until another replica may be elected if nothing more is recorded, ms; negative if overdue.
    pub failover_in_ms: i64,
    /// The elected replica.
    pub elected: ReplicaStatus,
    /// Other replicas that were seen here, at most four, the next to take over first: the one that
    /// has sent steadily for the longest time, then the one that was seen last.
    pub others: Vec<ReplicaStatus>,
}

impl ReplicaStatus {
    fn new(replica: &str, sightings: &Sightings, now_ms: i64) -> Self {
        Self {
            replica: replica.to_owned(),
            seen_ms: sightings.seen_ms(),
            sample_ms: sightings.newest_ms(),
            is_steady: sightings.is_steady(now_ms),
        }
    }
}

/// The status of a cluster of this tenant and name.
pub(crate) fn status(
    (tenant, name): (&str, &str),
    cluster: &Cluster,
    now_ms: i64,
    rules: &Rules,
) -> ClusterStatus {
    let elected = cluster.elected();
    let desc = elected.desc();
    let Timeouts {
        update, failover, ..
    } = rules.timeouts;
    let age_ms = now_ms.saturating_sub(desc.received_at);
    let mut others = cluster.standbys.in_order(now_ms);
    others.retain(|other| other.replica != elected.replica);
    ClusterStatus {
        update_in_ms: saturating_ms(update).saturating_sub(age_ms),
        failover_in_ms: saturating_ms(failover).saturating_sub(rules.silent_ms(&elected, now_ms)),
        election: Election {
            tenant: tenant.to_owned(),
            cluster: name.to_owned(),
            desc,
        },
        elected: ReplicaStatus::new(&elected.replica, &elected.sightings, now_ms),
        others: others
            .iter()
            .map(|other| ReplicaStatus::new(&other.replica, &other.sightings, now_ms))
            .collect(),
    }
}
