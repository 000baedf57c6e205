//! Accepts connections, and serves each in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::Connections;
use super::direct::{Client, Direct, Next};
use super::reloadable::Reloadable;
use super::rewound::Rewound;
use super::watched::{Counted, Watched, gives_way, prepare};

/// How long a client may take for the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection that could not be accepted: the reason, as too many open files, is still
/// there.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a server is told to end.
#[derive(Clone, Default)]
pub(super) struct Stop {
    /// Requests that are being answered are the last ones.
    pub(super) graceful: CancellationToken,
    /// Connections are closed.
    pub(super) now: CancellationToken,
}

impl Stop {
    /// The same for one connection, which waits for it with each request: all would share one lock
    /// otherwise.
    fn of_connection(&self) -> Self {
        Self {
            graceful: self.graceful.child_token(),
            now: self.now.child_token(),
        }
    }
}

/// What all connections of a server share.
pub(super) struct Serving<D> {
    pub(super) router: Router,
    /// What serves a connection as long as it can.
    pub(super) direct: D,
    pub(super) builder: auto::Builder<TokioExecutor>,
    pub(super) connections: Arc<Connections>,
    pub(super) tls: Option<Arc<Reloadable>>,
    pub(super) idle_timeout: Duration,
    pub(super) stop: Stop,
}

/// Serves until it is told to end, and then until all connections have ended.
///
/// `failed` gets what goes wrong with new connections, with their address if there is one.
pub(super) async fn serve<D: Direct>(
    listener: TcpListener,
    serving: Serving<D>,
    failed: impl Fn(Option<&SocketAddr>, &io::Error) + Send + Sync + 'static,
) {
    let (serving, failed) = (Arc::new(serving), Arc::new(failed));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = serving.stop.graceful.cancelled() => break,
            () = serving.stop.now.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (serving, failed) = (Arc::clone(&serving), Arc::clone(&failed));
                tasks.spawn(async move {
                    let stop = serving.stop.of_connection();
                    let ended = tokio::select! {
                        biased;
                        () = stop.now.cancelled() => return,
                        ended = connection(&serving, &stop, stream, address) => ended,
                    };
                    if let Err(error) = ended {
                        failed(Some(&address), &error);
                    }
                });
            }
            Err(error) => {
                failed(None, &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // New connections are refused, instead of waiting for a task that accepts them.
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// One connection from its beginning to its end. An error means that it never began.
async fn connection<D: Direct>(
    serving: &Serving<D>,
    stop: &Stop,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<()> {
    prepare(&stream)?;
    let place = serving.connections.enter().ok_or_else(gives_way)?;
    let Some(tls) = &serving.tls else {
        converse(serving, stop, Watched::new(stream, place), address).await;
        return Ok(());
    };
    let handshake = TlsAcceptor::from(tls.current.load_full()).accept(stream);
    let stream = tokio::select! {
        biased;
        () = place.activity().gives_way().cancelled() => return Err(gives_way()),
        () = stop.graceful.cancelled() => return Ok(()),
        accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => {
            accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
        }
    };
    converse(serving, stop, Watched::new(stream, place), address).await;
    Ok(())
}

/// What the client does wrong ends its connection, and concerns only itself.
async fn converse<D: Direct, S>(
    serving: &Serving<D>,
    stop: &Stop,
    mut stream: Watched<S>,
    address: SocketAddr,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(stream.activity());
    let client = Client {
        address,
        activity: &activity,
        idle_timeout: serving.idle_timeout,
        draining: &stop.graceful,
    };
    let begun = match serving.direct.serve(&mut stream, client).await {
        Next::Close => return,
        Next::Continue(begun) => begun,
    };
    usual(serving, stop, stream, begun, address).await;
}

/// Serves whatever a client may ask for; `begun` was read before.
async fn usual<D, S>(
    serving: &Serving<D>,
    stop: &Stop,
    stream: Watched<S>,
    begun: Bytes,
    address: SocketAddr,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = Counted::new(serving.router.clone(), &stream, address);
    let io = TokioIo::new(Rewound::new(begun, stream));
    let served = serving
        .builder
        .serve_connection(io, TowerToHyperService::new(service));
    tokio::pin!(served);
    tokio::select! {
        biased;
        () = stop.graceful.cancelled() => {
            served.as_mut().graceful_shutdown();
            // What the client does wrong is its own problem.
            let _ = served.await;
        }
        _ = &mut served => {}
    }
}
