//! `distributor.Distributor/Push`: remote write 1.0 without its snappy, over gRPC.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::stream;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use ingest::{
    Arrival, Compression, Held, Message, Outcome, PushAnswer, PushBody, Pusher, Rejection, Sender,
    message_too_large,
};
use remote_write::Version;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::server::NamedService;
use tracing::Instrument as _;

use super::encoding;
use super::refused::{Refused, status_of};
use crate::intake::{Intake, Received};
use crate::traces;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Of the service.
pub(super) const NAME: &str = "distributor.Distributor";
/// Of its only method.
pub(super) const PATH: &str = "/distributor.Distributor/Push";

/// The service. Its requests are not decoded, so it is not generated.
#[derive(Clone)]
pub(super) struct Distributor {
    intake: Arc<Intake>,
}

impl Distributor {
    pub(super) fn new(intake: Arc<Intake>) -> Self {
        Self { intake }
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
        let intake = Arc::clone(&self.intake);
        Box::pin(async move {
            let answer = match request.uri().path() {
                PATH => {
                    let span = traces::push_span("grpc", request.headers());
                    push(&intake, request).instrument(span).await
                }
                other => Err(Status::unimplemented(format!("there is no method {other}"))),
            };
            Ok(answer.unwrap_or_else(Status::into_http))
        })
    }
}

async fn push<B>(intake: &Intake, request: http::Request<B>) -> Result<http::Response<Body>, Status>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let mut sender = Sender::new(address.map(|ConnectInfo(address)| *address), &parts.headers);
    match accept(intake, &mut sender, parts.headers, body).await {
        Ok(answer) => {
            intake.pusher.note(&sender, &answer);
            traces::record_push(&sender.tenant, answer.status());
            match answer.outcome {
                Outcome::Stored => Ok(success()),
                _ => Err(status_of(answer)),
            }
        }
        Err(refused) => {
            let (answer, status) = refused.into_parts();
            intake.pusher.note(&sender, &answer);
            traces::record_push(&sender.tenant, answer.status());
            Err(status)
        }
    }
}

async fn accept<B>(
    intake: &Intake,
    sender: &mut Sender,
    headers: HeaderMap,
    body: B,
) -> Result<PushAnswer, Refused>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    let identity = intake.identify(&headers)?;
    let tenant = intake.tenant(identity.as_ref(), &headers)?;
    sender.tenant.push_str(tenant);
    let compression = encoding::compression(&headers)?;
    let pusher = &intake.pusher;
    let arrival = pusher.arrive(sender)?;
    let mut held = pusher.hold();
    let (prefix, message) = read(pusher, compression, body, arrival, &mut held).await?;
    let in_flight = pusher.enter()?;
    let message = match prefix.compression {
        Some(compression) => pusher.expand(compression, message, &mut held).await?,
        None => message,
    };
    let received = Received {
        version: Version::V1,
        body: PushBody::Plain(message),
        headers,
        held,
        in_flight,
    };
    Ok(intake.push(sender, received).await)
}

/// The one message of a unary call, as it was sent. Memory grows with the bytes that arrive, not
/// with what was declared.
async fn read<B>(
    pusher: &Pusher,
    compression: Option<Compression>,
    body: B,
    mut arrival: Arrival<'_>,
    held: &mut Held<'_>,
) -> Result<(Prefix, Message), Refused>
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: Into<StdError> + Send + 'static,
{
    let limit = pusher.max_recv_msg_size();
    let mut body = std::pin::pin!(body);
    let mut head = Vec::with_capacity(PREFIX);
    let mut prefix = None;
    let mut message = pusher.message();
    while let Some(frame) = arrival.frame(&mut body).await? {
        let frame = frame.map_err(|error| ended_early(&error.into()))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        while prefix.is_none() && data.has_remaining() {
            head.push(data.get_u8());
            if let Some(bytes) = head.first_chunk() {
                prefix = Some(Prefix::read(*bytes, compression, limit)?);
            }
        }
        let length = prefix.map_or(0, |prefix| prefix.length);
        if message.bytes().len() + data.remaining() > length {
            return Err(Rejection::malformed("the call has more than one message").into());
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            pusher.append(&mut message, chunk, length, held).await?;
            let read = chunk.len();
            data.advance(read);
        }
    }
    match prefix {
        Some(prefix) if message.bytes().len() == prefix.length => Ok((prefix, message)),
        _ => {
            let problem = "the request ended in the middle of its message";
            Err(Rejection::malformed(problem).into())
        }
    }
}

fn ended_early(error: &StdError) -> Refused {
    let problem = format!("the request ended early: {error}");
    let status = Status::cancelled(&problem);
    Refused::with_status(Rejection::body_not_received(problem), status)
}

/// What the five bytes before a message say.
#[derive(Clone, Copy)]
struct Prefix {
    compression: Option<Compression>,
    /// Bytes of the message as it is sent.
    length: usize,
}

impl Prefix {
    fn read(
        [compressed, length @ ..]: [u8; PREFIX],
        compression: Option<Compression>,
        limit: u64,
    ) -> Result<Self, Refused> {
        let compression = match (compressed, compression) {
            (0, _) => None,
            (1, Some(compression)) => Some(compression),
            (1, None) => {
                return Err(bad_prefix(
                    "the message is compressed, but no grpc-encoding says how; fix the client"
                        .to_owned(),
                ));
            }
            (other, _) => {
                return Err(bad_prefix(format!(
                    "the message's flag is {other}, neither 0 nor 1 (compressed); fix the client"
                )));
            }
        };
        let length = u32::from_be_bytes(length);
        if u64::from(length) > limit {
            return Err(message_too_large(length, limit).into());
        }
        Ok(Self {
            compression,
            length: length as usize,
        })
    }
}

/// The client's implementation of gRPC is wrong, not what it sends with it.
fn bad_prefix(problem: String) -> Refused {
    let status = Status::internal(&problem);
    Refused::with_status(Rejection::malformed(problem), status)
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
