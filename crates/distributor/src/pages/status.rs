//! `/ready`, `/metrics`, `/services`, `/api/v1/status/buildinfo`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::html;
use serde_json::json;

use super::{json, page, typed, wants_json};
use crate::app::Shared;
use crate::{http_server, metrics};

pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let reasons = shared.not_ready_because();
    if reasons.is_empty() {
        return http_server::text(StatusCode::OK, "ready");
    }
    let reasons = reasons.join("; ");
    http_server::text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {reasons}"),
    )
}

pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match metrics::encode(&shared.registry) {
        Ok(text) => typed(metrics::CONTENT_TYPE, text),
        Err(error) => http_server::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics cannot be encoded: {error}"),
        ),
    }
}

pub(crate) async fn services(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let services = service_states(&shared);
    if wants_json(&headers) {
        let services: Vec<_> = services
            .iter()
            .map(|(name, state)| json!({"name": name, "status": state}))
            .collect();
        return json(&json!({ "services": services }));
    }
    page(
        "Services",
        &html! {
            div.scroll { table {
                thead { tr { th { "Service" } th { "Status" } } }
                tbody {
                    @for (name, state) in &services { tr { td { (name) } td { (state) } } }
                }
            } }
        },
    )
}

fn service_states(shared: &Shared) -> Vec<(String, String)> {
    let mut services = vec![("server".to_owned(), "Running".to_owned())];
    let tracker = match &shared.tracker {
        None => "Disabled (distributor.ha_tracker.enable_ha_tracker)".to_owned(),
        Some(tracker) if tracker.is_ready() => {
            format!("Running ({} clusters)", tracker.cluster_count())
        }
        Some(_) => "Starting (reading the store)".to_owned(),
    };
    services.push(("ha-tracker".to_owned(), tracker));
    if let Some(gossip) = &shared.gossip {
        let state = match gossip.waiting_for() {
            None => format!("Running (at {})", gossip.address()),
            Some(waiting) => format!("Starting ({waiting})"),
        };
        services.push(("memberlist".to_owned(), state));
    }
    if let Some(multi) = &shared.multi {
        let status = multi.store.status();
        let mirroring = if status.mirror_enabled {
            "mirrored to"
        } else {
            "not mirrored to"
        };
        let state = format!(
            "Running ({}, {mirroring} {})",
            status.primary, status.secondary
        );
        services.push(("multi-kv".to_owned(), state));
    }
    let files = &shared.config.runtime_config.files;
    let runtime = if files.is_empty() {
        "Disabled (no runtime_config.file)".to_owned()
    } else {
        format!("Running ({} files)", files.len())
    };
    services.push(("runtime-config".to_owned(), runtime));
    for downstream in &shared.config.distributor.downstream {
        services.push((
            format!("downstream {}", downstream.name),
            format!("{}", downstream.url),
        ));
    }
    services
}

pub(crate) async fn buildinfo() -> Response {
    json(&json!({
        "status": "success",
        "data": {
            "application": "HA distributor",
            "version": crate::VERSION,
            "revision": crate::REVISION,
            "features": {},
        },
    }))
}
