//! Limits the number of clusters, even if many new ones arrive at once.
//!
//! A cluster counts from the moment at which its election begins: first as pending, then as known,
//! never as both. Both counts change under the cache's write lock, so that the limit is exact.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use smol_str::SmolStr;

/// Clusters that are being elected and are not known yet, by tenant. Bounded by the requests in
/// flight.
#[derive(Debug, Default)]
pub(crate) struct Pending(HashMap<SmolStr, HashSet<SmolStr, RandomState>, RandomState>);

/// The limit; `None` = no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capacity {
    /// Clusters of the tenant.
    pub(crate) clusters: Option<u64>,
    /// Tenants with clusters.
    pub(crate) tenants: Option<u64>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Clusters { limit: u64 },
    Tenants { limit: u64 },
}

impl Pending {
    pub(crate) fn of(&self, tenant: &str) -> usize {
        self.0.get(tenant).map_or(0, HashSet::len)
    }

    /// Tenants with pending clusters.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(SmolStr::as_str)
    }

    pub(crate) fn contains(&self, tenant: &str, cluster: &str) -> bool {
        self.0
            .get(tenant)
            .is_some_and(|clusters| clusters.contains(cluster))
    }

    pub(crate) fn insert(&mut self, tenant: &str, cluster: &str) {
        let clusters = self.0.entry(tenant.into()).or_default();
        clusters.insert(cluster.into());
    }

    pub(crate) fn remove(&mut self, tenant: &str, cluster: &str) {
        if let Some(clusters) = self.0.get_mut(tenant)
            && clusters.remove(cluster)
            && clusters.is_empty()
        {
            self.0.remove(tenant);
        }
    }
}
