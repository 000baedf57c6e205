//! The history of elections: which replica followed which, why, and for how long nothing was stored.
//!
//! Only changes of a known cluster are kept, as this tracker saw them: the first election of a cluster
//! is in its entry. The history is bounded for each cluster and for all together, and ends with the
//! process.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;

use crate::ReplicaDesc;
use crate::cluster::{Cluster, Elected};
use crate::gate::FailoverCause;

/// Most elections that are kept of one cluster.
pub const ELECTIONS_KEPT_OF_A_CLUSTER: usize = 20;
/// Most elections that are kept of all clusters: about 3 MB with names of 30 bytes.
pub const ELECTIONS_KEPT: usize = 10_000;

/// Why a replica followed another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElectionCause {
    /// A poll of this tracker found the other one overdue.
    Poll,
    /// A request of the replica came while the other one was overdue.
    Arrival,
    /// An operator asked for it.
    ByHand,
    /// A failover without loss was complete.
    Lossless,
    /// Another tracker wrote it, which knows why.
    Elsewhere,
}

impl From<FailoverCause> for ElectionCause {
    fn from(cause: FailoverCause) -> Self {
        match cause {
            FailoverCause::Poll => Self::Poll,
            FailoverCause::Arrival => Self::Arrival,
            FailoverCause::ByHand => Self::ByHand,
            FailoverCause::Lossless => Self::Lossless,
        }
    }
}

/// An election that ended another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionRecord {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The cluster.
    pub cluster: Arc<str>,
    /// The replica that was elected before.
    pub from: Arc<str>,
    /// The replica that followed it.
    pub to: Arc<str>,
    /// When, Unix ms, by the clock of the tracker that wrote it.
    pub elected_ms: i64,
    /// How often another replica had been elected then, this time included.
    pub changes: i64,
    /// Why.
    pub cause: ElectionCause,
    /// For how long the replica before had not been seen, ms, as far as this tracker knows.
    pub silent_ms: i64,
    /// From the last request of the replica before to the first one of its successor that was accepted
    /// here, ms; `None` if none was accepted here so far.
    pub gap_ms: Option<i64>,
}

/// A record, and what its gap is counted from.
#[derive(Debug)]
struct Kept {
    record: ElectionRecord,
    from_seen_ms: i64,
}

/// An election that is about to end.
pub(crate) struct Ended {
    replica: Arc<str>,
    seen_ms: i64,
    first_ms: Option<i64>,
}

impl Ended {
    /// The election of this cluster, if `desc` ends it.
    pub(crate) fn by(desc: &ReplicaDesc, cluster: &Cluster) -> Option<Self> {
        let elected = cluster.elected();
        (elected.replica != desc.replica).then(|| Self {
            replica: elected.replica.as_str().into(),
            seen_ms: cluster.elected_seen_ms(),
            first_ms: elected.first_ms(),
        })
    }
}

/// Tenant and cluster.
type Key = (Arc<str>, Arc<str>);

/// The elections that are kept.
#[derive(Debug, Default)]
pub(crate) struct History {
    clusters: HashMap<Key, VecDeque<(u64, Kept)>, RandomState>,
    /// By number, so the oldest first.
    order: BTreeMap<u64, Key>,
    next: u64,
    dropped: u64,
}

impl History {
    /// Adds the election of `desc`, which has ended another one.
    pub(crate) fn add(&mut self, tenant: &str, cluster: &str, ended: Ended, desc: &ReplicaDesc) {
        let key: Key = (tenant.into(), cluster.into());
        let record = ElectionRecord {
            tenant: key.0.clone(),
            cluster: key.1.clone(),
            to: desc.replica.as_str().into(),
            elected_ms: desc.elected_at,
            changes: desc.elected_changes,
            cause: ElectionCause::Elsewhere,
            silent_ms: desc.elected_at.saturating_sub(ended.seen_ms).max(0),
            gap_ms: None,
            from: ended.replica,
        };
        let number = self.next;
        self.next += 1;
        let of_cluster = self.clusters.entry(key.clone()).or_default();
        if let Some((_, before)) = of_cluster.back_mut() {
            before.close(&record.from, ended.first_ms);
        }
        of_cluster.push_back((
            number,
            Kept {
                record,
                from_seen_ms: ended.seen_ms,
            },
        ));
        if of_cluster.len() > ELECTIONS_KEPT_OF_A_CLUSTER
            && let Some((oldest, _)) = of_cluster.pop_front()
        {
            self.order.remove(&oldest);
            self.dropped += 1;
        }
        self.order.insert(number, key);
        if self.order.len() > ELECTIONS_KEPT {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_first() else {
            return;
        };
        if let Some(of_cluster) = self.clusters.get_mut(&key) {
            // The oldest of all is the oldest of its cluster.
            of_cluster.pop_front();
            if of_cluster.is_empty() {
                self.clusters.remove(&key);
            }
        }
        self.dropped += 1;
    }

    /// Names the cause of the last election of the cluster, if it is that of `replica`.
    pub(crate) fn explain(
        &mut self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        cause: ElectionCause,
    ) {
        let key: Key = (tenant.into(), cluster.into());
        let last = self.clusters.get_mut(&key).and_then(VecDeque::back_mut);
        if let Some((_, last)) = last
            && *last.record.to == *replica
        {
            last.record.cause = cause;
        }
    }

    /// The elections of a cluster, the latest first. `elected`: who is elected now.
    pub(crate) fn of(
        &self,
        tenant: &str,
        cluster: &str,
        elected: Option<&Elected>,
    ) -> Vec<ElectionRecord> {
        let key: Key = (tenant.into(), cluster.into());
        let Some(of_cluster) = self.clusters.get(&key) else {
            return Vec::new();
        };
        let mut kept = of_cluster.iter().rev().map(|(_, kept)| kept);
        let last = kept.next().map(|last| last.with(elected));
        let earlier = kept.map(|kept| kept.record.clone());
        last.into_iter().chain(earlier).collect()
    }

    /// All elections, the latest first. `first_of`: when the first request of the elected
    /// replica was accepted.
    pub(crate) fn all(
        &self,
        first_of: impl Fn(&ElectionRecord) -> Option<i64>,
    ) -> Vec<ElectionRecord> {
        let numbers = self.order.iter().rev();
        numbers
            .filter_map(|(number, key)| {
                let of_cluster = self.clusters.get(key)?;
                let (_, kept) = of_cluster.iter().rev().find(|(at, _)| at == number)?;
                let mut record = kept.record.clone();
                let is_last = of_cluster.back().is_some_and(|(last, _)| last == number);
                if is_last {
                    record.gap_ms = kept.gap_until(first_of(&record));
                }
                Some(record)
            })
            .collect()
    }

    /// How many are kept, and how many have been dropped.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.order.len(), self.dropped)
    }
}

