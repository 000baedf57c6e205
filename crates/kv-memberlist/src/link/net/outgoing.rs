//! Outgoing traffic: datagrams, and frames on connections that are opened on demand.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use kv_core::lock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::connect::{Stage, Why, connect, describe};
use super::identify::{ask, identify};
use crate::link::foreign::{Answered, ForeignProtocol};
use crate::link::{LastError, Link, Via};
use crate::metrics::Metrics;
use crate::seal::packet::MAX_PACKET;

/// Most bytes of a datagram. IPv6 guarantees that packets of 1,280 bytes are not fragmented; the
/// headers of IPv6 and UDP take 48.
pub(super) const SAFE_DATAGRAM: usize = 1200;
/// Packets that wait for one connection.
pub(super) const MAX_QUEUE: usize = 32;
/// Bytes that wait for all connections.
const MAX_QUEUED_BYTES: usize = 64 << 20;
const MAX_OUTGOING: usize = 1024;
/// Addresses whose last failure is remembered.
const MAX_FAILURES: usize = 1024;
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the timeout of the other end, so that the sender closes the connection and knows
/// that it is closed.
pub(super) const OUTGOING_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed attempt to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Network {
    /// Never empty.
    pub(super) udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
    pub(super) outgoing: Arc<Outgoing>,
    /// Dropped, and so aborted, with the link.
    pub(super) tasks: Mutex<JoinSet<()>>,
    pub(super) runtime: Handle,
}

impl Link for Network {
    fn send(&self, to: SocketAddr, packet: Vec<u8>, via: Via) {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        if packet.len() > MAX_PACKET {
            self.outgoing.metrics.dropped.inc();
            return;
        }
        match self.socket_for(to) {
            Some((socket, to)) if via == Via::SizeDecides && packet.len() <= SAFE_DATAGRAM => {
                self.send_datagram(socket, to, &packet);
            }
            _ => self.send_frame(to, packet),
        }
    }

    fn local_addr(&self) -> SocketAddr {
        let first = self.udp.first();
        first.map_or_else(
            || SocketAddr::from(([0, 0, 0, 0], 0)),
            |(address, _)| *address,
        )
    }

    fn last_error(&self, to: SocketAddr) -> Option<LastError> {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let state = lock(&self.outgoing.state);
        state.failures.get(&to).map(|failure| LastError {
            text: failure.why.text.clone(),
            at: failure.at,
            is_refusal: failure.why.stage == Stage::Refused,
        })
    }

    fn identify<'a>(
        &'a self,
        to: SocketAddr,
        label: &'a str,
    ) -> BoxFuture<'a, Option<ForeignProtocol>> {
        Box::pin(async move {
            let to = SocketAddr::new(to.ip().to_canonical(), to.port());
            if !lock(&self.outgoing.state).was_closed_by_the_other(to) {
                return None;
            }
            identify(&self.outgoing.own, to, label).await
        })
    }

    fn was_closed(&self, to: SocketAddr) -> bool {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        lock(&self.outgoing.state).was_closed_by_the_other(to)
    }

    fn ask<'a>(&'a self, to: SocketAddr, label: &'a str) -> BoxFuture<'a, Option<Answered>> {
        Box::pin(async move {
            let to = SocketAddr::new(to.ip().to_canonical(), to.port());
            ask(&self.outgoing.own, to, label).await
        })
    }
}

impl Network {
    /// The socket that can reach an address, and the address as that socket wants it.
    fn socket_for(&self, to: SocketAddr) -> Option<(&UdpSocket, SocketAddr)> {
        let same_family = || {
            let all = self.udp.iter();
            all.filter(move |(address, _)| address.is_ipv4() == to.is_ipv4())
        };
        let is_local = to.ip().is_loopback();
        let best = same_family()
            .find(|(address, _)| address.ip().is_loopback() == is_local)
            .or_else(|| same_family().next());
        if let Some((_, socket)) = best {
            return Some((socket, to));
        }
        let IpAddr::V4(ip) = to.ip() else {
            return None;
        };
        let both = |address: &SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
        let (_, socket) = self.udp.iter().find(|(address, _)| both(address))?;
        Some((socket, (ip.to_ipv6_mapped(), to.port()).into()))
    }

