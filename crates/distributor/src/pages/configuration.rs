//! `/config` and `/runtime_config`: YAML, or JSON on request. Secrets are not shown.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;

use super::{json, typed, wants_json};
use crate::app::Shared;
use crate::config::{Mode, render_json, render_yaml};
use crate::http_server::text;

const YAML: &str = "text/plain; charset=utf-8";

#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    mode: Option<String>,
}

impl Parameters {
    fn mode(&self) -> Result<Mode, Box<Response>> {
        match self.mode.as_deref() {
            None | Some("") => Ok(Mode::Full),
            Some("diff") => Ok(Mode::Diff),
            Some("defaults") => Ok(Mode::Defaults),
            Some(other) => Err(Box::new(text(
                StatusCode::BAD_REQUEST,
                format!("unknown mode {other:?}; use diff or defaults, or leave it out"),
            ))),
        }
    }
}

pub(crate) async fn config(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let mode = match parameters.mode() {
        Ok(mode) => mode,
        Err(refused) => return *refused,
    };
    if wants_json(&headers) {
        return json(&render_json(&shared.config, mode));
    }
    typed(YAML, render_yaml(&shared.config, mode))
}

pub(crate) async fn runtime_config(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let mode = match parameters.mode() {
        Ok(mode) => mode,
        Err(refused) => return *refused,
    };
    let snapshot = shared.limits.snapshot();
    if wants_json(&headers) {
        return json(&snapshot.render_json(mode));
    }
    typed(YAML, snapshot.render_yaml(mode))
}