impl Kept {
    /// It ends; `first_ms`: when the first request of its replica was accepted.
    fn close(&mut self, replica: &str, first_ms: Option<i64>) {
        if *self.record.to == *replica {
            self.record.gap_ms = self.gap_until(first_ms);
        }
    }

    fn gap_until(&self, first_ms: Option<i64>) -> Option<i64> {
        Some(first_ms?.saturating_sub(self.from_seen_ms).max(0))
    }

    fn with(&self, elected: Option<&Elected>) -> ElectionRecord {
        let mut record = self.record.clone();
        if let Some(elected) = elected.filter(|elected| *elected.replica == *record.to) {
            record.gap_ms = self.gap_until(elected.first_ms());
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(replica: &str, elected_at: i64, changes: i64) -> ReplicaDesc {
        ReplicaDesc {
            replica: replica.to_owned(),
            elected_at,
            elected_changes: changes,
            ..ReplicaDesc::default()
        }
    }

    fn ended(replica: &str, seen_ms: i64, first_ms: Option<i64>) -> Ended {
        Ended {
            replica: replica.into(),
            seen_ms,
            first_ms,
        }
    }

    #[test]
    fn each_election_has_its_cause_silence_and_gap() {
        let mut history = History::default();
        history.add("t", "c", ended("a", 10_000, None), &desc("b", 40_000, 1));
        history.explain("t", "c", "b", ElectionCause::Arrival);
        history.explain("t", "c", "z", ElectionCause::ByHand);
        history.add(
            "t",
            "c",
            ended("b", 90_000, Some(41_000)),
            &desc("a", 95_000, 2),
        );
        let [second, first] = history.of("t", "c", None).try_into().unwrap();
        assert_eq!((&*first.from, &*first.to), ("a", "b"));
        assert_eq!(first.cause, ElectionCause::Arrival);
        assert_eq!((first.silent_ms, first.gap_ms), (30_000, Some(31_000)));
        assert_eq!((second.silent_ms, second.gap_ms), (5_000, None));
        assert_eq!(second.cause, ElectionCause::Elsewhere);
        let all = history.all(|record| Some(record.elected_ms + 1_000));
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].gap_ms, all[1].gap_ms), (Some(6_000), Some(31_000)));
        assert!(history.of("t", "other", None).is_empty());
    }

    #[test]
    fn it_is_bounded_for_one_cluster_and_for_all() {
        let mut history = History::default();
        history.add("t", "quiet", ended("a", 0, None), &desc("b", 1, 1));
        let flaps = 3 * ELECTIONS_KEPT as i64;
        for time in 0..flaps {
            history.add("t", "flaps", ended("a", time, None), &desc("b", time, time));
        }
        let of_cluster = history.of("t", "flaps", None);
        assert_eq!(of_cluster.len(), ELECTIONS_KEPT_OF_A_CLUSTER);
        assert_eq!(of_cluster[0].elected_ms, flaps - 1);
        // One cluster does not drop the history of another.
        assert_eq!(history.of("t", "quiet", None).len(), 1);
        let dropped = flaps as u64 - ELECTIONS_KEPT_OF_A_CLUSTER as u64;
        assert_eq!(history.counts(), (ELECTIONS_KEPT_OF_A_CLUSTER + 1, dropped));
        for number in 0..ELECTIONS_KEPT {
            let name = format!("c{number}");
            history.add("t", &name, ended("a", 0, None), &desc("b", 1, 1));
        }
        assert_eq!(history.counts().0, ELECTIONS_KEPT);
        assert!(history.of("t", "quiet", None).is_empty());
        assert_eq!(history.clusters.len(), ELECTIONS_KEPT);
    }
}
