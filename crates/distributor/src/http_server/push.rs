//! `POST /api/v1/push`: remote write over HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::text;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{
    ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use ingest::{
    Arrival, Cause, Held, Outcome, PushAnswer, PushBody, Pusher, RETRY_ATTEMPT, Rejection, Sender,
    WRITTEN_EXEMPLARS, WRITTEN_HISTOGRAMS, WRITTEN_SAMPLES,
};
use remote_write::{UnsupportedMediaType, Version};
use tracing::Instrument as _;

use super::CHALLENGE;
use crate::intake::{Intake, Received};
use crate::traces;

/// Of a body that will be refused anyway, this much is read, so that a sender that is still writing
/// gets to read the answer.
const DRAIN: usize = 1 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn push(State(intake): State<Arc<Intake>>, request: Request<Body>) -> Response {
    let span = traces::push_span("http", request.headers());
    answer(&intake, request).instrument(span).await
}

async fn answer(intake: &Intake, request: Request<Body>) -> Response {
    let (parts, mut body) = request.into_parts();
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let mut sender = Sender::new(address.map(|ConnectInfo(address)| *address), &parts.headers);
    let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let (version, unknown) = version_of(content_type, intake.accepts_unknown_content_types);
    let known_version = version.as_ref().ok().copied();
    let attempt = parts.headers.get(RETRY_ATTEMPT).cloned();
    let answer = match accept(intake, &mut sender, version, parts.headers, &mut body).await {
        Ok(answer) => match unknown {
            Some(unknown) if answer.cause() == Some(Cause::Malformed) => {
                not_even_v1(&unknown, answer.message())
            }
            _ => answer,
        },
        Err(rejection) => {
            drain(body).await;
            PushAnswer::from(rejection).counted_for(known_version.unwrap_or(Version::V1))
        }
    };
    intake.pusher.note(&sender, &answer);
    traces::record_push(&sender.tenant, answer.status());
    let retry_after = intake.pusher.retry_after_seconds(&answer, attempt.as_ref());
    let is_unknown = answer.cause() == Some(Cause::Unauthenticated);
    let mut response = respond(answer, known_version, retry_after);
    if is_unknown {
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

pub(super) async fn method_not_allowed() -> Response {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "remote write needs the method POST",
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// The version of a request, and what was wrong with its content type if it is read as 1.0 all the
/// same: some senders do not say what they send, and Mimir takes it.
fn version_of(
    content_type: Option<&[u8]>,
    accepts_unknown: bool,
) -> (
    Result<Version, UnsupportedMediaType>,
    Option<UnsupportedMediaType>,
) {
    match remote_write::version_of_content_type(content_type) {
        Err(unknown @ UnsupportedMediaType::ContentType { .. }) if accepts_unknown => {
            (Ok(Version::V1), Some(unknown))
        }
        version => (version, None),
    }
}

/// It is what it said that it is.
fn not_even_v1(unknown: &UnsupportedMediaType, problem: &str) -> PushAnswer {
    let problem = format!("{unknown}; nor is it remote write 1.0: {problem}");
    Rejection::refused(Cause::UnsupportedMediaType, problem).into()
}

/// An error means that the body has not been read to its end.
async fn accept(
    intake: &Intake,
    sender: &mut Sender,
    version: Result<Version, UnsupportedMediaType>,
    headers: HeaderMap,
    body: &mut Body,
) -> Result<PushAnswer, Rejection> {
    let bytes_of = |name| headers.get(name).map(HeaderValue::as_bytes);
    let unsupported = |error: UnsupportedMediaType| {
        Rejection::refused(Cause::UnsupportedMediaType, error.to_string())
    };
    let identity = intake.identify(&headers)?;
    let tenant = intake.tenant(identity.as_ref(), &headers);
    // Known to the log as well if the request is refused for something else.
    if let Ok(name) = &tenant {
        sender.tenant.push_str(name);
    }
    let version = version.map_err(unsupported)?;
    remote_write::check_content_encoding(bytes_of(CONTENT_ENCODING)).map_err(unsupported)?;
    tenant?;
    let pusher = &intake.pusher;
    let arrival = pusher.arrive(sender)?;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    let mut held = pusher.hold();
    let body = read(pusher, body, arrival, declared, &mut held).await?;
    let in_flight = pusher.enter()?;
    let received = Received {
        version,
        body: PushBody::Snappy(body),
        headers,
        held,
        in_flight,
    };
    Ok(intake.push(sender, received).await)
}

/// Reads the body; memory grows with the bytes that arrive, not with what was declared.
async fn read(
    pusher: &Pusher,
    body: &mut Body,
    mut arrival: Arrival<'_>,
    declared: Option<u64>,
    held: &mut Held<'_>,
) -> Result<Bytes, Rejection> {
    let limit = pusher.max_recv_msg_size();
    let mut collected = pusher.message();
    let too_large = |size: u64, how: &str| {
        Rejection::too_large(&format!(
            "the request body has {how}{size} bytes, more than the limit of {limit} bytes \
             (distributor.max_recv_msg_size); send smaller batches (max_samples_per_send) or raise \
             the limit"
        ))
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
            pusher.append(&mut collected, &first, most, held).await?;
            held.shrink(first.len() as u64);
        }
        pusher.append(&mut collected, &data, most, held).await?;
    }
    Ok(first.unwrap_or_else(|| collected.freeze()))
}

/// The answer if the body cannot be read: a truncated body may arrive completely at a retry, an
/// invalid one stays invalid.
fn broken(error: &axum::Error) -> Rejection {
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
        true => Rejection::malformed(format!(
            "the request body is not framed as HTTP requires: {error}; fix the sender, or the proxy \
             before this instance"
        )),
        false => {
            Rejection::body_not_received(format!("the request body ended early: {error}; retry"))
        }
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
            tokio::task::yield_now().await;
        }
    };
    // For a slower sender the connection is closed.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

/// The answer as HTTP has it. Senders of 2.0 get no content where others get an empty one.
fn respond(answer: PushAnswer, version: Option<Version>, retry_after: Option<u64>) -> Response {
    let status = match (&answer.outcome, version) {
        (Outcome::Stored, Some(Version::V2)) => StatusCode::NO_CONTENT,
        _ => answer.status(),
    };
    let written = answer.written;
    let message = answer.into_message();
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
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}
