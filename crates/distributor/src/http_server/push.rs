//! `POST /api/v1/push`: remote write over HTTP.

mod reply;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::text;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::response::Response;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use ingest::{
    Arrival, Block, Cause, Held, Outcome, PushAnswer, PushBody, Pusher, RETRY_ATTEMPT, Rejection,
    Sender,
};
use remote_write::{UnsupportedMediaType, Version};
use tracing::Instrument as _;

use crate::access::CHALLENGE;
use crate::intake::{Intake, Received};
use crate::traces;
pub(super) use reply::Reply;

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
    let address = address.map(|ConnectInfo(address)| *address);
    let mut push = Push::new(intake, address, &parts.headers);
    let reply = match push.receive(parts.headers, &mut body).await {
        Ok(received) => push.reply(push.push(received).await),
        Err(rejection) => push.refuse(rejection, &mut body).await,
    };
    reply.into_response()
}

/// A push request, from its head to its answer.
pub(super) struct Push<'a> {
    intake: &'a Intake,
    sender: Sender,
    version: Result<Version, UnsupportedMediaType>,
    /// What was wrong with its content type, if it is read as 1.0 all the same.
    unknown: Option<UnsupportedMediaType>,
    attempt: Option<HeaderValue>,
}

impl<'a> Push<'a> {
    /// One with these headers, from this address.
    pub(super) fn new(
        intake: &'a Intake,
        address: Option<SocketAddr>,
        headers: &HeaderMap,
    ) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let (version, unknown) = version_of(content_type, intake.accepts_unknown_content_types);
        Self {
            intake,
            sender: Sender::new(address, headers),
            version,
            unknown,
            attempt: headers.get(RETRY_ATTEMPT).cloned(),
        }
    }

    /// Checks the headers and reads the body.
    ///
    /// # Errors
    /// The body has not been read to its end; see [`Push::refuse`].
    pub(super) async fn receive<B: HttpBody>(
        &mut self,
        headers: HeaderMap,
        body: &mut B,
    ) -> Result<Received<'a>, Rejection> {
        let intake = self.intake;
        let bytes_of = |name| headers.get(name).map(HeaderValue::as_bytes);
        let unsupported = |error: UnsupportedMediaType| {
            Rejection::refused(Cause::UnsupportedMediaType, error.to_string())
        };
        let identity = intake.identify(&headers)?;
        let tenant = intake.tenant(identity.as_ref(), &headers);
        // Known to the log as well if the request is refused for something else.
        if let Ok(name) = &tenant {
            self.sender.tenant.push_str(name);
        }
        let version = self.version.clone().map_err(unsupported)?;
        remote_write::check_content_encoding(bytes_of(CONTENT_ENCODING)).map_err(unsupported)?;
        tenant?;
        let pusher = &intake.pusher;
        let arrival = pusher.arrive(&self.sender)?;
        let declared = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse().ok());
        let mut held = pusher.hold();
        let body = read(pusher, body, arrival, declared, &mut held).await?;
        let in_flight = pusher.enter()?;
        Ok(Received {
            version,
            body: PushBody::Snappy(body),
            headers,
            held,
            in_flight,
        })
    }

    /// Deduplicates and forwards it.
    pub(super) async fn push(&self, received: Received<'_>) -> PushAnswer {
        let answer = self.intake.push(&self.sender, received).await;
        match &self.unknown {
            Some(unknown) if answer.cause() == Some(Cause::Malformed) => {
                not_even_v1(unknown, answer.message())
            }
            _ => answer,
        }
    }

    /// The answer to one that could not be received, after what is left of its body.
    pub(super) async fn refuse<B: HttpBody>(&self, rejection: Rejection, body: &mut B) -> Reply {
        drain(body).await;
        let version = self.version.as_ref().ok().copied();
        let answer = PushAnswer::from(rejection).counted_for(version.unwrap_or(Version::V1));
        self.reply(answer)
    }

    /// Takes note of an answer; what is sent of it.
    pub(super) fn reply(&self, answer: PushAnswer) -> Reply {
        let pusher = &self.intake.pusher;
        pusher.note(&self.sender, &answer);
        traces::record_push(&self.sender.tenant, answer.status());
        let retry_after = pusher.retry_after_seconds(&answer, self.attempt.as_ref());
        let is_unknown = answer.cause() == Some(Cause::Unauthenticated);
        let status = match (&answer.outcome, &self.version) {
            // Senders of 2.0 get no content where others get an empty one.
            (Outcome::Stored, Ok(Version::V2)) => StatusCode::NO_CONTENT,
            _ => answer.status(),
        };
        Reply {
            status,
            written: answer.written,
            retry_after,
            challenge: is_unknown.then_some(CHALLENGE),
            message: answer.into_message(),
        }
    }
}

/// The body of a request.
pub(super) trait HttpBody:
    http_body::Body<Data: Into<Block>, Error: std::error::Error + 'static> + Unpin
{
}

impl<B> HttpBody for B where
    B: http_body::Body<Data: Into<Block>, Error: std::error::Error + 'static> + Unpin
{
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

/// Reads the body; memory grows with the bytes that arrive, not with what was declared.
async fn read<B: HttpBody>(
    pusher: &Pusher,
    body: &mut B,
    mut arrival: Arrival<'_>,
    declared: Option<u64>,
    held: &mut Held<'_>,
) -> Result<Block, Rejection> {
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
        let size = (before + data.remaining()) as u64;
        if size > limit {
            return Err(too_large(size, "at least "));
        }
        // Most bodies come in one piece, which needs no copy.
        if before == 0 {
            held.grow(size)?;
            if body.is_end_stream() {
                return Ok(data.into());
            }
            first = Some(data.into().keep());
            continue;
        }
        if let Some(first) = first.take() {
            pusher.append(&mut collected, &first, most, held).await?;
            held.shrink(first.len() as u64);
        }
        pusher
            .append(&mut collected, data.chunk(), most, held)
            .await?;
    }
    let body = first.unwrap_or_else(|| collected.freeze());
    Ok(body.into())
}

/// The answer if the body cannot be read: a truncated body may arrive completely at a retry, an
/// invalid one stays invalid.
fn broken(error: &(dyn std::error::Error + 'static)) -> Rejection {
    let is_malformed = std::iter::successors(Some(error), |error| error.source())
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

async fn drain<B: HttpBody>(body: &mut B) {
    let reading = async {
        let mut left = DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Buf::remaining));
            if left == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    // For a slower sender the connection is closed.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}
