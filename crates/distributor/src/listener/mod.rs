//! A listener with TLS, and a server behind it: for HTTP, and for gRPC.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use distributor_config::ServerTls;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use kv_core::{FailureCause, LogThrottle, TaskFailed};
use rustix::process::{Resource, getrlimit};
use tokio::task::{JoinError, JoinHandle};
use watched_files::Reload;

use connections::Connections;
use reloadable::Reloadable;
use serve::{Serving, Stop};

mod connections;
mod direct;
mod metrics;
mod reloadable;
mod rewound;
mod serve;
mod tls;
mod watched;

pub(crate) use direct::{Client, Direct, Next, NotDirect};
pub(crate) use metrics::ConnectionMetrics;

/// Bytes of one frame of HTTP/2 that a client may send. With the protocol's 16 KiB a large push costs
/// twice the CPU; a frame is in memory as a whole, and a stream may have a megabyte there unread.
const MAX_FRAME: u32 = 256 << 10;
/// Bytes of an answer over HTTP/2 that wait for a client that does not take them, per stream: there
/// are 200 in a connection.
const MAX_UNSENT: usize = 64 << 10;
/// An HTTP/2 client is pinged at this interval, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Descriptors reserved for other uses than senders' connections: downstreams, stores, gossip,
/// files.
const OTHER_DESCRIPTORS: u64 = 256;
/// Most connections of a listener unless configured, however many descriptors there may be: one
/// costs some 14 kB of memory.
const MOST_CONNECTIONS: u64 = 16_384;

/// How many connections a listener may have: as configured, else by the limit of open files, which
/// two listeners share.
pub(crate) fn connection_limit(configured: u64) -> usize {
    let limit = match configured {
        0 => {
            let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let ours = descriptors.saturating_sub(OTHER_DESCRIPTORS.min(descriptors / 2));
            (ours / 2).clamp(1, MOST_CONNECTIONS)
        }
        configured => configured,
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Reads the files of TLS as the listener does.
///
/// # Errors
/// They cannot be used.
pub(crate) fn check_tls(protocol: &'static str, tls: &ServerTls) -> Result<(), ServeError> {
    match tls::server_config(tls, false) {
        Ok(_) => Ok(()),
        Err(source) => Err(ServeError::Tls { protocol, source }),
    }
}

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
    /// Most connections at the same time.
    pub(crate) connections: usize,
    /// A connection of HTTP/1.1 without a request for so long is closed.
    pub(crate) idle_timeout: Duration,
}

/// A bound listener: connections wait until it is served.
pub(crate) struct Listener {
    protocol: &'static str,
    address: SocketAddr,
    listener: tokio::net::TcpListener,
    builder: auto::Builder<TokioExecutor>,
    connections: Arc<Connections>,
    idle_timeout: Duration,
    tls: Option<Arc<Reloadable>>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    protocol: &'static str,
    tls: Option<Arc<Reloadable>>,
    stop: Stop,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens. Connections are counted by `metrics`.
    pub(crate) fn bind(
        listen: Listen<'_>,
        metrics: &ConnectionMetrics,
    ) -> Result<Self, ServeError> {
        let protocol = listen.protocol;
        let tls = tls::server_config(listen.tls, listen.is_http2_only)
            .map_err(|source| ServeError::Tls { protocol, source })?;
        let (listener, address) = bind(listen)?;
        let from_std = tokio::net::TcpListener::from_std(listener);
        let listener = from_std.map_err(|source| ServeError::Bind {
            protocol,
            address,
            source,
        })?;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        if listen.is_http2_only {
            builder = builder.http2_only();
        }
        set_limits(&mut builder, listen.idle_timeout);
        let gauge = metrics.of(protocol, listen.connections);
        let connections = Arc::new(Connections::new(protocol, listen.connections, gauge));
        let tls = tls.map(|config| {
            Arc::new(Reloadable {
                tls: listen.tls.clone(),
                is_http2_only: listen.is_http2_only,
                current: ArcSwap::from_pointee(config),
            })
        });
        Ok(Self {
            protocol,
            address,
            listener,
            builder,
            connections,
            idle_timeout: listen.idle_timeout,
            tls,
        })
    }

    /// Serves what `direct` does not.
    pub(crate) fn serve<D: Direct>(self, router: Router, direct: D) -> Server {
        let failed = accept_errors(self.protocol, Arc::clone(&self.connections));
        let stop = Stop::default();
        let serving = Serving {
            router,
            direct,
            builder: self.builder,
            connections: self.connections,
            tls: self.tls.clone(),
            idle_timeout: self.idle_timeout,
            stop: stop.clone(),
        };
        Server {
            address: self.address,
            protocol: self.protocol,
            tls: self.tls,
            stop,
            task: tokio::spawn(serve::serve(self.listener, serving, failed)),
        }
    }
}

/// What is done about connections that cannot be accepted: one line per 10 s, and an idle connection
/// is closed, whose descriptor a new one may have.
fn accept_errors(
    protocol: &'static str,
    connections: Arc<Connections>,
) -> impl Fn(Option<&SocketAddr>, &io::Error) + Send + Sync + 'static {
    let log = LogThrottle::default();
    move |client, error| match client {
        // A failed handshake, or no place: logged elsewhere, or the client's problem.
        Some(client) => tracing::debug!(protocol, %client, %error, "a connection was not accepted"),
        None => {
            connections.accepting_failed();
            connections.make_room();
            if let Some(suppressed) = log.admit() {
                tracing::error!(
                    protocol,
                    %error,
                    suppressed,
                    "cannot accept connections; idle ones are closed to make room (too many open \
                     files: raise the limit of open files, or lower \
                     server.{protocol}_listen_conn_limit)"
                );
            }
        }
    }
}

impl Server {
    /// The files of TLS, with the section that names them; `None` without any.
    pub(crate) fn files(&self) -> Option<(String, Arc<dyn Reload>)> {
        let tls = self.tls.clone().filter(|tls| !tls.files().is_empty())?;
        Some((format!("server.{}_tls_config", self.protocol), tls))
    }

    /// Waits for the server to end by itself, which it should not.
    pub(crate) async fn failed(&mut self) -> TaskFailed {
        let outcome = (&mut self.task).await;
        TaskFailed::ended("a server", outcome.map(|()| FailureCause::EndedEarly))
    }

    /// Stops accepting and waits for requests in flight, at most `timeout`, and not longer than until
    /// `nothing_matters`: streams that a client leaves open would last as long as it does.
    pub(crate) async fn shutdown(
        mut self,
        timeout: Duration,
        nothing_matters: impl Future<Output = ()>,
    ) {
        self.stop.graceful.cancel();
        let ended = tokio::select! {
            ended = &mut self.task => ended,
            () = nothing_matters => self.end_now().await,
            () = tokio::time::sleep(timeout) => self.end_now().await,
        };
        if let Err(error) = ended {
            tracing::error!(%error, protocol = self.protocol, "a server panicked");
        }
    }

    async fn end_now(&mut self) -> Result<(), JoinError> {
        self.stop.now.cancel();
        (&mut self.task).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.now.cancel();
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

fn set_limits(builder: &mut auto::Builder<TokioExecutor>, idle_timeout: Duration) {
    let timer = TokioTimer::new();
    builder
        .http1()
        .timer(timer.clone())
        // From the end of the answer before; how long a head may take is watched apart.
        .header_read_timeout(idle_timeout);
    builder
        .http2()
        .timer(timer)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_frame_size(MAX_FRAME)
        .max_send_buf_size(MAX_UNSENT);
}