    fn send_datagram(&self, socket: &UdpSocket, to: SocketAddr, packet: &[u8]) {
        let metrics = &self.outgoing.metrics;
        match socket.try_send_to(packet, to) {
            Ok(size) => {
                metrics.datagrams_sent.inc();
                metrics.datagram_bytes_sent.inc_by(size as u64);
            }
            Err(error) => {
                tracing::debug!(%error, %to, "cannot send a gossip datagram");
                metrics.dropped.inc();
            }
        }
    }

    fn send_frame(&self, to: SocketAddr, packet: Vec<u8>) {
        let Some(queue) = self.outgoing.enqueue(to, packet) else {
            return;
        };
        let connection = Connection {
            to,
            queue,
            outgoing: Arc::clone(&self.outgoing),
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(connection.run(), &self.runtime);
    }
}

/// State of all outgoing connections.
pub(super) struct Outgoing {
    state: Mutex<OutgoingState>,
    queued: Arc<AtomicUsize>,
    /// Source addresses of connections, if configured: the same as for datagrams, so that one
    /// firewall rule covers both.
    own: Vec<IpAddr>,
    metrics: Metrics,
}

#[derive(Default)]
struct OutgoingState {
    queues: HashMap<SocketAddr, mpsc::Sender<Frame>>,
    /// Errors of addresses whose last connection failed.
    failures: HashMap<SocketAddr, Failure>,
    /// Those that closed the last connection although nothing was wrong with it. A member does so
    /// when it is full or ends, another program at once. Bounded like `failures`.
    closed: HashSet<SocketAddr>,
}

struct Failure {
    why: Why,
    at: Instant,
}

/// A waiting packet, counted while it waits.
struct Frame {
    packet: Vec<u8>,
    queued: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.packet.len(), Ordering::Relaxed);
        self.metrics.queued.dec();
        self.metrics.queued_bytes.dec_by(size(&self.packet));
    }
}

fn size(packet: &[u8]) -> i64 {
    i64::try_from(packet.len()).unwrap_or(i64::MAX)
}

impl Outgoing {
    pub(super) fn new(own: Vec<IpAddr>, metrics: Metrics) -> Self {
        Self {
            state: Mutex::default(),
            queued: Arc::default(),
            own,
            metrics,
        }
    }

    /// Queues a packet, or drops it; returns a queue if it is new and needs a connection.
    fn enqueue(&self, to: SocketAddr, packet: Vec<u8>) -> Option<mpsc::Receiver<Frame>> {
        let mut state = lock(&self.state);
        let full = self.queued.load(Ordering::Relaxed) + packet.len() > MAX_QUEUED_BYTES;
        if full || state.is_pausing(to) {
            self.metrics.dropped.inc();
            return None;
        }
        let connections = state.queues.len();
        match state.queues.entry(to) {
            Entry::Occupied(queue) => {
                if queue.get().try_send(self.frame(packet)).is_err() {
                    self.metrics.dropped.inc();
                }
                None
            }
            Entry::Vacant(_) if connections >= MAX_OUTGOING => {
                self.metrics.dropped.inc();
                None
            }
            Entry::Vacant(place) => {
                let (sender, queue) = mpsc::channel(MAX_QUEUE);
                let _ = place.insert(sender).try_send(self.frame(packet));
                Some(queue)
            }
        }
    }

    fn frame(&self, packet: Vec<u8>) -> Frame {
        self.queued.fetch_add(packet.len(), Ordering::Relaxed);
        self.metrics.queued.inc();
        self.metrics.queued_bytes.inc_by(size(&packet));
        Frame {
            packet,
            queued: Arc::clone(&self.queued),
            metrics: self.metrics.clone(),
        }
    }
}

impl OutgoingState {
    fn is_pausing(&self, to: SocketAddr) -> bool {
        self.failures.get(&to).is_some_and(|failure| {
            failure.why.stage != Stage::Connected && failure.at.elapsed() < RECONNECT_PAUSE
        })
    }

    fn was_closed_by_the_other(&self, to: SocketAddr) -> bool {
        let broke = |failure: &Failure| failure.why.stage == Stage::Connected;
        self.closed.contains(&to) || self.failures.get(&to).is_some_and(broke)
    }

