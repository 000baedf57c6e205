//! `/`: what there is, and what needs attention.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use maud::html;
use serde_json::json;

use super::{json, wants_json};
use crate::app::Shared;
use crate::http_server::text;

/// Path and purpose of every page.
const PAGES: [(&str, &str); 10] = [
    ("/distributor/ha_tracker", "Elected replica of each cluster"),
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
    let attention = attention(&shared);
    if wants_json(&headers) {
        let pages: Vec<_> = PAGES
            .iter()
            .map(|(path, purpose)| json!({"path": path, "description": purpose}))
            .collect();
        return json(&json!({"pages": pages, "attention": attention}));
    }
    super::page(
        "Index",
        &html! {
            p.note { "Version " (crate::VERSION) ", revision " (crate::REVISION) }
            @for warning in &attention { p.warn { (warning) } }
            div.scroll { table {
                thead { tr { th { "Page" } th { "What it shows" } } }
                tbody {
                    @for (path, purpose) in PAGES {
                        tr {
                            td { @if path == "/api/v1/push" { code { (path) } } @else { a href=(path) { code { (path) } } } }
                            td { (purpose) }
                        }
                    }
                }
            } }
        },
    )
}

/// What an operator should know at a glance.
fn attention(shared: &Shared) -> Vec<String> {
    let mut attention: Vec<String> = shared
        .not_ready_because()
        .iter()
        .map(|reason| format!("Not ready: {reason}."))
        .collect();
    if shared.config.distributor.downstream.is_empty() {
        attention.push(
            "No downstream is configured (distributor.downstream): accepted samples are counted \
             and dropped."
                .to_owned(),
        );
    }
    if shared.tracker.is_none() {
        attention.push(
            "The HA tracker is off (distributor.ha_tracker.enable_ha_tracker): nothing is \
             deduplicated."
                .to_owned(),
        );
    }
    attention.extend(shared.multi.as_deref().and_then(super::multi_kv::attention));
    attention
}

pub(crate) async fn not_found(uri: Uri) -> Response {
    text(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}; / lists what there is", uri.path()),
    )
}
