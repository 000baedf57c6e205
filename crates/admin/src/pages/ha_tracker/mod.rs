//! `/distributor/ha_tracker`: who is elected, who else sends, and what needs attention.

pub(crate) mod handover;
mod query;
mod rows;
mod table;

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, HaTracker};
use serde::Serialize;

use super::PageRenderer;
use super::layout::layout;
use super::times::rfc3339;
use crate::accept::wants_json;
use crate::answer::{HTML, JSON, OneByOne};
use crate::lending::Renderer;
use crate::routes::Page;
use query::Wanted;
use rows::Row;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) tracker: Option<Arc<HaTracker>>,
    pub(crate) renderer: Arc<PageRenderer>,
    /// Whether elections may be handed over by hand.
    pub(crate) can_hand_over: bool,
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let (tracker, can_hand_over) = (parts.tracker.clone(), parts.can_hand_over);
    let json = wants_json(&headers);
    let content_type = if json { JSON } else { HTML };
    let wanted = if json { wanted.for_programs() } else { wanted };
    let write = move |page: &mut Renderer| {
        let now_ms = Clock::System.now_ms();
        let rows = tracker
            .as_deref()
            .map(|tracker| rows_of(tracker, &wanted, now_ms));
        if json {
            let rows = rows.unwrap_or_default();
            return page.write_json(&json_page(&rows, &wanted, now_ms));
        }
        let content = table::content(rows, &wanted, can_hand_over, now_ms);
        page.write_str(&layout(Page::HaTracker.route().title, &content).into_string())
    };
    parts.renderer.answer(&headers, content_type, write).await
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
    use admin_api::ClusterState;

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
            state: Some(ClusterState::Silent),
            ..Wanted::default()
        });
        assert_eq!(silent["elected"][0]["cluster"], "\"<b");
        assert_eq!(silent["elected"].as_array().unwrap().len(), 1);
    }
}
