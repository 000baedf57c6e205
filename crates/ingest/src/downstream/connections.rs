//! The pooled connections to one address of a downstream; all are abandoned when one of them is dead.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use kv_core::lock;
use tokio::time::{Instant, timeout};

use super::exchange::{Answer, Connection, Outgoing};
use super::stream::{Stream, Tls};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How long making a connection may take: three SYNs, after 0, 1 and 3 s.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// A request without an answer for this long makes its connection suspect, and so the others of the
/// pool. Shorter than what common senders wait for an answer, so that it is noticed before they hang
/// up; and at most a quarter of the downstream's timeout.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);

/// The connections that new requests use.
pub(super) struct Connections {
    target: Target,
    max_idle: usize,
    suspect_after: Duration,
    /// Holds connections that were made since the last sign of a dead one.
    current: ArcSwap<Pool>,
}

/// Where connections lead to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Tls>,
    /// How long making a connection may take, TLS included.
    pub(super) connect: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection could be made: nothing was sent.
    Connect(SocketAddr, io::Error),
    /// The request may have been received.
    Exchange(io::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(address, error) => write!(out, "cannot connect to {address}: {error}"),
            Self::Exchange(error) => write!(out, "{error}"),
        }
    }
}

/// Idle connections: the one that was used last is used next.
pub(super) struct Pool {
    idle: Mutex<Vec<(Instant, Connection)>>,
    most: usize,
    /// Its connections are not to be used again.
    is_left: AtomicBool,
    /// A task closes what is idle for too long.
    is_swept: AtomicBool,
}

impl Connections {
    /// Connects to nothing yet. `timeout` is that of one request.
    pub(super) fn new(target: Target, max_idle: usize, timeout: Duration) -> Self {
        Self {
            target,
            current: ArcSwap::from_pointee(Pool::new(max_idle)),
            max_idle,
            suspect_after: SUSPECT_AFTER.min(timeout / 4),
        }
    }

    /// Sends once and waits for the head of the answer, without a timeout. A request that may have
    /// been received is never sent again; when its connection seems dead, later requests get new
    /// connections, while this one goes on waiting.
    pub(super) async fn send(&self, request: &Outgoing) -> Result<Answer, Failure> {
        let pool = self.current.load_full();
        let connection = match pool.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let exchange = connection.exchange(request, Arc::clone(&pool));
        tokio::pin!(exchange);
        let answer = match timeout(self.suspect_after, &mut exchange).await {
            Ok(answer) => answer,
            Err(_) => {
                self.leave(&pool);
                exchange.await
            }
        };
        answer.map_err(|error| {
            self.leave(&pool);
            Failure::Exchange(error)
        })
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let Target {
            address,
            tls,
            connect,
        } = &self.target;
        let connecting = timeout(*connect, Stream::connect(*address, tls.as_ref()));
        let stream = match connecting.await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = stream.map_err(|error| Failure::Connect(*address, error))?;
        Ok(Connection::new(stream))
    }

    /// Whether the connection that would be used next has been closed by the downstream.
    #[cfg(test)]
    pub(super) fn has_noticed_the_end(&self) -> bool {
        let pool = self.current.load();
        let mut idle = lock(&pool.idle);
        idle.last_mut().is_some_and(|(_, next)| !next.is_quiet())
    }

    /// Closes the idle connections of this pool, unless that was done before.
    fn leave(&self, left: &Arc<Pool>) {
        left.is_left.store(true, Ordering::Relaxed);
        if Arc::ptr_eq(&self.current.load(), left) {
            let fresh = Arc::new(Pool::new(self.max_idle));
            self.current.compare_and_swap(left, fresh);
        }
        drop(std::mem::take(&mut *lock(&left.idle)));
    }
}

impl Pool {
    fn new(most: usize) -> Self {
        Self {
            idle: Mutex::default(),
            most,
            is_left: AtomicBool::new(false),
            is_swept: AtomicBool::new(false),
        }
    }

    /// One that the downstream has not closed.
    fn take(&self) -> Option<Connection> {
        loop {
            let (_, mut connection) = lock(&self.idle).pop()?;
            if connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        if self.is_left.load(Ordering::Relaxed) {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.len() < self.most {
            idle.push((Instant::now(), connection));
        }
        drop(idle);
        if !self.is_swept.load(Ordering::Relaxed) && !self.is_swept.swap(true, Ordering::AcqRel) {
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE / 4).await;
                    let Some(pool) = pool.upgrade() else {
                        return;
                    };
                    if pool.sweep() {
                        return;
                    }
                }
            });
        }
    }

    /// Closes what has been idle for too long, and answers whether nothing is left.
    fn sweep(&self) -> bool {
        let mut idle = lock(&self.idle);
        let old = idle.partition_point(|(since, _)| since.elapsed() >= IDLE);
        drop(idle.drain(..old));
        let is_empty = idle.is_empty();
        if is_empty {
            // Under the lock: what comes next begins another sweep.
            self.is_swept.store(false, Ordering::Release);
        }
        is_empty
    }
}
