//! The rows: the state of each cluster.

use admin_api::{ClusterState as State, Elected, Habits, OtherReplica};
use ha_tracker::{ClusterStatus, ReplicaDesc, ReplicaStatus};

use crate::pages::times::rfc3339;

/// A replica that was seen within this many failover timeouts counts as a standby: some send less
/// often than others.
const STANDBY_TIMEOUTS: i64 = 2;

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tenant: String,
    pub(super) cluster: String,
    /// What is stored.
    pub(super) desc: ReplicaDesc,
    /// When the elected replica was last seen, Unix ms: here, or by the distributor that stored it.
    pub(super) last_seen_ms: i64,
    /// The other replicas that were seen here, the next to be elected first.
    pub(super) others: Vec<Seen>,
    pub(super) update_in_ms: i64,
    /// Until another replica may be elected if the elected one is not seen again, ms.
    pub(super) failover_in_ms: i64,
    pub(super) state: State,
    /// Silence after which another replica is elected, ms.
    pub(super) allowed_silence_ms: i64,
    /// How the elected replica sends.
    pub(super) elected: Seen,
    /// Whether only the elected replica has been seen here for 15 minutes.
    pub(super) has_lost_redundancy: bool,
    /// How many replicas were seen within the last 15 minutes.
    pub(super) replicas_seen: usize,
    pub(super) last_gap_ms: Option<i64>,
}

/// A replica, and how it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) replica: String,
    /// When it was last seen here, Unix ms; 0 = not.
    pub(super) last_seen_ms: i64,
    /// Time of the newest sample of its last request, Unix ms.
    pub(super) sample_ms: Option<i64>,
    pub(super) cadence_ms: Option<i64>,
    /// How far its newest sample was ahead of this clock, ms.
    pub(super) ahead_ms: Option<i64>,
    pub(super) is_clock_ahead: bool,
    /// When it was last refused, Unix ms.
    pub(super) refused_ms: Option<i64>,
}

impl Seen {
    fn new(status: &ReplicaStatus) -> Self {
        Self {
            replica: status.replica.clone(),
            last_seen_ms: status.seen_ms.unwrap_or(0),
            sample_ms: status.sample_ms,
            cadence_ms: status.cadence_ms,
            ahead_ms: status.ahead_ms,
            is_clock_ahead: status.is_clock_ahead(),
            refused_ms: status.refused_ms,
        }
    }

    /// What is known of it, for programs.
    fn json(&self) -> Habits {
        Habits {
            send_interval_ms: self.cadence_ms,
            clock_ahead_ms: self.ahead_ms,
            last_refused: self.refused_ms.map(rfc3339),
            newest_sample: self.sample_ms.map(rfc3339),
        }
    }
}

impl Row {
    /// Derives the state of a cluster.
    pub(super) fn new(status: ClusterStatus, now_ms: i64) -> Self {
        let election = status.election;
        let elected = Seen::new(&status.elected);
        let others: Vec<Seen> = status
            .others
            .iter()
            .filter(|other| other.seen_ms.is_some())
            .map(Seen::new)
            .collect();
        let desc = election.desc;
        let allowed_silence_ms = status.allowed_silence_ms;
        let last_seen_ms = status.last_seen_ms;
        let seen_ms = elected.last_seen_ms;
        let silent_ms = allowed_silence_ms.saturating_sub(status.failover_in_ms);
        let seen_within = |timeouts: i64| {
            let limit_ms = allowed_silence_ms.saturating_mul(timeouts);
            let is_within = |other: &Seen| now_ms.saturating_sub(other.last_seen_ms) <= limit_ms;
            others.iter().any(is_within)
        };
        let has_standby = seen_within(STANDBY_TIMEOUTS);
        let is_seen_here = seen_ms != 0 && now_ms.saturating_sub(seen_ms) < allowed_silence_ms;
        let state = if silent_ms >= allowed_silence_ms {
            if seen_within(1) {
                State::FailoverDue
            } else {
                State::Silent
            }
        } else if silent_ms >= allowed_silence_ms / 3 * 2 {
            State::Late
        } else if is_seen_here && !has_standby {
            State::Alone
        } else {
            State::Fine
        };
        Self {
            tenant: election.tenant,
            cluster: election.cluster,
            desc,
            last_seen_ms,
            others,
            update_in_ms: status.update_in_ms,
            failover_in_ms: status.failover_in_ms,
            state,
            allowed_silence_ms,
            elected,
            has_lost_redundancy: status.has_lost_redundancy,
            replicas_seen: status.replicas_seen,
            last_gap_ms: status.last_gap_ms,
        }
    }

