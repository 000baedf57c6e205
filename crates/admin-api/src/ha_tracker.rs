//! `/distributor/ha_tracker`, of which Grafana Mimir has a page with some of the fields; and the
//! stored values that other pages show.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

/// `/distributor/ha_tracker`. `Rows` serialises as a list: there may be very many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaTracker<Rows = Vec<Elected>> {
    /// The clusters, by tenant and name unless another order was asked for.
    pub elected: Rows,
    /// When this was made.
    #[serde(default)]
    pub now: String,
}

/// One cluster. Mimir's page has no [`Elected::last_seen`], [`Elected::last_gap_ms`],
/// [`Elected::other_replicas`], [`Elected::state`], [`Elected::habits`] and
/// [`Elected::redundancy_lost`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Elected {
    /// Name of the cluster.
    pub cluster: String,
    /// When the elected replica was last stored as seen: the name that Mimir had before 2.14.
    #[serde(default)]
    pub elected_at: String,
    /// How often another replica was elected.
    #[serde(default)]
    pub elected_changes: i64,
    /// When the elected replica was last seen, here or by the distributor that stored it: the name that
    /// Mimir has since 2.14. The same as [`Elected::last_seen`].
    #[serde(default)]
    pub elected_last_seen_time: String,
    /// Until another replica may be elected, ns; negative if it may be elected now.
    #[serde(default)]
    pub failover_duration: i64,
    /// When the replica was elected.
    #[serde(default)]
    pub last_election_time: String,
    /// What the last failover cost, as far as this distributor forwarded the samples: the sample time
    /// without samples, ms; negative if both replicas have samples of that time. `None` if it knows of
    /// no failover.
    #[serde(default)]
    pub last_gap_ms: Option<i64>,
    /// When the elected replica was last seen, here or by the distributor that stored it.
    #[serde(default)]
    pub last_seen: String,
    /// The other replicas that were seen by this distributor, the next to be elected first.
    #[serde(default)]
    pub other_replicas: Vec<OtherReplica>,
    /// How the elected replica sends.
    #[serde(flatten)]
    pub habits: Habits,
    /// Whether this distributor has seen only the elected replica for 15 minutes.
    #[serde(default)]
    pub redundancy_lost: bool,
    /// The elected replica.
    pub replica: String,
    /// State of the cluster; `None` on Mimir's page, and for states of a newer version.
    #[serde(default, deserialize_with = "known_state")]
    pub state: Option<ClusterState>,
    /// Until the entry is written again, ns; negative if that is due.
    #[serde(default)]
    pub update_duration: i64,
    /// The tenant.
    #[serde(rename = "userID")]
    pub tenant: String,
}

fn known_state<'de, D: Deserializer<'de>>(input: D) -> Result<Option<ClusterState>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(input)?;
    let is_named = |state: &ClusterState| Some(state.as_str()) == text.as_deref();
    Ok(ClusterState::ALL.into_iter().find(is_named))
}

/// How a replica sends, as far as this distributor sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Habits {
    /// How often its requests arrive, ms: the mean gap, weighed by its length; `None` before the second
    /// request.
    pub send_interval_ms: Option<i64>,
    /// How far its newest sample was ahead of this distributor's clock when its last request arrived,
    /// ms; negative: how old it was.
    pub clock_ahead_ms: Option<i64>,
    /// When a request of it was last refused with 429 or 5xx.
    pub last_refused: Option<String>,
    /// Time of the newest sample in its last request.
    pub newest_sample: Option<String>,
}

/// `/distributor/ha_tracker/cluster`: one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDetail {
    /// Its election and its replicas.
    pub cluster: Elected,
    /// How many replicas were seen within the last 15 minutes.
    pub replicas_seen: u64,
    /// Silence after which the elected replica is overdue, ms.
    pub allowed_silence_ms: i64,
    /// Elections that ended another one, the latest first, since this distributor started.
    pub history: Vec<PastElection>,
    /// When this was made.
    pub now: String,
}

/// `/distributor/ha_tracker/elections`: the history of all clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elections<Rows = Vec<PastElection>> {
    /// The latest first.
    pub elections: Rows,
    /// When this was made.
    pub now: String,
}

/// An election that ended another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastElection {
    /// `poll`, `arrival`, `by_hand`, `lossless`, or `elsewhere`: written by another distributor.
    pub cause: String,
    /// Name of the cluster.
    pub cluster: String,
    /// How often another replica had been elected then, this time included.
    pub elected_changes: i64,
    /// When.
    pub election_time: String,
    /// From the last request of the predecessor to the first one of this replica that was accepted by
    /// this distributor, ms; `None` if it has accepted none.
    pub gap_ms: Option<i64>,
    /// The replica that was elected before.
    pub predecessor: String,
    /// The replica that was elected.
    pub replica: String,
    /// For how long the predecessor had not been seen, ms.
    pub silence_ms: i64,
    /// The tenant.
    #[serde(rename = "userID")]
    pub tenant: String,
}

/// A replica that is not elected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OtherReplica {
    /// When it was last seen by this distributor.
    pub last_seen: String,
    /// Its name.
    pub replica: String,
    /// How it sends.
    #[serde(flatten)]
    pub habits: Habits,
}

/// State of a cluster, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// No replica sends.
    Silent,
    /// The elected replica is silent, and another sends.
    FailoverDue,
    /// The elected replica has not been seen for most of the failover timeout.
    Late,
    /// No other replica is seen by this distributor.
    Alone,
    /// The elected replica sends, and another could take over; or it is seen by other distributors.
    Fine,
}

impl ClusterState {
    /// All, the worst first.
    pub const ALL: [Self; 5] = [
        Self::Silent,
        Self::FailoverDue,
        Self::Late,
        Self::Alone,
        Self::Fine,
    ];

    /// As in JSON, and in the query of the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::FailoverDue => "failover-due",
            Self::Late => "late",
            Self::Alone => "alone",
            Self::Fine => "fine",
        }
    }
}

/// A stored election: the field names of its protobuf message, and times that people can read beside
/// those in Unix ms. 0 ms and no time mean never.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplicaDesc {
    /// When it was marked for deletion, Unix ms.
    #[serde(default)]
    pub deleted_at: i64,
    /// The same time.
    pub deleted_at_time: Option<String>,
    /// When the replica was elected, Unix ms.
    #[serde(default)]
    pub elected_at: i64,
    /// The same time.
    pub elected_at_time: Option<String>,
    /// How often another replica was elected.
    #[serde(default)]
    pub elected_changes: i64,
    /// When the elected replica was last seen, Unix ms.
    #[serde(default)]
    pub received_at: i64,
    /// The same time.
    pub received_at_time: Option<String>,
    /// The elected replica.
    pub replica: String,
}

/// The value of one key of the gossip store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredValue {
    /// An election.
    Election(ReplicaDesc),
    /// Bytes that are not an election.
    Undecodable {
        /// What is wrong with them.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_far_as_they_are_known() {
        let state = |text: &str| {
            let row = format!(r#"{{"userID":"t","cluster":"c","replica":"r"{text}}}"#);
            serde_json::from_str::<Elected>(&row).unwrap().state
        };
        let known = state(r#","state":"failover-due""#);
        assert_eq!(known, Some(ClusterState::FailoverDue));
        assert_eq!(state(r#","state":"moving""#), None);
        assert_eq!(state(r#","state":null"#), None);
        assert_eq!(state(""), None);
    }
}
