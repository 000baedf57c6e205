//! `POST /api/v1/push`: remote write over HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use remote_write::{UnsupportedMediaType, Version};

use super::text;
use crate::app::Shared;
use crate::downstream::{WRITTEN_EXEMPLARS, WRITTEN_HISTOGRAMS, WRITTEN_SAMPLES};
use crate::push::{
    Arrival, Cause, Held, Message, PushAnswer, PushBody, PushRequest, Sender, retry_after_seconds,
    validate_tenant,
};

pub(crate) const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");
/// Of a body that will be refused anyway, this much is read, so that a sender that is still writing
/// gets to read the answer.
const DRAIN: usize = 1 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn push(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, mut body) = request.into_parts();
    let mut sender = Sender::of(&parts);
    let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let version = remote_write::version_of_content_type(content_type);
    let is_v2 = matches!(version, Ok(Version::V2));
    let answer = match accept(&shared, &mut sender, version, parts.headers, &mut body).await {
        Ok(answer) => answer,
        Err(mut refused) => {
            drain(body).await;
            if is_v2 {
                refused.written.get_or_insert_default();
            }
            refused
        }
    };
    shared.pusher.note(&sender, &answer);
    respond(answer)
}

pub(super) async fn method_not_allowed() -> Response {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "remote write is a POST; use that method",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// An error means that the body has not been read to its end.
async fn accept(
    shared: &Shared,
    sender: &mut Sender,
    version: Result<Version, UnsupportedMediaType>,
    headers: HeaderMap,
    body: &mut Body,
) -> Result<PushAnswer, PushAnswer> {
    let bytes_of = |name| headers.get(name).map(HeaderValue::as_bytes);
    let unsupported =
        |error| PushAnswer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{error}"));
    let tenant = tenant(shared, &headers);
    // Known to the log as well if the request is refused for something else.
    if let Ok(name) = &tenant {
        sender.tenant.push_str(name);
    }
    let version = version.map_err(unsupported)?;
    remote_write::check_content_encoding(bytes_of(CONTENT_ENCODING)).map_err(unsupported)?;
    tenant?;
    let arrival = shared.pusher.arrive(sender)?;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    let limit = shared.config.distributor.max_recv_msg_size;
    let mut held = shared.pusher.hold();
    let message = shared.pusher.message();
    let body = read(body, arrival, message, declared, limit, &mut held).await?;
    let _in_flight = shared.pusher.enter()?;
    Ok(shared
        .pusher
        .push(PushRequest {
            tenant: &sender.tenant,
            client: sender.client(),
            version,
            body: PushBody::Snappy(body),
            headers,
            held,
        })
        .await)
}

/// The tenant of a request, by its header or metadata [`TENANT`].
pub(crate) fn tenant<'a>(
    shared: &'a Shared,
    headers: &'a HeaderMap,
) -> Result<&'a str, PushAnswer> {
    if !shared.config.multitenancy_enabled {
        return Ok(&shared.config.no_auth_tenant);
    }
    let mut given = headers.get_all(TENANT).iter();
    let Some(header) = given.next().filter(|header| !header.is_empty()) else {
        return Err(PushAnswer::new(
            StatusCode::UNAUTHORIZED,
            "no org id: the header X-Scope-OrgID that names the tenant is missing; set it in the \
             sender, or turn multitenancy off (multitenancy_enabled: false)",
        ));
    };
    let invalid = |problem: String| {
        PushAnswer::bad_request(format!("{problem}; fix the sender")).because(Cause::InvalidTenant)
    };
    let name = header.to_str().map_err(|_| {
        invalid("the header X-Scope-OrgID contains other than visible ASCII characters".to_owned())
    })?;
    validate_tenant(name).map_err(|problem| invalid(format!("header X-Scope-OrgID: {problem}")))?;
    if given.next().is_some() {
        return Err(invalid(
            "the header X-Scope-OrgID is there more than once: a request belongs to one tenant, \
             and a proxy on the way may have taken another one than this instance would"
                .to_owned(),
        ));
    }
    Ok(name)
}

/// Reads the body; memory grows with the bytes that arrive, not with what was declared.
async fn read(
    body: &mut Body,
    mut arrival: Arrival<'_>,
    mut collected: Message,
    declared: Option<u64>,
    limit: u64,
    held: &mut Held<'_>,
) -> Result<Bytes, PushAnswer> {
    let too_large = |size: u64, how: &str| {
        PushAnswer::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the request body has {how}{size} bytes, more than the limit of {limit} bytes \
                 (distributor.max_recv_msg_size); send smaller batches (max_samples_per_send) or \
                 raise the limit"
            ),
        )
    };
    if let Some(size) = declared.filter(|size| *size > limit) {
        return Err(too_large(size, ""));
    }
    let most = usize::try_from(declared.unwrap_or(limit)).unwrap_or(usize::MAX);
    let mut first: Option<Bytes> = None;
    while let Some(frame) = arrival.frame(body).await? {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let before = first.as_ref().map_or(collected.bytes().len(), Bytes::len);
        let size = (before + data.len()) as u64;
        if size > limit {
            return Err(too_large(size, "at least "));
        }
        // Most bodies come in one piece, which needs no copy.
        if before == 0 {
            held.grow(data.len() as u64)?;
            first = Some(data);
            continue;
        }
        if let Some(first) = first.take() {
            collected.append(&first, most, held)?;
            held.shrink(first.len() as u64);
        }
        collected.append(&data, most, held)?;
    }
    Ok(first.unwrap_or_else(|| collected.freeze()))
}

/// What a body that cannot be read further is answered with: sent again, one that was cut off may
/// come whole, and one that is wrong stays wrong.
fn broken(error: &axum::Error) -> PushAnswer {
    let is_malformed = std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    })
    .filter_map(|error| error.downcast_ref::<io::Error>())
    .any(|error| {
        matches!(
            error.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
        )
    });
    match is_malformed {
        true => PushAnswer::bad_request(format!(
            "the request body is not framed as HTTP has it: {error}; fix the sender, or the proxy \
             before this instance"
        )),
        false => PushAnswer::unavailable(format!("the request body ended early: {error}; retry"))
            .because(Cause::BodyNotReceived),
    }
}

async fn drain(mut body: Body) {
    let reading = async {
        let mut left = DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever is slower than that has to live with a closed connection.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

fn respond(answer: PushAnswer) -> Response {
    let PushAnswer {
        status,
        message,
        written,
        retry_after,
        cause: _,
    } = answer;
    let mut response = if message.is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    } else {
        text(status, message)
    };
    let headers = response.headers_mut();
    if let Some(written) = written {
        headers.insert(WRITTEN_SAMPLES, written.samples.into());
        headers.insert(WRITTEN_HISTOGRAMS, written.histograms.into());
        headers.insert(WRITTEN_EXEMPLARS, written.exemplars.into());
    }
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, retry_after_seconds(wait).into());
    }
    response
}
