//! `/runtime_config`: as `/config`, of what tenants override.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use distributor_config::{Mode, RuntimeSnapshot, TenantLimits};
use kv_core::visible;
use maud::{Markup, html};
use serde::Deserialize;

use super::PageRenderer;
use super::frame::layout;
use super::parts::link;
use super::table::{Slice, pager};
use super::yaml::{Parameters, YAML, yaml_page};
use crate::accept::{wants_html, wants_json};
use crate::answer::{HTML, JSON};
use crate::lending::Renderer;
use crate::routes::Page;

/// Tenants of one page; each has some fifty lines.
const TENANTS: usize = 50;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) limits: TenantLimits,
    pub(crate) renderer: Arc<PageRenderer>,
}

/// Which tenants the page for people shows; programs get all.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Keeps the tenants whose name contains this, in upper or lower case.
    #[serde(default)]
    tenant: String,
    /// From 1.
    page: Option<usize>,
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(parameters): Query<Parameters>,
    Query(wanted): Query<Wanted>,
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
        let page = move || {
            let content = content(&snapshot, mode, &wanted);
            layout(Page::RuntimeConfig.route().title, &content).into_string()
        };
        (HTML, Box::new(page))
    } else {
        (YAML, Box::new(move || snapshot.render_yaml(mode)))
    };
    let write = move |page: &mut Renderer| page.write_str(&write());
    parts.renderer.answer(&headers, content_type, write).await
}

fn content(snapshot: &RuntimeSnapshot, mode: Mode, wanted: &Wanted) -> Markup {
    let route = Page::RuntimeConfig.route();
    let part = wanted.tenant.to_lowercase();
    let all = snapshot.tenants().map(|(tenant, _)| tenant);
    let mut tenants: Vec<&str> = all
        .filter(|tenant| tenant.to_lowercase().contains(&part))
        .collect();
    tenants.sort_unstable();
    let slice = Slice::new(wanted.page, Some(TENANTS));
    let shown: HashSet<&str> = slice.of(&tenants).iter().copied().collect();
    let yaml = snapshot.render_yaml_of(mode, |tenant| shown.contains(tenant));
    html! {
        @if mode != Mode::Defaults && (!tenants.is_empty() || !wanted.tenant.is_empty()) {
            form method="get" role="search" {
                @if mode == Mode::Diff { input type="hidden" name="mode" value="diff"; }
                label { "Tenant contains" input.wide type="search" name="tenant" value=(visible(&wanted.tenant)) autocomplete="off"; }
                button.primary { "Filter" }
                @if !wanted.tenant.is_empty() { a href=(route.path) { "Show all" } }
            }
            (pager(tenants.len(), slice, |page| {
                let mode = if mode == Mode::Diff { "diff" } else { "" };
                let parameters = [("mode", mode.into()), ("tenant", wanted.tenant.as_str().into()), ("page", page.to_string().into())];
                link(route.path, &parameters)
            }))
        }
        div #table { (yaml_page(route.title, route.path, mode, &yaml)) }
    }
}
