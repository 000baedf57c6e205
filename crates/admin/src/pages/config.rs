//! `/config`: YAML, as a page for browsers, or JSON on request. Secrets are not shown.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use distributor_config::{Config, render_json, render_yaml};

use super::frame::html_page;
use super::yaml::{Parameters, YAML, yaml_page};
use crate::accept::{wants_html, wants_json};
use crate::answer::{json, typed};
use crate::routes::Page;

pub(crate) async fn page(
    State(config): State<Arc<Config>>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let mode = match parameters.mode() {
        Ok(mode) => mode,
        Err(refused) => return *refused,
    };
    if wants_json(&headers) {
        return json(&render_json(&config, mode));
    }
    let yaml = render_yaml(&config, mode);
    if wants_html(&headers) {
        let route = Page::Config.route();
        let content = yaml_page(route.title, route.path, mode, &yaml);
        return html_page(route.title, &content);
    }
    typed(YAML, yaml)
}
