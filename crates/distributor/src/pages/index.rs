//! `/`: what needs attention, and what there is.

use std::sync::Arc;

use admin_api::{Index, PageLink};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use ha_tracker::Clock;
use kv_core::visible;
use maud::{Markup, html};

use super::parts::scroll;
use super::{ago, json, rfc3339, wants_json};
use crate::app::Shared;
use crate::health::Condition;
use crate::http_server::accept::wants_html;
use crate::http_server::text;

/// Path and purpose of every page.
const PAGES: [(&str, &str); 10] = [
    (
        "/distributor/ha_tracker",
        "Clusters: the elected replica, when each replica was seen, and which clusters need attention",
    ),
    ("/memberlist", "Gossip: members, entries, messages"),
    (
        "/distributor/multi_kv",
        "Multi store: primary, secondary, mirroring, and what differs",
    ),
    (
        "/ready",
        "Whether this instance may get traffic, and why not",
    ),
    ("/services", "Parts of this process and their state"),
    ("/metrics", "Metrics for Prometheus"),
    (
        "/config",
        "Configuration in effect (?mode=diff: what differs from the defaults; ?mode=defaults)",
    ),
    (
        "/runtime_config",
        "Per-tenant overrides in effect (?mode=diff: what differs)",
    ),
    ("/api/v1/status/buildinfo", "Version of this build"),
    (
        "/api/v1/push",
        "Remote write 1.0 and 2.0 (POST; also /api/v1/write)",
    ),
];

pub(crate) async fn page(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let conditions = shared.health.conditions(&shared);
    if wants_json(&headers) {
        let page = |(path, purpose): (&str, &str)| PageLink {
            description: purpose.to_owned(),
            path: path.to_owned(),
        };
        return json(&Index {
            attention: conditions.iter().map(Condition::to_string).collect(),
            conditions: conditions.iter().map(condition_json).collect(),
            pages: PAGES.into_iter().map(page).collect(),
        });
    }
    let now_ms = Clock::System.now_ms();
    super::page(
        "Index",
        &html! {
            p.note { "Version " (crate::VERSION) ", revision " (crate::REVISION) ". Now: " (rfc3339(now_ms)) }
            h2 { "What needs attention" }
            @if conditions.is_empty() {
                div.notice.fine { p { "Nothing that this distributor knows of." } }
            }
            @for condition in &conditions { (condition_html(condition, now_ms)) }
            h2 { "Pages" }
            (scroll("Pages", &html! { table {
                thead { tr { th scope="col" { "Page" } th scope="col" { "What it shows" } } }
                tbody {
                    @for (path, purpose) in PAGES {
                        tr {
                            td { @if path == "/api/v1/push" { code { (path) } } @else { a href=(path) { code { (path) } } } }
                            td { (purpose) }
                        }
                    }
                }
            } }))
        },
    )
}

pub(super) fn condition_html(condition: &Condition, now_ms: i64) -> Markup {
    let severity = condition.severity.as_str();
    html! {
        div class={ "notice " (severity) } {
            p { b { (visible(&condition.component.to_string())) ": " (severity) }
                span.note title=(rfc3339(condition.since_ms)) { "since " (rfc3339(condition.since_ms)) " (" (ago(now_ms, condition.since_ms)) ")" } }
            p { (visible(&condition.what)) "." }
            p.note { (visible(&condition.remedy)) "." }
        }
    }
}

pub(super) fn condition_json(condition: &Condition) -> admin_api::Condition {
    admin_api::Condition {
        component: condition.component.to_string(),
        remedy: condition.remedy.clone(),
        severity: condition.severity,
        since: rfc3339(condition.since_ms),
        what: condition.what.clone(),
    }
}

/// For browsers that ask for it beside what is no page.
pub(crate) async fn favicon() -> Response {
    let content_type = (CONTENT_TYPE, "image/svg+xml");
    ([content_type], super::layout::ICON).into_response()
}

pub(crate) async fn not_found(uri: Uri, headers: HeaderMap) -> Response {
    nothing(
        &headers,
        &format!("there is nothing at {}", visible(uri.path())),
    )
}

/// 404, with a way back for people.
pub(super) fn nothing(headers: &HeaderMap, what: &str) -> Response {
    if wants_html(headers) {
        let mut response = super::page(
            "Not found",
            &html! { p { "Sorry, " (what) ". " a href="/" { "The index" } " lists what there is." } },
        );
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    text(
        StatusCode::NOT_FOUND,
        format!("{what}; / lists what there is"),
    )
}
