//! Chooses the rows of one page among all clusters.
//!
//! All clusters are visited, but only what they are sorted by is kept, and only the rows of the page are
//! made: so a page costs little memory, whatever the number of clusters.

use admin_api::ClusterState as State;
use ha_tracker::HaTracker;

use super::query::Wanted;
use super::rows::Row;
use super::sort::Key;

/// The rows of a page, and how many there are.
#[derive(Debug)]
pub(super) struct Selection {
    /// The rows of the page, in order.
    pub(super) rows: Vec<Row>,
    /// Rows of all pages.
    pub(super) matching: usize,
    /// Clusters whose names match, by state.
    pub(super) counts: [(State, usize); State::ALL.len()],
}

/// The rows that are asked for.
pub(super) fn select(tracker: &HaTracker, wanted: &Wanted, now_ms: i64) -> Selection {
    let mut found = Found::default();
    tracker.visit_clusters(now_ms, |status| {
        found.add(Row::new(status, now_ms), wanted);
    });
    found.selection(wanted, |tenant, cluster| {
        let status = tracker.cluster_status(tenant, cluster, now_ms)?;
        Some(Row::new(status, now_ms))
    })
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Found {
    keys: Vec<Key>,
    counts: [(State, usize); State::ALL.len()],
}

impl Default for Found {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            counts: State::ALL.map(|state| (state, 0)),
        }
    }
}

impl Found {
    pub(super) fn add(&mut self, row: Row, wanted: &Wanted) {
        if !wanted.names(&row) {
            return;
        }
        for (state, count) in &mut self.counts {
            *count += usize::from(*state == row.state);
        }
        if wanted.covers(row.state) {
            self.keys.push(Key::from(row));
        }
    }

    /// `row`: the row of a tenant and cluster; `None` if it is gone.
    pub(super) fn selection(
        mut self,
        wanted: &Wanted,
        row: impl Fn(&str, &str) -> Option<Row>,
    ) -> Selection {
        self.keys.sort_unstable_by(|a, b| wanted.compare(a, b));
        let page = wanted.slice().of(&self.keys);
        let rows = page
            .iter()
            .filter_map(|key| row(&key.tenant, &key.cluster))
            .collect();
        Selection {
            rows,
            matching: self.keys.len(),
            counts: self.counts,
        }
    }
}
