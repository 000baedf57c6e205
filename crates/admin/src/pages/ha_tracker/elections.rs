//! `/distributor/ha_tracker/elections`: the elections of all clusters, the latest first.

use std::fmt::Write;
use std::sync::Arc;

use admin_api::Elections;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, ELECTIONS_KEPT, ElectionRecord, HaTracker};
use kv_core::visible;
use maud::{Markup, html};
use serde::Deserialize;

use super::history;
use crate::accept::wants_json;
use crate::answer::{HTML, JSON, OneByOne};
use crate::lending::Renderer;
use crate::pages::PageRenderer;
use crate::pages::frame::layout;
use crate::pages::parts::link;
use crate::pages::table::{Slice, pager, rows_choice};
use crate::pages::times::rfc3339;
use crate::routes::Page;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) tracker: Option<Arc<HaTracker>>,
    pub(crate) renderer: Arc<PageRenderer>,
}

/// Which elections to show.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Keeps those of which any name contains this, in upper or lower case.
    #[serde(default)]
    q: String,
    /// From 1.
    page: Option<usize>,
    /// Rows of a page.
    rows: Option<usize>,
}

impl Wanted {
    fn covers(&self, record: &ElectionRecord) -> bool {
        let q = self.q.to_lowercase();
        let names = [&record.tenant, &record.cluster, &record.from, &record.to];
        q.is_empty() || names.iter().any(|name| name.to_lowercase().contains(&q))
    }

    fn link(&self, page: usize) -> String {
        let rows = self.rows.map(|rows| rows.to_string()).unwrap_or_default();
        let parameters = [
            ("q", self.q.as_str().into()),
            ("rows", rows.into()),
            ("page", page.to_string().into()),
        ];
        link(Page::Elections.route().path, &parameters)
    }
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let tracker = parts.tracker.clone();
    let json = wants_json(&headers);
    let write = move |page: &mut Renderer| {
        let now_ms = Clock::System.now_ms();
        let records = tracker.as_deref().map(HaTracker::recent_elections);
        let mut records = records.unwrap_or_default();
        records.retain(|record| wanted.covers(record));
        if json {
            return page.write_json(&Elections {
                elections: OneByOne(|| records.iter().map(history::json)),
                now: rfc3339(now_ms),
            });
        }
        let content = content(&records, &wanted, now_ms);
        page.write_str(&layout(Page::Elections.route().title, &content).into_string())
    };
    let content_type = if json { JSON } else { HTML };
    parts.renderer.answer(&headers, content_type, write).await
}

fn content(records: &[ElectionRecord], wanted: &Wanted, now_ms: i64) -> Markup {
    let slice = Slice::new(wanted.page, wanted.rows);
    let pages = || pager(records.len(), slice, |page| wanted.link(page));
    html! {
        p.note { "Elections by which one replica followed another, as this distributor has seen them since it started; the first election of a cluster is not among them. At most " (ELECTIONS_KEPT) " are kept, in memory. Now: " (rfc3339(now_ms)) "." }
        form method="get" action={ (Page::Elections.route().path) "#table" } role="search" {
            label { "Tenant, cluster or replica contains" input.wide type="search" name="q" value=(visible(&wanted.q)) autocomplete="off"; }
            (rows_choice(slice))
            button.primary { "Apply" }
            @if !wanted.q.is_empty() { a href=(Page::Elections.route().path) { "Show all" } }
        }
        @if records.is_empty() {
            p #table { "No election" @if !wanted.q.is_empty() { " that matches" } " so far." }
        } @else {
            (pages())
            (history::table(slice.of(records), true, now_ms))
        }
        (pages())
        (history::legend())
    }
}

#[cfg(test)]
mod tests {
    use ha_tracker::ElectionCause;

    use super::*;

    #[test]
    fn elections_are_filtered_and_cut_into_pages() {
        let record = |number: i64| ElectionRecord {
            tenant: "Team".into(),
            cluster: format!("c{number:03}").into(),
            from: "a".into(),
            to: "b".into(),
            elected_ms: number,
            changes: 1,
            cause: ElectionCause::Poll,
            silent_ms: 1,
            gap_ms: None,
        };
        let wanted = Wanted {
            q: "TEAM".to_owned(),
            page: Some(2),
            rows: Some(50),
        };
        let records: Vec<_> = (0..120).map(record).collect();
        assert!(records.iter().all(|record| wanted.covers(record)));
        let page = content(&records, &wanted, 0).into_string();
        for part in [
            ">c050<",
            ">c099<",
            "Rows 51 to 100 of 120",
            "q=TEAM&amp;rows=50&amp;page=3",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!page.contains(">c049<") && !page.contains(">c100<"));
        let other = Wanted {
            q: "c007".to_owned(),
            ..Wanted::default()
        };
        assert_eq!(
            records.iter().filter(|record| other.covers(record)).count(),
            1
        );
    }
}
