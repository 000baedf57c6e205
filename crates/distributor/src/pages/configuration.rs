//! `/config` and `/runtime_config`: YAML, as a page for browsers, or JSON on request. Secrets are not
//! shown.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::html;
use serde::Deserialize;

use super::{json, page, parts, typed, wants_json};
use crate::app::Shared;
use crate::config::{Mode, render_json, render_yaml};
use crate::http_server::accept::wants_html;
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
    let yaml = render_yaml(&shared.config, mode);
    if wants_html(&headers) {
        return yaml_page("Configuration", "/config", mode, &yaml);
    }
    typed(YAML, yaml)
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
    let yaml = snapshot.render_yaml(mode);
    if wants_html(&headers) {
        return yaml_page("Runtime configuration", "/runtime_config", mode, &yaml);
    }
    typed(YAML, yaml)
}

fn yaml_page(title: &str, path: &str, mode: Mode, yaml: &str) -> Response {
    let modes = [
        (Mode::Full, "", "All that is in effect"),
        (Mode::Diff, "diff", "What differs from the defaults"),
        (Mode::Defaults, "defaults", "The defaults"),
    ];
    page(
        title,
        &html! {
            ul.links aria-label="What to show" {
                @for (other, name, title) in modes {
                    li { a href=(parts::link(path, &[("mode", name.into())])) aria-current=[(other == mode).then_some("true")] { (title) } }
                }
            }
            p.note { "Secrets are not shown. Programs get the YAML alone, or JSON with " code { "Accept: application/json" } "." }
            pre role="region" aria-label=(title) tabindex="0" { (yaml) }
        },
    )
}
