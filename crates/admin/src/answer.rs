//! Answers over HTTP.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const JSON: &str = "application/json";

/// A plain text answer of one line.
pub fn text(status: StatusCode, line: impl Into<String>) -> Response {
    let mut body: String = line.into();
    body.push('\n');
    (status, body).into_response()
}

/// 503: the client should retry in a moment.
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
    // Converted to a value first, so that keys are sorted. All keys of pages are text.
    let value = serde_json::to_value(value).unwrap_or_default();
    typed(JSON, value.to_string())
}

/// Serialises the items of an iterator as a list, without collecting them.
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
