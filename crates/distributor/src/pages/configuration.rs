//! `/config` and `/runtime_config`: YAML, as a page for browsers, or JSON on request. Secrets are not
//! shown.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{HTML, JSON, json, layout, page, parts, typed, wants_json};
use crate::app::Shared;
use crate::config::{Mode, render_json, render_yaml};
use crate::http_server::accept::wants_html;
use crate::http_server::text;
use crate::lending::Renderer;

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
        let title = "Configuration";
        return page(title, &yaml_page(title, "/config", mode, &yaml));
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
    // Of thousands of tenants, all limits.
    let (content_type, write): (_, Box<dyn FnOnce() -> String + Send>) = if wants_json(&headers) {
        let json = move || snapshot.render_json(mode).to_string();
        (JSON, Box::new(json))
    } else if wants_html(&headers) {
        let (title, path) = ("Runtime configuration", "/runtime_config");
        let page = move || {
            let content = yaml_page(title, path, mode, &snapshot.render_yaml(mode));
            layout(title, &content).into_string()
        };
        (HTML, Box::new(page))
    } else {
        (YAML, Box::new(move || snapshot.render_yaml(mode)))
    };
    let write = move |page: &mut Renderer| page.write_str(&write());
    shared.desk.answer(&headers, content_type, write).await
}

fn yaml_page(title: &str, path: &str, mode: Mode, yaml: &str) -> Markup {
    let modes = [
        (Mode::Full, "", "All that is in effect"),
        (Mode::Diff, "diff", "What differs from the defaults"),
        (Mode::Defaults, "defaults", "The defaults"),
    ];
    html! {
            ul.links aria-label="What to show" {
                @for (other, name, title) in modes {
                    li { a href=(parts::link(path, &[("mode", name.into())])) aria-current=[(other == mode).then_some("true")] { (title) } }
                }
            }
            p.note { "Secrets are not shown. Programs get the YAML alone, or JSON with " code { "Accept: application/json" } "." }
            pre role="region" aria-label=(title) tabindex="0" { (yaml) }
    }
}
