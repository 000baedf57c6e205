//! Connections to a member: TCP, and TLS over it.
//!
//! When a connection breaks, HTTP/2 does not report the reason to its requests. An operator needs
//! the reason (for example that a member does not accept our certificate), so a connection stores
//! it in [`LastError`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use kv_core::lock;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::address::Address;

/// Either kind of connection.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<C: AsyncRead + AsyncWrite + Unpin + Send> Connection for C {}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect: {0}")]
    Tcp(io::Error),
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
}

/// The error that broke the newest connection, if any.
#[derive(Clone, Default)]
pub(crate) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    pub(crate) fn get(&self) -> Option<String> {
        lock(&self.0).clone()
    }

    fn set(&self, last_error: Option<String>) {
        *lock(&self.0) = last_error;
    }
}

/// A connection that keeps its last error.
pub(crate) struct Recorded {
    connection: Box<dyn Connection>,
    last_error: LastError,
}

impl Recorded {
    fn record(&self, error: &io::Error) {
        self.last_error.set(Some(error.to_string()));
    }

    /// A peer that closes the connection may have sent the reason just before.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &poll {
            let mut rest = [0; 16];
            let read = Pin::new(&mut self.connection).poll_read(cx, &mut ReadBuf::new(&mut rest));
            match read {
                Poll::Ready(Err(reason)) => self.record(&reason),
                _ => self.record(error),
            }
        }
        poll
    }
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.connection).poll_read(cx, buffer);
        if let Poll::Ready(Err(error)) = &poll {
            self.record(error);
        }
        poll
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.connection).poll_write(cx, buffer);
        self.wrote(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.connection).poll_write_vectored(cx, buffers);
        self.wrote(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.connection).poll_flush(cx);
        self.wrote(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

/// Always connects to the same address.
pub(crate) struct Connector {
    address: Arc<Address>,
    tls: Option<TlsConnector>,
    last_error: LastError,
}

impl Connector {
    /// Uses `tls` unchanged, so it must offer HTTP/2.
    pub(crate) fn new(
        address: Address,
        tls: Option<Arc<ClientConfig>>,
        last_error: LastError,
    ) -> Self {
        Self {
            address: Arc::new(address),
            tls: tls.map(TlsConnector::from),
            last_error,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Recorded>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = Arc::clone(&self.address);
        let tls = self.tls.clone();
        let last_error = self.last_error.clone();
        last_error.set(None);
        Box::pin(async move {
            let tcp = TcpStream::connect((address.host.as_str(), address.port))
                .await
                .map_err(ConnectError::Tcp)?;
            tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
            let connection: Box<dyn Connection> = match (tls, &address.server_name) {
                (Some(tls), Some(name)) => {
                    let connecting = tls.connect(name.clone(), tcp);
                    Box::new(connecting.await.map_err(ConnectError::Tls)?)
                }
                _ => Box::new(tcp),
            };
            Ok(TokioIo::new(Recorded {
                connection,
                last_error,
            }))
        })
    }
}
