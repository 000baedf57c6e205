//! Pages: HTML for people, JSON for `Accept: application/json`.
//!
//! Small ones are made where they are asked for; those that grow with what there is, at the [`Desk`].

pub(crate) mod configuration;
mod desk;
pub(crate) mod ha_tracker;
pub(crate) mod index;
mod layout;
pub(crate) mod memberlist;
pub(crate) mod multi_kv;
mod parts;
pub(crate) mod services;
pub(crate) mod status;
mod times;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::Markup;
use serde::{Serialize, Serializer};

pub(crate) use desk::Desk;
use layout::layout;
pub(crate) use times::{ago, rfc3339};

pub(crate) use crate::http_server::accept::wants_json;
use crate::http_server::text;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Try again in a moment.
pub(crate) fn busy(why: &str) -> Response {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{why}; retry in a moment"),
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// An answer with this content type.
pub(crate) fn typed(content_type: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer.
pub(crate) fn json(value: &impl Serialize) -> Response {
    // By way of a value, whose keys are sorted. No page has keys that are not text.
    let value = serde_json::to_value(value).unwrap_or_default();
    typed(JSON, value.to_string())
}

/// Serialises as the list of what an iterator gives, which is made one by one.
pub(crate) struct OneByOne<F>(pub(crate) F);

impl<F, I> Serialize for OneByOne<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A whole HTML page.
pub(crate) fn page(title: &str, content: &Markup) -> Response {
    typed(HTML, layout(title, content).into_string())
}
