//! `/ready`, `/metrics`, `/api/v1/status/buildinfo`.

use std::sync::Arc;

use admin_api::{BuildData, BuildInfo, Features};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::answer::{busy, json, text};
use crate::exposition::{Exposition, Refusal};
use crate::readiness::Readiness;
use crate::view::Build;

pub(crate) async fn ready(State(readiness): State<Arc<Readiness>>) -> Response {
    let reasons = readiness.not_ready_because();
    if reasons.is_empty() {
        return text(StatusCode::OK, "ready");
    }
    let reasons = reasons.join("; ");
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {reasons}"),
    )
}

/// Depends on nothing: a process that waits for a store or for other members must not be restarted.
pub(crate) async fn healthz() -> Response {
    text(StatusCode::OK, "alive")
}

pub(crate) async fn metrics(State(exposition): State<Exposition>, headers: HeaderMap) -> Response {
    match exposition.answer(&headers).await {
        Ok(response) => response,
        Err(Refusal::Busy) => busy("too many scrapes are being read at the moment"),
        Err(Refusal::Failed) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written",
        ),
    }
}

pub(crate) async fn buildinfo(State(build): State<Build>) -> Response {
    json(&BuildInfo {
        data: BuildData {
            application: "HA distributor".to_owned(),
            features: Features {},
            revision: build.revision.to_owned(),
            version: build.version.to_owned(),
        },
        status: "success".to_owned(),
    })
}
