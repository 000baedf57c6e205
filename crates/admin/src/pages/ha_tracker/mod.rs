//! `/distributor/ha_tracker` and the pages below it: who is elected, who else sends, what needs
//! attention, and what has happened.

pub(crate) mod cluster;
pub(crate) mod elections;
pub(crate) mod handover;
mod history;
mod links;
mod query;
mod replica;
mod rows;
mod select;
mod sort;
mod states;
mod table;
pub(crate) mod why;

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, HaTracker};
use serde::Serialize;

use super::PageRenderer;
use super::frame::layout;
use super::times::rfc3339;
use crate::accept::wants_json;
use crate::answer::{HTML, JSON, OneByOne};
use crate::lending::Renderer;
use crate::routes::Page;
use query::Wanted;
use rows::Row;
use select::select;
use sort::Key;

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
        let tracker = tracker.as_deref();
        if json {
            let rows = tracker.map(|tracker| all_rows(tracker, &wanted, now_ms));
            return page.write_json(&json_page(&rows.unwrap_or_default(), now_ms));
        }
        let selection = tracker.map(|tracker| select(tracker, &wanted, now_ms));
        let content = table::content(selection.as_ref(), &wanted, can_hand_over, now_ms);
        page.write_str(&layout(Page::HaTracker.route().title, &content).into_string())
    };
    parts.renderer.answer(&headers, content_type, write).await
}

/// All that match, for programs.
fn all_rows(tracker: &HaTracker, wanted: &Wanted, now_ms: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    tracker.visit_clusters(now_ms, |status| {
        let row = Row::new(status, now_ms);
        if wanted.names(&row) && wanted.covers(row.state) {
            rows.push((Key::from(row.clone()), row));
        }
    });
    rows.sort_by(|(a, _), (b, _)| wanted.compare(a, b));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn json_page(rows: &[Row], now_ms: i64) -> admin_api::HaTracker<impl Serialize> {
    admin_api::HaTracker {
        elected: OneByOne(move || rows.iter().map(Row::json)),
        now: rfc3339(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::rows::tests::{NOW, row};
    use super::*;

    #[test]
    fn json_is_json() {
        let rows = vec![row("a", 1, None, None), row("\"<b", 99_000, None, None)];
        let text = serde_json::to_string(&json_page(&rows, NOW)).unwrap();
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(all["elected"].as_array().unwrap().len(), 2);
        assert_eq!(all["elected"][1]["cluster"], "\"<b");
        assert_eq!(all["now"], "2023-11-14T22:13:20.000Z");
    }
}
