//! Requests whose first series decides for series of another cluster or replica.
//!
//! Mimir's contract is that a request comes from one replica. Where it does not, the first series
//! decides for what is not its own. Each tenant's such requests are counted, and the log names the
//! first of each kind.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use kv_core::LogThrottle;
use remote_write::{Group, Mixed, Scan};

use crate::config::PushLimits;
use crate::counters::add;
use crate::unlabelled::Source;

/// Those of one tenant.
#[derive(Debug, Default)]
pub(crate) struct MixedRequests {
    pub(crate) count: AtomicU64,
    /// Bits of the [`Kind`]s that the log has named.
    named: AtomicU8,
}

/// Names them in the log: each kind once for a tenant, however often its requests are of it.
#[derive(Debug, Default)]
pub(crate) struct MixedLog {
    /// Tenants are whatever senders write into a header.
    throttle: LogThrottle,
}

/// What another series than the first has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// Another replica label: a gateway merges the requests of several.
    OtherReplica = 1,
    /// The same replica label, and another cluster label: an application has one of its own.
    OwnCluster = 2,
    /// Not both labels, or only it has both: a gateway merges HA series and others.
    NotBoth = 4,
}

impl Kind {
    fn of(first: Option<&Group>, other: &Mixed) -> Self {
        match first {
            Some(first) if first.replica == other.replica && !other.cluster.is_empty() => {
                Self::OwnCluster
            }
            Some(_) if !other.replica.is_empty() && !other.cluster.is_empty() => Self::OtherReplica,
            _ => Self::NotBoth,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::OtherReplica => {
                "they come from several replicas, which a gateway may have merged: set \
                 limits.ha_tracker_per_sample_dedupe to true for the tenant, so that each series is \
                 judged by its own labels"
            }
            Self::OwnCluster => {
                "an application has the cluster label itself: its samples are accepted and dropped \
                 with those of the replica that sends them, and nothing needs to be set. If the \
                 series are of different HA clusters, set limits.ha_tracker_per_sample_dedupe to \
                 true for the tenant"
            }
            Self::NotBoth => {
                "some have both HA labels and some have not: give the senders both as external \
                 labels, or set limits.ha_tracker_per_sample_dedupe to true for the tenant, so that \
                 each series is judged by its own labels"
            }
        }
    }
}

impl MixedLog {
    /// Counts a request that has been settled, if it is one, and names it if it is the first of its
    /// kind.
    pub(crate) fn add(
        &self,
        scan: &Scan,
        source: &Source<'_>,
        limits: &PushLimits,
        of_tenant: &MixedRequests,
    ) {
        let Some(other) = &scan.mixed else {
            return;
        };
        add(&of_tenant.count, 1);
        let first = scan.groups.iter().find(|group| group.problem.is_none());
        let kind = Kind::of(first, other);
        let named = &of_tenant.named;
        if named.load(Ordering::Relaxed) & kind as u8 != 0 || self.throttle.admit().is_none() {
            return;
        }
        if named.fetch_or(kind as u8, Ordering::Relaxed) & kind as u8 != 0 {
            return;
        }
        let (cluster, replica) = (&limits.ha_cluster_label, &limits.ha_replica_label);
        let labels = |(cluster_value, replica_value): (&str, &str)| {
            format!("{{{cluster}={cluster_value:?}, {replica}={replica_value:?}}}")
        };
        let first = first.map_or(("", ""), |group| (&*group.cluster, &*group.replica));
        tracing::warn!(
            tenant = source.tenant,
            client = source.client.map(tracing::field::display),
            first = labels(first),
            other = labels((&other.cluster, &other.replica)),
            "the first series of a push request decides for series with other HA labels: {}",
            kind.advice()
        );
    }
}

#[cfg(test)]
mod tests {
    use remote_write::{Counts, Verdict};

    use super::*;

    #[test]
    fn the_kind_says_where_the_other_series_comes_from() {
        let group = |cluster: &str, replica: &str| Group {
            cluster: cluster.to_owned(),
            replica: replica.to_owned(),
            problem: None,
            verdict: Verdict::Keep,
            counts: Counts::default(),
            outside: Counts::default(),
            earliest_ms: None,
            latest_ms: None,
        };
        let other = |cluster: &str, replica: &str| Mixed {
            cluster: cluster.to_owned(),
            replica: replica.to_owned(),
        };
        let first = group("prod", "a");
        for (mixed, kind) in [
            (other("etcd", "a"), Kind::OwnCluster),
            (other("prod", "b"), Kind::OtherReplica),
            (other("dev", "b"), Kind::OtherReplica),
            (other("", "a"), Kind::NotBoth),
            (other("prod", ""), Kind::NotBoth),
            (other("", ""), Kind::NotBoth),
        ] {
            assert_eq!(Kind::of(Some(&first), &mixed), kind, "{mixed:?}");
        }
        assert_eq!(Kind::of(None, &other("prod", "a")), Kind::NotBoth);
    }
}
