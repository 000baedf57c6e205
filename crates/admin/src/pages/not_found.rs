//! Answers for unknown paths.

use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use kv_core::visible;
use maud::html;

use super::frame::{html_page, once};
use crate::accept::wants_html;
use crate::answer::text;

/// Handler of unknown paths.
pub(crate) async fn page(uri: Uri, headers: HeaderMap) -> Response {
    nothing(
        &headers,
        &format!("there is nothing at {}", visible(uri.path())),
    )
}

/// 404, with a link to the index.
pub(in crate::pages) fn nothing(headers: &HeaderMap, what: &str) -> Response {
    if wants_html(headers) {
        let mut response = html_page(
            "Not found",
            &html! { (once()) p { "Sorry, " (what) ". " a href="/" { "The index" } " lists all pages." } },
        );
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    text(StatusCode::NOT_FOUND, format!("{what}; / lists all pages"))
}
