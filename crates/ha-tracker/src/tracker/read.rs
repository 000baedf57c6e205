//! What pages and programs read of a tracker.

use super::HaTracker;
use crate::history::ElectionRecord;
use crate::status::{ClusterStatus, status};

impl HaTracker {
    /// Visits all clusters with their replicas, in no particular order. No I/O, no lock; one of them is
    /// in memory at a time.
    pub fn visit_clusters(&self, now_ms: i64, mut visit: impl FnMut(ClusterStatus)) {
        self.cache.for_each_with(
            |tenant| self.timing.rules(tenant),
            |rules, tenant, name, cluster| {
                visit(status((tenant, name), cluster, now_ms, rules));
            },
        );
    }

    /// All clusters with their replicas, in no particular order.
    pub fn cluster_statuses(&self, now_ms: i64) -> Vec<ClusterStatus> {
        let mut all = Vec::new();
        self.visit_clusters(now_ms, |status| all.push(status));
        all
    }

    /// One cluster with its replicas; `None` if it is unknown.
    pub fn cluster_status(
        &self,
        tenant: &str,
        cluster: &str,
        now_ms: i64,
    ) -> Option<ClusterStatus> {
        let rules = self.timing.rules(tenant);
        self.cache.read(tenant, cluster, |known| {
            status((tenant, cluster), known, now_ms, &rules)
        })
    }

    /// Visits the names (tenant, cluster) of all clusters, in no particular order. No I/O, no lock.
    pub fn visit_names(&self, mut visit: impl FnMut(&str, &str)) {
        self.cache.for_each(|tenant, name, _| visit(tenant, name));
    }

    /// The elections of a cluster that ended another one, the latest first: at most
    /// [`ELECTIONS_KEPT_OF_A_CLUSTER`](crate::ELECTIONS_KEPT_OF_A_CLUSTER), since this tracker started.
    pub fn elections_of(&self, tenant: &str, cluster: &str) -> Vec<ElectionRecord> {
        self.cache.history_of(tenant, cluster)
    }

    /// Those of all clusters, the latest first: at most [`ELECTIONS_KEPT`](crate::ELECTIONS_KEPT).
    pub fn recent_elections(&self) -> Vec<ElectionRecord> {
        self.cache.history()
    }
}
