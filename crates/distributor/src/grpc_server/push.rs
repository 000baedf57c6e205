//! `distributor.Distributor/Push`: remote write 1.0 without its snappy, over gRPC.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use remote_write::Version;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};

use super::codec::RawCodec;
use crate::app::Shared;
use crate::http_server::push::{BODY_TIMEOUT, TENANT, tenant};
use crate::push::{PushAnswer, PushBody, PushRequest, retry_after_seconds};

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

/// An error stands for a request whose body was not read.
async fn push<B>(
    shared: &Arc<Shared>,
    request: http::Request<B>,
) -> Result<http::Response<Body>, Status>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    let headers = request.headers().clone();
    let tenant = tenant(shared, headers.get(TENANT))
        .map_err(refusal)?
        .to_owned();
    let _in_flight = shared.pusher.enter().map_err(refusal)?;
    let limit = usize::try_from(shared.config.distributor.max_recv_msg_size);
    let call = Call {
        shared: Arc::clone(shared),
        tenant,
        headers,
    };
    let mut grpc =
        Grpc::new(RawCodec).apply_max_message_size_config(Some(limit.unwrap_or(usize::MAX)), None);
    let whole = BODY_TIMEOUT + shared.config.distributor.remote_timeout;
    tokio::time::timeout(whole, grpc.unary(call, request))
        .await
        .map_err(|_| Status::unavailable(format!("the request took longer than {whole:?}; retry")))
}

struct Call {
    shared: Arc<Shared>,
    tenant: String,
    headers: HeaderMap,
}

impl UnaryService<Bytes> for Call {
    type Response = ();
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let tenant = std::mem::take(&mut self.tenant);
        let headers = std::mem::take(&mut self.headers);
        Box::pin(async move {
            let request = PushRequest {
                tenant: &tenant,
                version: Version::V1,
                body: PushBody::Plain(request.into_inner()),
                headers,
            };
            let answer = shared.pusher.push(request).await;
            match answer.status {
                StatusCode::OK | StatusCode::NO_CONTENT => Ok(Response::new(())),
                _ => Err(refusal(answer)),
            }
        })
    }
}

/// The same text as over HTTP. That all was deduplicated is an error here, since it is one between
/// Mimir's components.
fn refusal(answer: PushAnswer) -> Status {
    let code = match answer.status {
        StatusCode::ACCEPTED => Code::AlreadyExists,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
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
