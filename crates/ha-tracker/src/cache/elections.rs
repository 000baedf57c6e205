//! All elections in order; an update costs only what changes.

use std::cmp::Ordering;
use std::fmt;
#[cfg(feature = "grpc")]
use std::ops::Bound;

use rpds::RedBlackTreeSetSync;

use crate::ReplicaDesc;

/// The election of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// The stored entry. Its `received_at` is the time of the election, or of this tracker's first
    /// state.
    pub desc: ReplicaDesc,
}

/// Elections by tenant and cluster. A copy is cheap, and shares with the original the parts that
/// neither has changed since.
#[derive(Clone, Default)]
pub struct Elections(RedBlackTreeSetSync<ByName>);

/// Ordered by tenant and cluster alone.
#[derive(Clone)]
struct ByName(Election);

impl ByName {
    /// For lookups.
    fn named(tenant: &str, cluster: &str) -> Self {
        Self(Election {
            tenant: tenant.to_owned(),
            cluster: cluster.to_owned(),
            desc: ReplicaDesc::default(),
        })
    }

    fn name(&self) -> (&str, &str) {
        (&self.0.tenant, &self.0.cluster)
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(&other.name())
    }
}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for ByName {}

impl fmt::Debug for Elections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Elections {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Election> {
        self.0.iter().map(|by_name| &by_name.0)
    }

    /// The elections of `tenant`, or all if it is empty, after the one named `after`.
    #[cfg(feature = "grpc")]
    pub(crate) fn after<'a>(
        &'a self,
        tenant: &'a str,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = &'a Election> {
        let first = (tenant, "");
        let start = match after {
            Some(after) if after >= first => Bound::Excluded(ByName::named(after.0, after.1)),
            _ => Bound::Included(ByName::named(first.0, first.1)),
        };
        let elections = self.0.range((start, Bound::Unbounded));
        elections
            .map(|by_name| &by_name.0)
            .take_while(move |election| tenant.is_empty() || election.tenant == tenant)
    }

    pub(crate) fn put(&mut self, election: Election) {
        self.0.insert_mut(ByName(election));
    }

    pub(crate) fn remove(&mut self, tenant: &str, cluster: &str) {
        self.0.remove_mut(&ByName::named(tenant, cluster));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn election(tenant: &str, cluster: &str, replica: &str) -> Election {
        Election {
            desc: ReplicaDesc {
                replica: replica.to_owned(),
                ..ReplicaDesc::default()
            },
            ..ByName::named(tenant, cluster).0
        }
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut elections = Elections::default();
        for cluster in ["b", "a"] {
            elections.put(election("t", cluster, "r1"));
        }
        let before = elections.clone();
        elections.put(election("t", "a", "r2"));
        elections.put(election("t", "c", "r1"));
        elections.remove("t", "b");
        let all = |elections: &Elections| -> Vec<_> {
            let all = elections.iter();
            all.map(|e| format!("{}={}", e.cluster, e.desc.replica))
                .collect()
        };
        assert_eq!(all(&before), ["a=r1", "b=r1"]);
        assert_eq!(all(&elections), ["a=r2", "c=r1"]);
        assert_eq!((before.len(), elections.is_empty()), (2, false));
    }

    #[test]
    #[cfg(feature = "grpc")]
    fn a_tenants_elections_begin_after_any_name() {
        let mut elections = Elections::default();
        for (tenant, cluster) in [("a", "1"), ("a", "2"), ("a-b", "1"), ("b", "1")] {
            elections.put(election(tenant, cluster, "r"));
        }
        let names = |tenant: &str, after| -> Vec<String> {
            let found = elections.after(tenant, after);
            found
                .map(|e| format!("{}/{}", e.tenant, e.cluster))
                .collect()
        };
        assert_eq!(names("", None), ["a/1", "a/2", "a-b/1", "b/1"]);
        assert_eq!(names("a", None), ["a/1", "a/2"]);
        assert_eq!(names("a", Some(("a", "1"))), ["a/2"]);
        assert_eq!(
            names("a", Some(("a", "11"))),
            ["a/2"],
            "a name that is gone"
        );
        assert_eq!(names("a", Some(("b", "1"))), Vec::<String>::new());
        assert_eq!(names("b", Some(("a", "1"))), ["b/1"]);
        assert_eq!(names("", Some(("a-b", "1"))), ["b/1"]);
        assert_eq!(names("c", None), Vec::<String>::new());
    }
}
