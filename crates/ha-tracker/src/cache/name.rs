//! [`Name`]: the key of a cluster in the cache.

use std::hash::{Hash, Hasher};

use papaya::Equivalent;
use smol_str::SmolStr;

/// Tenant and cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) tenant: SmolStr,
    pub(super) cluster: SmolStr,
}

/// A borrowed [`Name`] for lookups.
pub(super) struct Borrowed<'a> {
    tenant: &'a str,
    cluster: &'a str,
}

impl Name {
    pub(super) fn new(tenant: &str, cluster: &str) -> Self {
        Self {
            tenant: tenant.into(),
            cluster: cluster.into(),
        }
    }
}

/// The name to look for.
pub(super) fn borrowed<'a>(tenant: &'a str, cluster: &'a str) -> Borrowed<'a> {
    Borrowed { tenant, cluster }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        borrowed(&self.tenant, &self.cluster).hash(state);
    }
}

impl Hash for Borrowed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.cluster.hash(state);
    }
}

impl Equivalent<Name> for Borrowed<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        // The cluster first: tenants are few, and many clusters have the same one.
        self.cluster == name.cluster && self.tenant == name.tenant
    }
}
