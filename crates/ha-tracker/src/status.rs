//! The status of a cluster for pages and programs: its election, and when its replicas were seen.

use crate::cache::Election;
use crate::clock::saturating_ms;
use crate::cluster::{Cluster, Sightings};
use crate::election::Timeouts;
use crate::failover::Rules;
use crate::survey::AHEAD_MS;

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
    /// How often its requests come, ms: the mean gap, weighed by length; `None` before the second one.
    pub cadence_ms: Option<i64>,
    /// How far the newest sample of its last request was ahead of this clock, ms: above 0, its clock
    /// is ahead by as much or more; below, the sample was this old. `None` if it had none.
    pub ahead_ms: Option<i64>,
    /// When a request of it was last refused for now, by this distributor or by its downstream, Unix ms.
    pub refused_ms: Option<i64>,
}

impl ReplicaStatus {
    /// Whether its clock is ahead of this one by more than is tolerated.
    pub fn is_clock_ahead(&self) -> bool {
        self.ahead_ms.is_some_and(|ahead_ms| ahead_ms > AHEAD_MS)
    }
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
    /// When the elected replica was last seen, here or by the distributor that stored it, Unix ms.
    pub last_seen_ms: i64,
    /// Silence after which the elected replica is overdue, ms: the failover timeout, or what is unusual
    /// for it; longer while its last request was refused.
    pub allowed_silence_ms: i64,
    /// How many replicas were seen within the last 15 minutes.
    pub replicas_seen: usize,
    /// Whether only the elected one has been seen for 15 minutes.
    pub has_lost_redundancy: bool,
    /// What the last failover cost: the sample time without samples, ms, as far as this distributor
    /// knows; negative if both replicas have samples of that time. `None` if it knows of no failover.
    pub last_gap_ms: Option<i64>,
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
            cadence_ms: sightings.cadence_ms(),
            ahead_ms: sightings.ahead_ms(),
            refused_ms: sightings.refused_ms(),
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
        last_seen_ms: cluster.elected_seen_ms(),
        allowed_silence_ms: rules.allowed_silence_ms(&elected.sightings),
        replicas_seen: cluster.replicas_seen(now_ms),
        has_lost_redundancy: cluster.has_lost_redundancy(now_ms),
        last_gap_ms: elected.stretch.gap_ms(),
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
