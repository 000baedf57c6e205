//! What may serve a connection before the usual server does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::connections::{Activity, Answering};

/// Serves the requests that it knows, without the layers of the usual server.
pub(crate) trait Direct: Send + Sync + 'static {
    /// Serves a connection from its beginning, as long as its client sends such requests.
    fn serve<S>(&self, stream: &mut S, client: Client<'_>) -> impl Future<Output = Next> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send;
}

/// What happens with the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It has ended, or must.
    Close,
    /// The usual server goes on, from this point of what the client has sent.
    Continue(Bytes),
}

/// Whom a connection belongs to, and the rules for it.
pub(crate) struct Client<'a> {
    pub(crate) address: SocketAddr,
    pub(super) activity: &'a Arc<Activity>,
    /// Without a request for so long, the connection is closed.
    pub(crate) idle_timeout: Duration,
    /// Once this is cancelled, the request that is being answered is the last.
    pub(crate) draining: &'a CancellationToken,
}

impl Client<'_> {
    /// The head of a request has arrived; the connection is busy until the result is dropped.
    pub(crate) fn answer(&self) -> Answering {
        self.activity.answer()
    }
}

/// Leaves everything to the usual server.
pub(crate) struct NotDirect;

impl Direct for NotDirect {
    async fn serve<S>(&self, _stream: &mut S, _client: Client<'_>) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        Next::Continue(Bytes::new())
    }
}
