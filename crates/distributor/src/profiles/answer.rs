//! What a request for a profile is answered with.

use axum::body::Body;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

/// Why there is no profile.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    BadQuery(String),
    Busy(String),
    /// Not in this process.
    Never(String),
}

/// A profile as a file, or why there is none.
pub(super) fn answer(name: &'static str, made: Result<Vec<u8>, Refused>) -> Response {
    let profile = match made {
        Ok(profile) => profile,
        Err(Refused::BadQuery(what)) => return admin::text(StatusCode::BAD_REQUEST, what),
        Err(Refused::Busy(what)) => return admin::text(StatusCode::SERVICE_UNAVAILABLE, what),
        Err(Refused::Never(what)) => return admin::text(StatusCode::NOT_IMPLEMENTED, what),
    };
    let mut response = Response::new(Body::from(profile));
    let headers = response.headers_mut();
    let binary = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, binary);
    if let Ok(file) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, file);
    }
    response
}
