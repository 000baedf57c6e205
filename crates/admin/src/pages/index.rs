//! `/`: conditions that need attention, and links to all pages.

use std::sync::Arc;

use admin_api::{Index, PageLink};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ha_tracker::Clock;
use maud::html;

use super::conditions::{condition_html, condition_json};
use super::frame::{ICON, html_page};
use super::parts::scroll;
use super::table::heading;
use super::times::rfc3339;
use crate::accept::wants_json;
use crate::answer::json;
use crate::health::{Condition, Health};
use crate::routes::{self, Page, Route};
use crate::view::Build;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) health: Arc<Health>,
    pub(crate) build: Build,
}

pub(crate) async fn page(State(parts): State<Parts>, headers: HeaderMap) -> Response {
    let conditions = parts.health.conditions();
    if wants_json(&headers) {
        let page = |route: &Route| PageLink {
            description: route.purpose.to_owned(),
            path: route.path.to_owned(),
        };
        return json(&Index {
            attention: conditions.iter().map(Condition::to_string).collect(),
            conditions: conditions.iter().map(condition_json).collect(),
            pages: routes::index().map(page).collect(),
        });
    }
    let now_ms = Clock::System.now_ms();
    html_page(
        Page::Index.route().title,
        &html! {
            p.note { "Version " (parts.build.version) ", revision " (parts.build.revision) ". Now: " (rfc3339(now_ms)) }
            h2 { "What needs attention" }
            @if conditions.is_empty() {
                div.notice.fine { p { "Nothing that this distributor knows of." } }
            }
            @for condition in &conditions { (condition_html(condition, now_ms)) }
            h2 { "Pages" }
            (scroll("Pages", &html! { table.rows role="table" {
                caption.unseen { "Pages" }
                thead role="rowgroup" { tr role="row" { (heading("Page")) (heading("What it shows")) (heading("Path")) } }
                tbody role="rowgroup" {
                    @for route in routes::index() {
                        tr role="row" {
                            th role="rowheader" scope="row" data-name="Page" { span { @if route.page == Page::Push { "Remote write" } @else { a href=(route.path) { (name(route)) } } } }
                            td role="cell" data-name="Shows" { span { (route.purpose) } }
                            td role="cell" data-name="Path" { code { (route.path) } }
                        }
                    }
                }
            } }))
        },
    )
}

/// Its title; pages for programs have none, and are named by the end of their path.
fn name(route: &'static Route) -> &'static str {
    match route.title {
        "" => route.path.rsplit('/').next().unwrap_or(route.path),
        title => title,
    }
}

/// The icon that browsers request for answers that are not pages.
pub(crate) async fn favicon() -> Response {
    let content_type = (CONTENT_TYPE, "image/svg+xml");
    ([content_type], ICON).into_response()
}
