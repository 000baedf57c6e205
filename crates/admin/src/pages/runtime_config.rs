//! `/runtime_config`: as `/config`, of what tenants override.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use distributor_config::TenantLimits;

use super::PageRenderer;
use super::layout::layout;
use super::yaml::{Parameters, YAML, yaml_page};
use crate::accept::{wants_html, wants_json};
use crate::answer::{HTML, JSON};
use crate::lending::Renderer;
use crate::routes::Page;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) limits: TenantLimits,
    pub(crate) renderer: Arc<PageRenderer>,
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let mode = match parameters.mode() {
        Ok(mode) => mode,
        Err(refused) => return *refused,
    };
    let snapshot = parts.limits.snapshot();
    // Of thousands of tenants, all limits.
    let (content_type, write): (_, Box<dyn FnOnce() -> String + Send>) = if wants_json(&headers) {
        let json = move || snapshot.render_json(mode).to_string();
        (JSON, Box::new(json))
    } else if wants_html(&headers) {
        let route = Page::RuntimeConfig.route();
        let page = move || {
            let yaml = snapshot.render_yaml(mode);
            let content = yaml_page(route.title, route.path, mode, &yaml);
            layout(route.title, &content).into_string()
        };
        (HTML, Box::new(page))
    } else {
        (YAML, Box::new(move || snapshot.render_yaml(mode)))
    };
    let write = move |page: &mut Renderer| page.write_str(&write());
    parts.renderer.answer(&headers, content_type, write).await
}
