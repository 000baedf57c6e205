//! What pages and programs are shown: the elections, and which replicas were seen when.

use std::time::Duration;

use crate::ReplicaDesc;
use crate::cache::Cluster;
use crate::clock::saturating_ms;
use crate::election::Timeouts;
use crate::sightings::{NEVER, Sightings};
use crate::tracker::HaTracker;

/// One election, as pages and programs show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// What is stored.
    pub desc: ReplicaDesc,
    /// Until the entry is due for its next update, ms; negative if overdue.
    pub update_in_ms: i64,
    /// Until another replica may be elected if nothing more is recorded, ms; negative if overdue.
    pub failover_in_ms: i64,
}

/// A replica as this tracker saw it: its requests to other distributors are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The replica.
    pub replica: String,
    /// When its last request came, Unix ms; `None` if none came here.
    pub seen_ms: Option<i64>,
    /// Time of the earliest sample in that request, Unix ms; `None` if it had none.
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
    /// The elected replica.
    pub elected: ReplicaStatus,
    /// Other replicas that were seen here, at most four. The one to take over comes first: who has sent
    /// steadily for the longest time, then who was seen last.
    pub others: Vec<ReplicaStatus>,
}

impl ReplicaStatus {
    fn new(replica: &str, sightings: &Sightings, now_ms: i64) -> Self {
        Self {
            replica: replica.to_owned(),
            seen_ms: Some(sightings.seen_ms()).filter(|seen| *seen != NEVER),
            sample_ms: sightings.sample_ms(),
            is_steady: sightings.is_steady(now_ms),
        }
    }
}

fn election(
    (tenant, name): (&str, &str),
    cluster: &Cluster,
    now_ms: i64,
    timeouts: &Timeouts,
) -> Election {
    let desc = cluster.elected().desc();
    let due_in = |timeout: Duration| {
        desc.received_at
            .saturating_add(saturating_ms(timeout))
            .saturating_sub(now_ms)
    };
    Election {
        tenant: tenant.to_owned(),
        cluster: name.to_owned(),
        update_in_ms: due_in(timeouts.update),
        failover_in_ms: due_in(timeouts.failover),
        desc,
    }
}

fn status(
    names: (&str, &str),
    cluster: &Cluster,
    now_ms: i64,
    timeouts: &Timeouts,
) -> ClusterStatus {
    let election = election(names, cluster, now_ms, timeouts);
    let elected = cluster.elected();
    let mut others = cluster.candidates.in_order(now_ms);
    others.retain(|other| other.replica != elected.replica);
    ClusterStatus {
        election,
        elected: ReplicaStatus::new(&elected.replica, &elected.sightings, now_ms),
        others: others
            .iter()
            .map(|other| ReplicaStatus::new(&other.replica, &other.sightings, now_ms))
            .collect(),
    }
}

impl HaTracker {
    /// All elections, by tenant and cluster.
    pub fn elections(&self, now_ms: i64) -> Vec<Election> {
        let mut elections = self
            .map_clusters(|names, cluster, timeouts| election(names, cluster, now_ms, timeouts));
        elections.sort_by(|a, b| (&a.tenant, &a.cluster).cmp(&(&b.tenant, &b.cluster)));
        elections
    }

    /// All clusters with their replicas, in no particular order.
    pub fn cluster_statuses(&self, now_ms: i64) -> Vec<ClusterStatus> {
        self.map_clusters(|names, cluster, timeouts| status(names, cluster, now_ms, timeouts))
    }

    /// One cluster with its replicas; `None` if it is unknown.
    pub fn cluster_status(
        &self,
        tenant: &str,
        cluster: &str,
        now_ms: i64,
    ) -> Option<ClusterStatus> {
        let timeouts = self.timeouts(tenant);
        self.cache.read(tenant, cluster, |known| {
            status((tenant, cluster), known, now_ms, &timeouts)
        })
    }

    fn map_clusters<T>(&self, map: impl Fn((&str, &str), &Cluster, &Timeouts) -> T) -> Vec<T> {
        let mut all = Vec::new();
        for tenant in self.cache.tenants() {
            let timeouts = self.timeouts(&tenant);
            self.cache.for_each_of(&tenant, |name, cluster| {
                all.push(map((&tenant, name), cluster, &timeouts));
            });
        }
        all
    }
}
