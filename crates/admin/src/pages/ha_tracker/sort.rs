//! The order of the rows.

use std::cmp::Ordering;

use admin_api::ClusterState as State;
use serde::Deserialize;

use super::rows::Row;
use crate::pages::table::Direction;

/// What rows are sorted by: less than a row, since there are as many as clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) tenant: String,
    pub(super) cluster: String,
    pub(super) state: State,
    replica: String,
    last_seen_ms: i64,
    elected_ms: i64,
    changes: i64,
    failover_in_ms: i64,
}

impl From<Row> for Key {
    fn from(row: Row) -> Self {
        Self {
            tenant: row.tenant,
            cluster: row.cluster,
            state: row.state,
            replica: row.desc.replica,
            last_seen_ms: row.last_seen_ms,
            elected_ms: row.desc.elected_at,
            changes: row.desc.elected_changes,
            failover_in_ms: row.failover_in_ms,
        }
    }
}

/// What the rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sort {
    #[default]
    #[serde(alias = "")]
    Attention,
    Tenant,
    Cluster,
    Replica,
    LastSeen,
    LastElection,
    Elections,
    Failover,
}

impl Sort {
    pub(super) const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Attention, "", "what needs attention"),
        (Self::Tenant, "tenant", "tenant"),
        (Self::Cluster, "cluster", "cluster"),
        (Self::Replica, "replica", "elected replica"),
        (Self::LastSeen, "last-seen", "last request"),
        (Self::LastElection, "last-election", "last election"),
        (Self::Elections, "elections", "number of elections"),
        (Self::Failover, "failover", "time until a failover"),
    ];

    pub(super) fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(sort, ..)| *sort == self)
            .map_or("", |(_, name, _)| name)
    }

    /// Its direction unless another one is asked for.
    pub(super) fn usual(self) -> Direction {
        match self {
            Self::LastElection | Self::Elections => Direction::Descending,
            _ => Direction::Ascending,
        }
    }

    /// Equal ones are in the order of their names, whatever the direction, so that rows keep their
    /// places.
    pub(super) fn compare(self, direction: Direction, a: &Key, b: &Key) -> Ordering {
        let first = match self {
            Self::Tenant => (&a.tenant, &a.cluster).cmp(&(&b.tenant, &b.cluster)),
            Self::Attention => {
                let key = |row: &Key| {
                    // Silent ones first, the longest silence first.
                    let last = if row.state <= State::Late {
                        row.last_seen_ms
                    } else {
                        0
                    };
                    (row.state, last)
                };
                key(a).cmp(&key(b))
            }
            Self::Cluster => a.cluster.cmp(&b.cluster),
            Self::Replica => a.replica.cmp(&b.replica),
            Self::LastSeen => a.last_seen_ms.cmp(&b.last_seen_ms),
            Self::LastElection => a.elected_ms.cmp(&b.elected_ms),
            Self::Elections => a.changes.cmp(&b.changes),
            Self::Failover => a.failover_in_ms.cmp(&b.failover_in_ms),
        };
        let first = match direction {
            Direction::Ascending => first,
            Direction::Descending => first.reverse(),
        };
        first.then_with(|| (&a.tenant, &a.cluster).cmp(&(&b.tenant, &b.cluster)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::row;
    use super::*;

    #[test]
    fn the_worst_comes_first() {
        let mut keys: Vec<Key> = [
            row("fine", 1000, Some(1), Some(1)),
            row("alone", 1000, Some(1), None),
            row("silent", 31_000, None, None),
            row("longer", 99_000, None, None),
            row("due", 31_000, None, Some(1)),
            row("also-fine", 900, Some(2), Some(1)),
            row("late", 25_000, None, None),
        ]
        .map(Key::from)
        .into();
        let mut sorted = |sort: Sort, direction| -> Vec<String> {
            keys.sort_by(|a, b| sort.compare(direction, a, b));
            keys.iter().map(|key| key.cluster.clone()).collect()
        };
        assert_eq!(
            sorted(Sort::Attention, Direction::Ascending),
            [
                "longer",
                "silent",
                "due",
                "late",
                "alone",
                "also-fine",
                "fine"
            ]
        );
        assert_eq!(
            sorted(Sort::LastSeen, Direction::Ascending)[..2],
            ["longer", "due"]
        );
        assert_eq!(
            sorted(Sort::Tenant, Direction::Ascending)[..2],
            ["alone", "also-fine"]
        );
        assert_eq!(
            sorted(Sort::Tenant, Direction::Descending)[..2],
            ["silent", "longer"]
        );
        // All are equal: by name.
        assert_eq!(
            sorted(Sort::Elections, Direction::Descending)[..2],
            ["alone", "also-fine"]
        );
    }
}