    fn note_closed(&mut self, by: SocketAddr) {
        if self.closed.len() < MAX_FAILURES {
            self.closed.insert(by);
        }
    }

    fn remember(&mut self, to: SocketAddr, why: Why) {
        if self.failures.len() >= MAX_FAILURES && !self.failures.contains_key(&to) {
            let oldest = self.failures.iter().min_by_key(|(_, failure)| failure.at);
            if let Some(oldest) = oldest.map(|(&address, _)| address) {
                self.failures.remove(&oldest);
            }
        }
        let at = Instant::now();
        self.failures.insert(to, Failure { why, at });
    }
}

/// How a connection ended.
enum End {
    /// It was idle for too long, or the link was dropped.
    Idle,
    Failed(Why),
}

/// The connection to one address, opened when there is a packet to send.
struct Connection {
    to: SocketAddr,
    queue: mpsc::Receiver<Frame>,
    outgoing: Arc<Outgoing>,
}

impl Connection {
    async fn run(mut self) {
        loop {
            if let End::Failed(why) = self.serve().await {
                self.fail(why);
                return;
            }
            if self.retire() {
                return;
            }
        }
    }

    /// Connects when there is a packet, and sends until it fails or is idle.
    async fn serve(&mut self) -> End {
        let mut connected: Option<TcpStream> = None;
        loop {
            let Some(frame) = self.next(&mut connected).await else {
                return End::Idle;
            };
            let stream = match &mut connected {
                Some(stream) => stream,
                None => match connect(&self.outgoing.own, self.to).await {
                    Ok(stream) => {
                        lock(&self.outgoing.state).closed.remove(&self.to);
                        connected.insert(stream)
                    }
                    Err(why) => {
                        self.outgoing.metrics.dropped.inc();
                        return End::Failed(why);
                    }
                },
            };
            if let Err(text) = write_frame(stream, &frame.packet).await {
                self.outgoing.metrics.dropped.inc();
                return End::Failed(Why::broken(text));
            }
            self.sent(&frame);
        }
    }

    /// The next packet; while it waits, drops the connection if the other end closes it.
    async fn next(&mut self, connected: &mut Option<TcpStream>) -> Option<Frame> {
        let deadline = Instant::now() + OUTGOING_IDLE_TIMEOUT;
        loop {
            let wait = tokio::time::timeout_at(deadline, self.queue.recv());
            let Some(stream) = connected else {
                return wait.await.ok().flatten();
            };
            let mut byte = [0];
            tokio::select! {
                biased;
                // There are never answers: this is the end, an error, or invalid data.
                _ = stream.read(&mut byte) => {
                    *connected = None;
                    lock(&self.outgoing.state).note_closed(self.to);
                }
                frame = wait => return frame.ok().flatten(),
            }
        }
    }

    fn sent(&self, frame: &Frame) {
        let metrics = &self.outgoing.metrics;
        metrics.stream_sent.inc();
        metrics.stream_bytes_sent.inc_by(frame.packet.len() as u64);
        lock(&self.outgoing.state).failures.remove(&self.to);
    }

    /// Ends, unless a packet was queued in the meantime.
    fn retire(&mut self) -> bool {
        let mut state = lock(&self.outgoing.state);
        let done = self.queue.is_empty();
        if done {
            state.queues.remove(&self.to);
        }
        done
    }

    /// Drops queued packets, and remembers the error.
    fn fail(&mut self, why: Why) {
        tracing::debug!(to = %self.to, error = why.text, "a gossip connection failed");
        let mut state = lock(&self.outgoing.state);
        state.queues.remove(&self.to);
        state.remember(self.to, why);
        while self.queue.try_recv().is_ok() {
            self.outgoing.metrics.dropped.inc();
        }
    }
}

async fn write_frame(stream: &mut TcpStream, packet: &[u8]) -> Result<(), String> {
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    let write = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(packet).await
    };
    timeout(WRITE_TIMEOUT, write)
        .await
        .map_err(|_| format!("nothing was read within {} s", WRITE_TIMEOUT.as_secs()))?
        .map_err(|error| describe(&error))
}
