//! The election rule: a pure function of the stored entry, the candidate, and the time.

use std::fmt;
use std::time::Duration;

use crate::ReplicaDesc;
use crate::clock::saturating_ms;

/// The durations that the rule compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// An entry younger than this is left alone.
    pub update: Duration,
    /// Silence of the elected replica after which another may be elected.
    pub failover: Duration,
    /// How far the candidate's sample must be ahead of the last recorded one; zero = any.
    pub sample_failover: Duration,
}

/// The replica that may be written to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The replica.
    pub replica: &'a str,
    /// When it was last seen, Unix ms.
    pub seen_ms: i64,
    /// Its newest sample time in that request, Unix ms; `None` if it sent no sample. Mimir takes the
    /// earliest: there, one target with old timestamps blocks a failover for ever.
    pub sample_ms: Option<i64>,
}

/// The result of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Keep the stored entry.
    Keep(KeepReason),
    /// The elected replica is alive: store this newer time.
    Refresh(ReplicaDesc),
    /// Store this newly elected replica.
    Elect(ReplicaDesc, ElectReason),
}

/// Why an entry is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// It is younger than the update timeout.
    Young,
    /// The elected replica has not been silent for the failover timeout.
    ElectedAlive,
    /// The candidate's samples are not far enough ahead.
    SamplesTooOld,
}

/// Why a replica was elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectReason {
    /// The cluster had no entry.
    NewCluster,
    /// The entry was marked for deletion.
    DeletedCluster,
    /// The elected replica has been silent for this many milliseconds.
    Failover {
        /// Age of the last recorded sample.
        silent_ms: i64,
    },
}

impl fmt::Display for ElectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElectReason::NewCluster => f.write_str("new cluster"),
            ElectReason::DeletedCluster => {
                f.write_str("the cluster's entry was marked for deletion")
            }
            ElectReason::Failover { silent_ms } => {
                write!(
                    f,
                    "failover: the elected replica was silent for {silent_ms} ms"
                )
            }
        }
    }
}

