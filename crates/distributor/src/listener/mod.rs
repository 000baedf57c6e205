//! A listener with TLS, and a server behind it: for HTTP, and for gRPC.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::task::JoinHandle;

use crate::config::ServerTls;
use crate::ended::ended;

mod tls;

/// How long a client may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one frame of HTTP/2 that a client may send. With the protocol's 16 KiB a large push costs
/// twice the CPU; a frame is in memory as a whole, and a stream may have a megabyte there unread.
const MAX_FRAME: u32 = 256 << 10;
/// Bytes of an answer over HTTP/2 that wait for a client that does not take them, per stream: there
/// are 200 in a connection.
const MAX_UNSENT: usize = 64 << 10;
/// A client of HTTP/2 is asked this often whether it is still there, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error(
        "cannot listen on {address} (server.{protocol}_listen_address, \
         server.{protocol}_listen_port): {source}"
    )]
    Bind {
        /// `http` or `grpc`.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("server.{protocol}_tls_config: {source}")]
    Tls {
        /// `http` or `grpc`.
        protocol: &'static str,
        /// What is wrong with them.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where and how to listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen<'a> {
    /// `http` or `grpc`, as in the names of the settings.
    pub(crate) protocol: &'static str,
    /// HTTP/2 alone.
    pub(crate) is_http2_only: bool,
    /// All addresses if there is none.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) tls: &'a ServerTls,
}

/// A bound listener: who connects waits until it is served.
pub(crate) struct Listener {
    protocol: &'static str,
    address: SocketAddr,
    server: axum_server::Server<SocketAddr>,
    tls: Option<RustlsConfig>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    protocol: &'static str,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl Listener {
    pub(crate) fn bind(listen: Listen<'_>) -> Result<Self, ServeError> {
        let protocol = listen.protocol;
        let tls = tls::server_config(listen.tls, listen.is_http2_only)
            .map_err(|source| ServeError::Tls { protocol, source })?;
        let (listener, address) = bind(listen)?;
        let mut server = axum_server::from_tcp(listener).map_err(|source| ServeError::Bind {
            protocol,
            address,
            source,
        })?;
        if listen.is_http2_only {
            *server.http_builder() = auto::Builder::new(TokioExecutor::new()).http2_only();
        }
        set_limits(server.http_builder());
        Ok(Self {
            protocol,
            address,
            server,
            tls: tls.map(|config| RustlsConfig::from_config(Arc::new(config))),
        })
    }

    pub(crate) fn serve(self, router: Router) -> Server {
        let handle = Handle::new();
        let app = router.into_make_service_with_connect_info::<SocketAddr>();
        let server = self.server.handle(handle.clone());
        // The parts of an answer over HTTP/2 are several writes: none waits for the client's
        // acknowledgement of the one before.
        let at_once = NoDelayAcceptor::new();
        let task = match self.tls {
            None => tokio::spawn(server.acceptor(at_once).serve(app)),
            Some(config) => {
                let acceptor = RustlsAcceptor::new(config).acceptor(at_once);
                tokio::spawn(server.acceptor(acceptor).serve(app))
            }
        };
        Server {
            address: self.address,
            protocol: self.protocol,
            handle,
            task,
        }
    }
}

impl Server {
    /// Waits for the server to end by itself, which it should not.
    pub(crate) async fn failed(&mut self) -> String {
        let outcome = (&mut self.task).await;
        format!("the {} server ended: {}", self.protocol, ended(outcome))
    }

    /// Stops accepting and waits for requests in flight, at most `timeout`, and not longer than until
    /// `nothing_matters`: streams that a client leaves open would last as long as it does.
    pub(crate) async fn shutdown(
        mut self,
        timeout: Duration,
        nothing_matters: impl Future<Output = ()>,
    ) {
        self.handle.graceful_shutdown(Some(timeout));
        let protocol = self.protocol;
        let ended = tokio::select! {
            ended = &mut self.task => ended,
            () = nothing_matters => {
                self.handle.shutdown();
                (&mut self.task).await
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, protocol, "a server ended with an error"),
            Err(error) => tracing::error!(%error, protocol, "a server panicked"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Binds all addresses, IPv6 and IPv4, if none is given; IPv4 alone where there is no IPv6.
fn bind(listen: Listen<'_>) -> Result<(TcpListener, SocketAddr), ServeError> {
    let (ip, port) = (listen.ip, listen.port);
    let wanted = SocketAddr::new(ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port);
    let bound = TcpListener::bind(wanted).or_else(|error| match ip {
        None => TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)),
        Some(_) => Err(error),
    });
    let fail = |source| ServeError::Bind {
        protocol: listen.protocol,
        address: wanted,
        source,
    };
    let listener = bound.map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

fn set_limits(builder: &mut auto::Builder<TokioExecutor>) {
    let timer = TokioTimer::new();
    builder
        .http1()
        .timer(timer.clone())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(timer)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(MAX_UNSENT);
}
