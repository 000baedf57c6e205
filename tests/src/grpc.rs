//! [`GrpcClient`]: `distributor.Distributor/Push`, as a component of Mimir calls it.

use std::future::poll_fn;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tonic::client::{Grpc, GrpcService};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::{Distributor, Series, to_v1};

/// The tracker's service: messages and client.
pub use ha_tracker::proto as tracker;

const PUSH: &str = "/distributor.Distributor/Push";

/// A connection to a distributor.
#[derive(Debug, Clone)]
pub struct GrpcClient {
    channel: Channel,
    authorization: Option<AsciiMetadataValue>,
}

/// Any bytes as a message: protobuf's wire format, or not.
#[derive(Debug, Clone, Default)]
struct Raw(Bytes);

impl prost::Message for Raw {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        buf.put(self.0.clone());
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: prost::encoding::WireType,
        buf: &mut impl bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buf, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

impl GrpcClient {
    /// Connects when it is first used, and again when it has to.
    pub fn new(distributor: &Distributor) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", distributor.grpc_address()));
        Self {
            channel: endpoint.unwrap().connect_lazy(),
            authorization: None,
        }
    }

    /// Pushes with this `authorization`.
    #[must_use]
    pub fn with_authorization(self, authorization: &str) -> Self {
        Self {
            authorization: Some(authorization.parse().unwrap()),
            ..self
        }
    }

    /// As [`GrpcClient::new`], but each stream may be ahead of its reader by a kilobyte only.
    pub fn narrow(distributor: &Distributor) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{}", distributor.grpc_address()));
        let endpoint = endpoint.unwrap().initial_stream_window_size(1024);
        Self {
            channel: endpoint.connect_lazy(),
            authorization: None,
        }
    }

    /// The tracker's service.
    pub fn tracker(&self) -> tracker::ha_tracker_client::HaTrackerClient<Channel> {
        tracker::ha_tracker_client::HaTrackerClient::new(self.channel.clone())
    }

    /// Pushes series.
    ///
    /// # Errors
    /// What the distributor answers but success.
    pub async fn push(&self, tenant: Option<&str>, series: &[Series]) -> Result<(), Status> {
        let message = prost::Message::encode_to_vec(&to_v1(series));
        self.push_bytes(PUSH, tenant, message).await
    }

    /// Calls any unary method with any bytes.
    ///
    /// # Errors
    /// As [`GrpcClient::push`].
    pub async fn push_bytes(
        &self,
        path: &'static str,
        tenant: Option<&str>,
        message: Vec<u8>,
    ) -> Result<(), Status> {
        self.call(path, tenant.as_slice(), message).await
    }

    /// Pushes series for several tenants at once.
    ///
    /// # Errors
    /// As [`GrpcClient::push`].
    pub async fn push_for(&self, tenants: &[&str], series: &[Series]) -> Result<(), Status> {
        let message = prost::Message::encode_to_vec(&to_v1(series));
        self.call(PUSH, tenants, message).await
    }

    async fn call(
        &self,
        path: &'static str,
        tenants: &[&str],
        message: Vec<u8>,
    ) -> Result<(), Status> {
        let mut request = Request::new(Raw(message.into()));
        for tenant in tenants {
            let tenant: AsciiMetadataValue = tenant.parse().unwrap();
            request.metadata_mut().append("x-scope-orgid", tenant);
        }
        if let Some(authorization) = &self.authorization {
            let authorization = authorization.clone();
            request
                .metadata_mut()
                .insert("authorization", authorization);
        }
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let codec: ProstCodec<Raw, Raw> = ProstCodec::default();
        grpc.unary(request, PathAndQuery::from_static(path), codec)
            .await
            .map(drop)
    }

    /// Calls Push with the message's prefix and bytes as they are, of which `encoding` is said.
    ///
    /// # Errors
    /// As [`GrpcClient::push`].
    pub async fn push_frame(
        &self,
        tenant: &str,
        encoding: Option<&str>,
        frame: Vec<u8>,
    ) -> Result<(), Status> {
        let mut request = http::Request::post(PUSH)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-scope-orgid", tenant);
        if let Some(encoding) = encoding {
            request = request.header("grpc-encoding", encoding);
        }
        let body = tonic::body::Body::new(Full::new(Bytes::from(frame)));
        let request = request.body(body).unwrap();
        let mut channel = self.channel.clone();
        poll_fn(|context| GrpcService::poll_ready(&mut channel, context))
            .await
            .unwrap();
        let response = GrpcService::call(&mut channel, request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let status = Status::from_header_map(&head.headers)
            .or_else(|| Status::from_header_map(body.trailers()?));
        match status.unwrap() {
            status if status.code() == Code::Ok => Ok(()),
            status => Err(status),
        }
    }
}
