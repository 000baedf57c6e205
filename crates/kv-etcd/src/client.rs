//! A client of one member, once it has logged in.
//!
//! The calls are generated from `proto/etcd.proto` and checked in. etcd-client would generate the
//! same at build time, for which it needs `protoc`, on every machine that builds a program with
//! this crate.

use futures::StreamExt;
use futures::stream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::generated::auth_client::AuthClient;
use crate::generated::kv_client::KvClient;
use crate::generated::watch_client::WatchClient;
use crate::generated::watch_request::RequestUnion;
use crate::generated::{
    AuthenticateRequest, DeleteRangeRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, WatchResponse,
};

/// Largest answer that is accepted, bytes. gRPC's own limit of 4 MiB would be too small for a page
/// of the longest keys.
const MAX_ANSWER: usize = 64 << 20;

/// Cheap to clone: clones share a connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: InterceptedService<Channel, Marks>,
}

/// What every request of a session carries.
#[derive(Clone)]
struct Marks {
    token: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Marks {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        // Without a leader, a member would serve outdated data, and its watches would be silent.
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            metadata.insert("token", token.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Without a user.
    pub(crate) fn anonymous(channel: Channel) -> Self {
        Self::with(channel, None)
    }

    /// Logs in.
    pub(crate) async fn log_in(
        channel: Channel,
        name: &str,
        password: &str,
    ) -> Result<Self, Status> {
        let before = Self::anonymous(channel.clone());
        let request = AuthenticateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let answer = AuthClient::new(before.channel)
            .authenticate(request)
            .await?;
        let mut token: MetadataValue<Ascii> = answer
            .into_inner()
            .token
            .parse()
            .map_err(|_| Status::internal("the token that etcd gave is not ASCII"))?;
        token.set_sensitive(true);
        Ok(Self::with(channel, Some(token)))
    }

    fn with(channel: Channel, token: Option<MetadataValue<Ascii>>) -> Self {
        Self {
            channel: InterceptedService::new(channel, Marks { token }),
        }
    }

    fn kv(self) -> KvClient<InterceptedService<Channel, Marks>> {
        KvClient::new(self.channel).max_decoding_message_size(MAX_ANSWER)
    }

    pub(crate) async fn range(self, request: RangeRequest) -> Result<RangeResponse, Status> {
        Ok(self.kv().range(request).await?.into_inner())
    }

    pub(crate) async fn delete(self, request: DeleteRangeRequest) -> Result<(), Status> {
        self.kv().delete_range(request).await.map(drop)
    }

    pub(crate) async fn txn(self, request: TxnRequest) -> Result<TxnResponse, Status> {
        Ok(self.kv().txn(request).await?.into_inner())
    }

    /// One watch. It ends when the answers are dropped.
    pub(crate) async fn watch(
        self,
        request: WatchCreateRequest,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(request)),
        };
        let mut client = WatchClient::new(self.channel).max_decoding_message_size(MAX_ANSWER);
        // A member ends the watches of a client that sends no more.
        let requests = stream::iter([request]).chain(stream::pending());
        Ok(client.watch(requests).await?.into_inner())
    }
}
