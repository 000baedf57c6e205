//! `/ready`, `/metrics`, `/api/v1/status/buildinfo`.

use std::sync::Arc;

use admin_api::{BuildData, BuildInfo, Features};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::json;
use crate::app::Shared;
use crate::http_server;
use crate::metrics::Refusal;

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

pub(crate) async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match shared.exposition.answer(&headers).await {
        Ok(response) => response,
        Err(Refusal::Busy) => super::busy("too many scrapes are being read at this moment"),
        Err(Refusal::Failed) => http_server::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written",
        ),
    }
}

pub(crate) async fn buildinfo() -> Response {
    json(&BuildInfo {
        data: BuildData {
            application: "HA distributor".to_owned(),
            features: Features {},
            revision: crate::REVISION.to_owned(),
            version: crate::VERSION.to_owned(),
        },
        status: "success".to_owned(),
    })
}