/// Decides what to store for `candidate`, given what is stored now.
///
/// `changes_before` is the number of changes that an earlier attempt of the same compare-and-swap
/// saw; if the entry is deleted in between, counting continues from there.
pub fn decide(
    current: Option<&ReplicaDesc>,
    candidate: &Candidate<'_>,
    now_ms: i64,
    timeouts: &Timeouts,
    changes_before: i64,
) -> Decision {
    let elect = |elected_changes, reason| {
        let desc = ReplicaDesc {
            replica: candidate.replica.to_owned(),
            received_at: candidate.seen_ms,
            deleted_at: 0,
            elected_at: now_ms,
            elected_changes,
        };
        Decision::Elect(desc, reason)
    };
    let Some(stored) = current else {
        return elect(changes_before, ElectReason::NewCluster);
    };
    if stored.is_deleted() {
        return elect(changes_before, ElectReason::DeletedCluster);
    }
    // Other machines' clocks can be ahead of ours: an age can be negative, which is young.
    let age_ms = now_ms.saturating_sub(stored.received_at);
    if age_ms < saturating_ms(timeouts.update) {
        return Decision::Keep(KeepReason::Young);
    }
    if stored.replica == candidate.replica {
        return Decision::Refresh(ReplicaDesc {
            // Never back in time: another tracker may have written since.
            received_at: candidate.seen_ms.max(stored.received_at),
            // Cortex does not write it.
            elected_at: if stored.elected_at == 0 {
                now_ms
            } else {
                stored.elected_at
            },
            ..stored.clone()
        });
    }
    if age_ms < saturating_ms(timeouts.failover) {
        return Decision::Keep(KeepReason::ElectedAlive);
    }
    if !timeouts.sample_failover.is_zero() {
        let ahead_ms = candidate
            .sample_ms
            .map(|sample| sample.saturating_sub(stored.received_at));
        // Without a sample there is nothing to take over with.
        if ahead_ms.is_none_or(|ahead| ahead < saturating_ms(timeouts.sample_failover)) {
            return Decision::Keep(KeepReason::SamplesTooOld);
        }
    }
    elect(
        stored.elected_changes.saturating_add(1),
        ElectReason::Failover { silent_ms: age_ms },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        update: Duration::from_secs(15),
        failover: Duration::from_secs(30),
        sample_failover: Duration::ZERO,
    };
    const NOW: i64 = 1_700_000_000_000;

    fn stored(age_s: i64) -> ReplicaDesc {
        ReplicaDesc {
            replica: "r1".into(),
            received_at: NOW - age_s * 1000,
            deleted_at: 0,
            elected_at: NOW - 3_600_000,
            elected_changes: 4,
        }
    }

    fn candidate(replica: &str) -> Candidate<'_> {
        Candidate {
            replica,
            seen_ms: NOW - 100,
            sample_ms: Some(NOW - 200),
        }
    }

    fn elected(changes: i64) -> ReplicaDesc {
        ReplicaDesc {
            replica: "r2".into(),
            received_at: NOW - 100,
            deleted_at: 0,
            elected_at: NOW,
            elected_changes: changes,
        }
    }

    #[test]
    fn an_absent_entry_elects_and_keeps_the_count_of_this_cas() {
        let decision = decide(None, &candidate("r2"), NOW, &TIMEOUTS, 7);
        assert_eq!(
            decision,
            Decision::Elect(elected(7), ElectReason::NewCluster)
        );
    }

    #[test]
    fn a_deleted_entry_elects_even_its_own_replica() {
        let deleted = ReplicaDesc {
            deleted_at: NOW - 1,
            replica: "r2".into(),
            ..stored(1)
        };
        let decision = decide(Some(&deleted), &candidate("r2"), NOW, &TIMEOUTS, 0);
        assert_eq!(
            decision,
            Decision::Elect(elected(0), ElectReason::DeletedCluster)
        );
    }

    #[test]
    fn a_young_entry_is_kept_whoever_asks() {
        for replica in ["r1", "r2"] {
            let young = ReplicaDesc {
                received_at: NOW - 14_999,
                ..stored(0)
            };
            let decision = decide(Some(&young), &candidate(replica), NOW, &TIMEOUTS, 0);
            assert_eq!(decision, Decision::Keep(KeepReason::Young));
        }
        let from_the_future = stored(-3600);
        let decision = decide(Some(&from_the_future), &candidate("r2"), NOW, &TIMEOUTS, 0);
        assert_eq!(decision, Decision::Keep(KeepReason::Young));
    }

    #[test]
    fn the_elected_replica_is_refreshed_with_the_time_it_was_seen() {
        let decision = decide(Some(&stored(15)), &candidate("r1"), NOW, &TIMEOUTS, 0);
        let refreshed = ReplicaDesc {
            received_at: NOW - 100,
            ..stored(15)
        };
        assert_eq!(decision, Decision::Refresh(refreshed));
    }

    #[test]
    fn an_entry_of_cortex_gets_an_election_time() {
        let cortex = ReplicaDesc {
            elected_at: 0,
            elected_changes: 0,
            ..stored(20)
        };
        let Decision::Refresh(repaired) =
            decide(Some(&cortex), &candidate("r1"), NOW, &TIMEOUTS, 0)
        else {
            panic!("not refreshed");
        };
        assert_eq!(repaired.elected_at, NOW);
    }

    #[test]
    fn another_replica_waits_for_the_failover_timeout_to_the_millisecond() {
        let almost = ReplicaDesc {
            received_at: NOW - 29_999,
            ..stored(0)
        };
        let decision = decide(Some(&almost), &candidate("r2"), NOW, &TIMEOUTS, 0);
        assert_eq!(decision, Decision::Keep(KeepReason::ElectedAlive));
        let decision = decide(Some(&stored(30)), &candidate("r2"), NOW, &TIMEOUTS, 0);
        let reason = ElectReason::Failover { silent_ms: 30_000 };
        assert_eq!(decision, Decision::Elect(elected(5), reason));
    }

    #[test]
    fn a_sample_failover_timeout_asks_for_newer_samples_too() {
        let timeouts = Timeouts {
            sample_failover: Duration::from_secs(40),
            ..TIMEOUTS
        };
        let with_sample = |sample_ms| Candidate {
            sample_ms,
            ..candidate("r2")
        };
        let entry = stored(35);
        for too_old in [
            None,
            Some(NOW),
            Some(entry.received_at + 39_999),
            Some(i64::MIN),
        ] {
            let decision = decide(Some(&entry), &with_sample(too_old), NOW, &timeouts, 0);
            assert_eq!(
                decision,
                Decision::Keep(KeepReason::SamplesTooOld),
                "{too_old:?}"
            );
        }
        let new_enough = with_sample(Some(entry.received_at + 40_000));
        let decision = decide(Some(&entry), &new_enough, NOW, &timeouts, 0);
        assert!(matches!(decision, Decision::Elect(..)), "{decision:?}");
    }

    #[test]
    fn extreme_stored_times_do_not_overflow() {
        for received_at in [i64::MIN, i64::MAX, 0] {
            let odd = ReplicaDesc {
                received_at,
                elected_changes: i64::MAX,
                ..stored(0)
            };
            decide(Some(&odd), &candidate("r2"), NOW, &TIMEOUTS, 0);
        }
    }
}
