//! `distributor.Distributor/Push`: remote write 1.0 without its snappy, over gRPC.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use remote_write::Version;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::metadata::MetadataValue;
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::app::Shared;
use crate::http_server::push::tenant;
use crate::push::{
    Arrival, Cause, Held, Message, PushAnswer, PushBody, PushRequest, Sender, retry_after_seconds,
};

use super::encoding::{Encoding, too_large};

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Of the service.
pub(super) const NAME: &str = "distributor.Distributor";
/// Of its only method.
pub(super) const PATH: &str = "/distributor.Distributor/Push";

/// The service. Its requests are not decoded, so it is not generated.
#[derive(Clone)]
pub(super) struct Distributor {
    shared: Arc<Shared>,
}

impl Distributor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl NamedService for Distributor {
    const NAME: &'static str = NAME;
}

impl<B> Service<http::Request<B>> for Distributor
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let answer = match request.uri().path() {
                PATH => push(&shared, request).await,
                other => Err(Status::unimplemented(format!("there is no method {other}"))),
            };
            Ok(answer.unwrap_or_else(Status::into_http))
        })
    }
}

async fn push<B>(shared: &Shared, request: http::Request<B>) -> Result<http::Response<Body>, Status>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let mut sender = Sender::of(&parts);
    match accept(shared, &mut sender, parts.headers, body).await {
        Ok(answer) => {
            shared.pusher.note(&sender, &answer);
            match answer.status {
                StatusCode::OK | StatusCode::NO_CONTENT => Ok(success()),
                _ => Err(refusal(answer)),
            }
        }
        Err(Refused::Answer(answer)) => {
            shared.pusher.note(&sender, &answer);
            Err(refusal(answer))
        }
        Err(Refused::Call(status)) => {
            shared.pusher.note(&sender, &as_answer(&status));
            Err(status)
        }
    }
}

/// Why there is nothing to push.
enum Refused {
    Answer(PushAnswer),
    Call(Status),
}

impl From<PushAnswer> for Refused {
    fn from(answer: PushAnswer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Call(status)
    }
}

async fn accept<B>(
    shared: &Shared,
    sender: &mut Sender,
    headers: HeaderMap,
    body: B,
) -> Result<PushAnswer, Refused>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    sender.tenant.push_str(tenant(shared, &headers)?);
    let encoding = Encoding::of(&headers)?;
    let arrival = shared.pusher.arrive(sender)?;
    let mut held = shared.pusher.hold();
    let (prefix, message) = read(shared, encoding, body, arrival, &mut held).await?;
    let _in_flight = shared.pusher.enter()?;
    let message = match prefix.encoding {
        Some(encoding) => encoding.decode(shared, message, &mut held).await?,
        None => message,
    };
    let request = PushRequest {
        tenant: &sender.tenant,
        client: sender.client(),
        version: Version::V1,
        body: PushBody::Plain(message),
        headers,
        held,
    };
    Ok(shared.pusher.push(request).await)
}

/// The one message of a unary call, as it was sent. Memory grows with the bytes that arrive, not
/// with what was declared.
async fn read<B>(
    shared: &Shared,
    encoding: Option<Encoding>,
    body: B,
    mut arrival: Arrival<'_>,
    held: &mut Held<'_>,
) -> Result<(Prefix, Message), Refused>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    let limit = shared.config.distributor.max_recv_msg_size;
    let mut body = std::pin::pin!(body);
    let mut head = Vec::with_capacity(PREFIX);
    let mut prefix = None;
    let mut message = shared.pusher.message();
    while let Some(frame) = arrival.frame(&mut body).await? {
        let frame = frame.map_err(|error| {
            let error: StdError = error.into();
            Status::cancelled(format!("the request ended early: {error}"))
        })?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        while prefix.is_none() && data.has_remaining() {
            head.push(data.get_u8());
            if let Some(bytes) = head.first_chunk() {
                prefix = Some(Prefix::read(*bytes, encoding, limit)?);
            }
        }
        let length = prefix.map_or(0, |prefix| prefix.length);
        if message.bytes().len() + data.remaining() > length {
            let problem = "the call has more than one message";
            return Err(Status::invalid_argument(problem).into());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            message.append(chunk, length, held)?;
            let read = chunk.len();
            data.advance(read);
        }
    }
    match prefix {
        Some(prefix) if message.bytes().len() == prefix.length => Ok((prefix, message)),
        _ => {
            let problem = "the request ended in the middle of its message";
            Err(Status::invalid_argument(problem).into())
        }
    }
}

/// What the five bytes before a message say.
#[derive(Clone, Copy)]
struct Prefix {
    encoding: Option<Encoding>,
    /// Bytes of the message as it is sent.
    length: usize,
}

impl Prefix {
    fn read(
        [compressed, length @ ..]: [u8; PREFIX],
        encoding: Option<Encoding>,
        limit: u64,
    ) -> Result<Self, Status> {
        let encoding = match (compressed, encoding) {
            (0, _) => None,
            (1, Some(encoding)) => Some(encoding),
            (1, None) => {
                return Err(Status::internal(
                    "the message is compressed, but no grpc-encoding says how; fix the client",
                ));
            }
            (other, _) => {
                return Err(Status::internal(format!(
                    "the message's flag is {other}, neither 0 nor 1 (compressed); fix the client"
                )));
            }
        };
        let length = u32::from_be_bytes(length);
        if u64::from(length) > limit {
            return Err(too_large(length, limit));
        }
        Ok(Self {
            encoding,
            length: length as usize,
        })
    }
}

/// A message without content, and the status.
fn success() -> http::Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Frame::data(Bytes::from_static(&[0; PREFIX])),
        Frame::trailers(trailers),
    ];
    let frames = stream::iter(frames.map(Ok::<_, Infallible>));
    let mut response = http::Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// The same for the log, where a status says what it does over HTTP.
fn as_answer(status: &Status) -> PushAnswer {
    let message = status.message();
    match status.code() {
        Code::OutOfRange => PushAnswer::new(StatusCode::PAYLOAD_TOO_LARGE, message),
        Code::Unimplemented => PushAnswer::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message),
        Code::Unavailable => PushAnswer::unavailable(message),
        Code::Cancelled => PushAnswer::unavailable(message).because(Cause::BodyNotReceived),
        _ => PushAnswer::bad_request(message),
    }
}

/// The same text as over HTTP. That all was deduplicated is an error here, since it is one between
/// Mimir's components.
pub(super) fn refusal(answer: PushAnswer) -> Status {
    let code = match answer.status {
        StatusCode::ACCEPTED => Code::AlreadyExists,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::PAYLOAD_TOO_LARGE => Code::OutOfRange,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Code::InvalidArgument,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            Code::Unavailable
        }
        status if status.is_server_error() => Code::Internal,
        _ => Code::FailedPrecondition,
    };
    let mut status = Status::new(code, answer.message);
    if let Some(wait) = answer.retry_after {
        let seconds = MetadataValue::from(retry_after_seconds(wait));
        status.metadata_mut().insert("retry-after", seconds);
    }
    status
}
