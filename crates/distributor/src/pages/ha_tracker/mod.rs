//! `/distributor/ha_tracker`: who is elected, who else sends, and what needs attention.

mod rows;
mod table;

use std::fmt::Write;
use std::sync::Arc;

use admin_api::ClusterState as State;
use axum::extract::{Query, State as Extension};
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, HaTracker};
use serde::{Deserialize, Serialize};

use super::times::rfc3339;
use super::{JSON, OneByOne, layout, wants_json};
use crate::app::Shared;
use rows::{Row, Sort};

const PATH: &str = "/distributor/ha_tracker";

/// Which rows to show, and how.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Keeps the rows whose tenant contains this.
    #[serde(default)]
    tenant: String,
    /// Keeps the rows whose cluster contains this.
    #[serde(default)]
    cluster: String,
    /// Keeps the rows of which any replica contains this.
    #[serde(default)]
    replica: String,
    state: Option<State>,
    #[serde(default)]
    sort: Sort,
    /// From 1.
    page: Option<usize>,
}

impl Wanted {
    /// Whether the row is asked for, in whatever state.
    fn names(&self, row: &Row) -> bool {
        let mut replicas =
            std::iter::once(&row.desc.replica).chain(row.others.iter().map(|other| &other.replica));
        row.tenant.contains(&self.tenant)
            && row.cluster.contains(&self.cluster)
            && replicas.any(|replica| replica.contains(&self.replica))
    }

    /// By tenant and cluster, unless asked for another order.
    fn for_programs(self) -> Self {
        let sort = match self.sort {
            Sort::Attention => Sort::Tenant,
            other => other,
        };
        Self { sort, ..self }
    }

    fn covers(&self, row: &Row) -> bool {
        self.state.is_none_or(|state| state == row.state)
    }
}

pub(crate) async fn page(
    Extension(shared): Extension<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let tracker = shared.tracker.clone();
    let json = wants_json(&headers);
    let content_type = if json { JSON } else { super::HTML };
    let wanted = if json { wanted.for_programs() } else { wanted };
    let write = move |page: &mut crate::lending::Renderer| {
        let now_ms = Clock::System.now_ms();
        let rows = tracker
            .as_deref()
            .map(|tracker| rows_of(tracker, &wanted, now_ms));
        if json {
            let rows = rows.unwrap_or_default();
            return page.write_json(&json_page(&rows, &wanted, now_ms));
        }
        let content = table::content(rows, &wanted, now_ms);
        page.write_str(&layout("HA tracker", &content).into_string())
    };
    shared.desk.answer(&headers, content_type, write).await
}

fn rows_of(tracker: &HaTracker, wanted: &Wanted, now_ms: i64) -> Vec<Row> {
    let clusters = tracker.cluster_statuses(now_ms).into_iter();
    let mut rows: Vec<Row> = clusters
        .map(|cluster| Row::new(cluster, now_ms))
        .filter(|row| wanted.names(row))
        .collect();
    rows.sort_by(|a, b| wanted.sort.compare(a, b));
    rows
}

fn json_page(rows: &[Row], wanted: &Wanted, now_ms: i64) -> admin_api::HaTracker<impl Serialize> {
    let covered = move |row: &&Row| wanted.covers(row);
    admin_api::HaTracker {
        elected: OneByOne(move || rows.iter().filter(covered).map(Row::json)),
        now: rfc3339(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::rows::tests::{NOW, row};
    use super::*;

    #[test]
    fn json_is_json_and_filtered() {
        let rows = || vec![row("a", 1, None, None), row("\"<b", 99_000, None, None)];
        let json = |wanted: &Wanted| {
            let text = serde_json::to_string(&json_page(&rows(), wanted, NOW)).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let all = json(&Wanted::default());
        assert_eq!(all["elected"].as_array().unwrap().len(), 2);
        assert_eq!(all["now"], "2023-11-14T22:13:20.000Z");
        let silent = json(&Wanted {
            state: Some(State::Silent),
            ..Wanted::default()
        });
        assert_eq!(silent["elected"][0]["cluster"], "\"<b");
        assert_eq!(silent["elected"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn filters_cover_all_names() {
        let row = row("prod", 1, Some(1), Some(1));
        let names = |tenant: &str, cluster: &str, replica: &str| {
            Wanted {
                tenant: tenant.into(),
                cluster: cluster.into(),
                replica: replica.into(),
                ..Wanted::default()
            }
            .names(&row)
        };
        assert!(names("", "", ""));
        assert!(names("t", "ro", "-a"));
        assert!(names("", "", "prod-b"));
        assert!(!names("u", "", ""));
        assert!(!names("", "x", ""));
        assert!(!names("", "", "prod-c"));
    }
}