    pub(super) fn json(&self) -> Elected {
        let others = self.others.iter().map(|seen| OtherReplica {
            last_seen: rfc3339(seen.last_seen_ms),
            replica: seen.replica.clone(),
            habits: seen.json(),
        });
        Elected {
            cluster: self.cluster.clone(),
            elected_at: rfc3339(self.desc.received_at),
            elected_changes: self.desc.elected_changes,
            elected_last_seen_time: rfc3339(self.last_seen_ms),
            failover_duration: self.failover_in_ms.saturating_mul(1_000_000),
            last_election_time: rfc3339(self.desc.elected_at),
            last_gap_ms: self.last_gap_ms,
            last_seen: rfc3339(self.last_seen_ms),
            other_replicas: others.collect(),
            habits: self.elected.json(),
            redundancy_lost: self.has_lost_redundancy,
            replica: self.desc.replica.clone(),
            state: Some(self.state),
            update_duration: self.update_in_ms.saturating_mul(1_000_000),
            tenant: self.tenant.clone(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ha_tracker::Election;
    use serde_json::json;

    use super::*;

    pub(in crate::pages::ha_tracker) const NOW: i64 = 1_700_000_000_000;
    const TIMEOUT: i64 = 30_000;

    /// A cluster whose entry is `stored` ms old, whose elected replica was seen `seen` ms ago, and
    /// the other one `other` ms ago.
    pub(in crate::pages::ha_tracker) fn row(
        cluster: &str,
        stored: i64,
        seen: Option<i64>,
        other: Option<i64>,
    ) -> Row {
        let election = Election {
            tenant: "t".into(),
            cluster: cluster.into(),
            desc: ReplicaDesc {
                replica: format!("{cluster}-a"),
                received_at: NOW - stored,
                elected_at: NOW - 60_000,
                elected_changes: 3,
                ..ReplicaDesc::default()
            },
        };
        let status = |replica: String, ago: Option<i64>| ReplicaStatus {
            replica,
            seen_ms: ago.map(|ago| NOW - ago),
            sample_ms: ago.map(|ago| NOW - ago - 700),
            is_steady: true,
            cadence_ms: Some(15_000),
            ahead_ms: Some(1_500),
            refused_ms: None,
        };
        let other = other.map(|ago| status(format!("{cluster}-b"), Some(ago)));
        let cluster = ClusterStatus {
            elected: status(election.desc.replica.clone(), seen),
            election,
            update_in_ms: 15_000 - stored,
            failover_in_ms: TIMEOUT - stored.min(seen.unwrap_or(stored)),
            last_seen_ms: NOW - stored.min(seen.unwrap_or(stored)),
            allowed_silence_ms: TIMEOUT,
            replicas_seen: 1 + usize::from(other.is_some()),
            has_lost_redundancy: false,
            last_gap_ms: Some(3_250),
            others: other.into_iter().collect(),
        };
        Row::new(cluster, NOW)
    }

    #[test]
    fn a_cluster_is_judged_by_who_was_seen_when() {
        for (stored, seen, other, state) in [
            (14_000, Some(200), Some(300), State::Fine),
            // By other distributors.
            (14_000, None, None, State::Fine),
            (14_000, None, Some(300), State::Fine),
            (14_000, Some(200), None, State::Alone),
            (14_000, Some(200), Some(61_000), State::Alone),
            (40_000, Some(19_000), Some(300), State::Fine),
            (40_000, Some(20_000), Some(300), State::Late),
            (29_000, None, None, State::Late),
            (30_000, None, Some(300), State::FailoverDue),
            (30_000, Some(90_000), None, State::Silent),
            (30_000, None, Some(31_000), State::Silent),
        ] {
            let row = row("c", stored, seen, other);
            assert_eq!(row.state, state, "{stored} {seen:?} {other:?}");
        }
        let row = row("c", 14_000, Some(200), None);
        assert_eq!(row.failover_in_ms, TIMEOUT - 200);
    }

    #[test]
    fn json_has_mimirs_fields_and_ours() {
        let mut row = row("c", 14_877, Some(200), Some(300));
        row.desc.elected_at = NOW - 15_000;
        let expected = json!({
            "userID": "t",
            "cluster": "c",
            "replica": "c-a",
            "lastElectionTime": "2023-11-14T22:13:05.000Z",
            "lastGapMs": 3_250,
            "electedAt": "2023-11-14T22:13:05.123Z",
            "electedLastSeenTime": "2023-11-14T22:13:19.800Z",
            "updateDuration": 123_000_000,
            "failoverDuration": 29_800_000_000_i64,
            "electedChanges": 3,
            "state": "fine",
            "sendIntervalMs": 15_000,
            "clockAheadMs": 1_500,
            "lastRefused": null,
            "newestSample": "2023-11-14T22:13:19.100Z",
            "redundancyLost": false,
            "lastSeen": "2023-11-14T22:13:19.800Z",
            "otherReplicas": [{"replica": "c-b", "lastSeen": "2023-11-14T22:13:19.700Z", "sendIntervalMs": 15_000, "clockAheadMs": 1_500, "lastRefused": null, "newestSample": "2023-11-14T22:13:19.000Z"}],
        });
        assert_eq!(serde_json::to_value(row.json()).unwrap(), expected);
    }
}
