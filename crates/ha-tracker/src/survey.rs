//! What is wrong with the senders of all clusters: which have no redundancy, and whose clock is ahead.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::cache::Cache;
use crate::cluster::{Cluster, Sightings};

/// Samples are made before they are sent: if the newest one is later than this clock by more, ms, the
/// sender's clock is ahead.
pub(crate) const AHEAD_MS: i64 = 1_000;

/// Clusters of which only the elected replica has been seen for 15 minutes, by this distributor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedundancyLost {
    /// How many.
    pub clusters: u64,
    /// Tenant, cluster and replica of one of them.
    pub example: [String; 3],
}

/// Replicas whose samples are more than a second ahead of this clock when they arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendersAhead {
    /// How many.
    pub replicas: u64,
    /// Tenant, cluster and replica of the one that is furthest ahead.
    pub furthest: [String; 3],
    /// By how much that one is ahead, ms.
    pub ahead_ms: i64,
}

/// What a survey of all clusters found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Clusters without redundancy, by tenant; each tenant that has clusters is in it.
    pub(crate) without_redundancy: BTreeMap<SmolStr, u64>,
    pub(crate) redundancy_lost: Option<RedundancyLost>,
    pub(crate) senders_ahead: Option<SendersAhead>,
}

/// The last survey.
#[derive(Debug, Default)]
pub(crate) struct Survey(ArcSwap<Findings>);

impl Survey {
    pub(crate) fn last(&self) -> Arc<Findings> {
        self.0.load_full()
    }

    /// Visits all clusters.
    pub(crate) fn take(&self, cache: &Cache, now_ms: i64) {
        let mut findings = Findings::default();
        cache.for_each(|tenant, name, cluster| findings.add([tenant, name], cluster, now_ms));
        self.0.store(Arc::new(findings));
    }
}

impl Findings {
    fn add(&mut self, [tenant, name]: [&str; 2], cluster: &Cluster, now_ms: i64) {
        cluster.known_since(now_ms);
        let elected = cluster.elected();
        let count = match self.without_redundancy.get_mut(tenant) {
            Some(count) => count,
            None => self.without_redundancy.entry(tenant.into()).or_default(),
        };
        let names = |replica: &str| [tenant, name, replica].map(str::to_owned);
        if cluster.has_lost_redundancy(now_ms) {
            *count += 1;
            let lost = self.redundancy_lost.get_or_insert_with(|| RedundancyLost {
                clusters: 0,
                example: names(&elected.replica),
            });
            lost.clusters += 1;
        }
        let mut clock_of = |replica: &str, sightings: &Sightings| {
            // Of one that is gone, nothing is known any more.
            let ahead_ms = sightings.ahead_ms().filter(|_| sightings.is_recent(now_ms));
            let Some(ahead_ms) = ahead_ms.filter(|ahead_ms| *ahead_ms > AHEAD_MS) else {
                return;
            };
            let ahead = self.senders_ahead.get_or_insert_with(|| SendersAhead {
                replicas: 0,
                furthest: names(replica),
                ahead_ms,
            });
            ahead.replicas += 1;
            if ahead_ms > ahead.ahead_ms {
                ahead.ahead_ms = ahead_ms;
                ahead.furthest = names(replica);
            }
        };
        clock_of(&elected.replica, &elected.sightings);
        cluster.standbys.for_each(|standby| {
            if standby.replica != elected.replica {
                clock_of(&standby.replica, &standby.sightings);
            }
        });
    }
}
