//! The real network: UDP for what is small, TCP for the rest, both on one port.
//!
//! Over TCP a packet is preceded by its length, 4 bytes, the most significant first. A connection
//! carries packets one way only: from who opened it.
//!
//! `0.0.0.0` listens on all IPv4 addresses. `::` listens on all addresses of both families on
//! Linux, so one does not give both of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::link::{Arrival, Link, Opened, Via};
use crate::metrics::Metrics;
use crate::packet::{MAX_PACKET, Refusal};

/// Bytes of a datagram at most. IPv6 guarantees that 1,280 get through unsplit, and its header and
/// that of UDP have 48.
pub(crate) const SAFE_DATAGRAM: usize = 1200;

const MAX_DATAGRAM: usize = 65_535;
const ARRIVALS: usize = 1024;
/// Packets that wait for one connection.
const QUEUE: usize = 32;
/// Bytes that wait for all connections.
const MAX_QUEUED: usize = 64 << 20;
const MAX_OUTGOING: usize = 1024;
const MAX_INCOMING: usize = 512;
const MAX_TROUBLES: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than what the other end waits for: who closes a connection knows that it is closed.
const OUTGOING_IDLE: Duration = Duration::from_secs(30);
const INCOMING_IDLE: Duration = Duration::from_secs(60);
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be made.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Pause after an error that is not about one connection, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// Ports tried until one is free for both protocols on all addresses.
const PORT_ATTEMPTS: usize = 16;

/// Listens on these addresses. Port 0 stands for one that is free on all of them.
pub(crate) async fn bind(addresses: &[IpAddr], port: u16, metrics: Metrics) -> io::Result<Opened> {
    bind_bounded(addresses, port, metrics, MAX_INCOMING).await
}

async fn bind_bounded(
    addresses: &[IpAddr],
    port: u16,
    metrics: Metrics,
    max_incoming: usize,
) -> io::Result<Opened> {
    let sockets = bind_all(addresses, port).await?;
    let (sender, arrivals) = mpsc::channel(ARRIVALS);
    let incoming = Incoming {
        arrivals: sender,
        metrics: metrics.clone(),
    };
    let mut tasks = JoinSet::new();
    let mut udp = Vec::with_capacity(sockets.len());
    let slots = Arc::new(Semaphore::new(max_incoming));
    for sockets in sockets {
        // Until it is known to be writable, tokio does not even try.
        sockets.udp.writable().await?;
        let socket = Arc::new(sockets.udp);
        tasks.spawn(receive_datagrams(Arc::clone(&socket), incoming.clone()));
        tasks.spawn(accept(sockets.tcp, Arc::clone(&slots), incoming.clone()));
        udp.push((sockets.address, socket));
    }
    let own = udp.iter().map(|(address, _)| address.ip());
    let outgoing = Outgoing::new(own.filter(|ip| !ip.is_unspecified()).collect(), metrics);
    let link = Network {
        udp,
        outgoing: Arc::new(outgoing),
        tasks: Mutex::new(tasks),
        runtime: Handle::current(),
    };
    Ok(Opened {
        link: Box::new(link),
        arrivals,
    })
}

// Binding.

struct Sockets {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

async fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Vec<Sockets>> {
    let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match try_bind_all(addresses, port).await {
            Err(error) if attempts > 0 && error.kind() == ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

async fn try_bind_all(addresses: &[IpAddr], mut port: u16) -> io::Result<Vec<Sockets>> {
    let mut all = Vec::with_capacity(addresses.len());
    for &ip in addresses {
        let sockets = bind_one((ip, port).into()).await?;
        port = sockets.address.port();
        all.push(sockets);
    }
    if all.is_empty() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "no address to listen on; give at least one, such as 0.0.0.0",
        ));
    }
    Ok(all)
}

async fn bind_one(address: SocketAddr) -> io::Result<Sockets> {
    let tcp = TcpListener::bind(address)
        .await
        .map_err(|error| explain("TCP", address, &error))?;
    let address = tcp.local_addr()?;
    let udp = UdpSocket::bind(address)
        .await
        .map_err(|error| explain("UDP", address, &error))?;
    Ok(Sockets { address, udp, tcp })
}

fn explain(protocol: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => {
            "; choose a port that nothing listens on (`::` listens on all IPv4 addresses as well)"
        }
        ErrorKind::AddrNotAvailable => "; give an address of this host, or 0.0.0.0",
        ErrorKind::PermissionDenied => "; choose a port from 1024 on",
        _ => "",
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on {protocol} {address}: {error}{hint}"),
    )
}

// Receiving.

#[derive(Clone)]
struct Incoming {
    arrivals: mpsc::Sender<Arrival>,
    metrics: Metrics,
}

impl Incoming {
    fn pass_on(&self, from: SocketAddr, packet: Vec<u8>) {
        // A socket of both families writes IPv4 addresses as IPv6 ones.
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if self.arrivals.try_send(Arrival { from, packet }).is_err() {
            self.metrics.dropped.inc();
        }
    }
}

async fn receive_datagrams(socket: Arc<UdpSocket>, incoming: Incoming) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((size, from)) => {
                incoming.metrics.datagrams_received.inc();
                incoming.metrics.datagram_bytes_received.inc_by(size as u64);
                let packet = buffer.get(..size).unwrap_or_default();
                incoming.pass_on(from, packet.to_vec());
            }
            // About a datagram that was sent, or passing: nothing ends a UDP socket.
            Err(error) => {
                tracing::debug!(%error, "cannot receive a datagram of gossip");
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn accept(listener: TcpListener, slots: Arc<Semaphore>, incoming: Incoming) {
    // Dropped, and so aborted, with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection of gossip");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            incoming.metrics.dropped.inc();
            continue;
        };
        let incoming = incoming.clone();
        connections.spawn(async move {
            let _slot = slot;
            receive_stream(stream, from, &incoming).await;
        });
    }
}

/// Reads frames until the other end closes the connection, is late or sends nonsense.
async fn receive_stream(mut stream: TcpStream, from: SocketAddr, incoming: &Incoming) {
    loop {
        match read_frame(&mut stream).await {
            Ok(Some(packet)) => {
                let size = packet.len() as u64;
                incoming.metrics.stream_received.inc();
                incoming.metrics.stream_bytes_received.inc_by(size);
                incoming.pass_on(from, packet);
            }
            Ok(None) => return,
            Err(refusal) => {
                incoming.metrics.refuse(refusal.reason());
                return;
            }
        }
    }
}

/// Reads a frame; `None` if there is no other one.
async fn read_frame(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, Refusal> {
    let mut first = [0];
    let read = timeout(INCOMING_IDLE, stream.read(&mut first)).await;
    if !matches!(read, Ok(Ok(1))) {
        return Ok(None);
    }
    timeout(FRAME_TIMEOUT, read_rest(stream, first))
        .await
        .unwrap_or(Err(Refusal::Truncated))
        .map(Some)
}

async fn read_rest(stream: &mut TcpStream, [first]: [u8; 1]) -> Result<Vec<u8>, Refusal> {
    let mut rest = [0; 3];
    let read = stream.read_exact(&mut rest).await;
    read.map_err(|_| Refusal::Truncated)?;
    let [second, third, fourth] = rest;
    let length = u32::from_be_bytes([first, second, third, fourth]);
    if usize::try_from(length).unwrap_or(usize::MAX) > MAX_PACKET {
        return Err(Refusal::TooLarge);
    }
    // Grows with what arrives, not with what was announced.
    let mut packet = Vec::new();
    let read = stream.take(length.into()).read_to_end(&mut packet).await;
    match read {
        Ok(size) if size as u64 == u64::from(length) && size > 0 => Ok(packet),
        _ => Err(Refusal::Truncated),
    }
}

// Sending.

struct Network {
    /// Never empty.
    udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
    outgoing: Arc<Outgoing>,
    /// Dropped, and so aborted, with the link.
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
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

    fn trouble(&self, to: SocketAddr) -> Option<String> {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let state = self.outgoing.lock();
        state.troubles.get(&to).map(|trouble| trouble.text.clone())
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
                tracing::debug!(%error, %to, "cannot send a datagram of gossip");
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
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(connection.run(), &self.runtime);
    }
}

/// What is known of all outgoing connections.
struct Outgoing {
    state: Mutex<OutgoingState>,
    queued: Arc<AtomicUsize>,
    /// The addresses that connections come from, where they are given: those that datagrams come
    /// from, so that one rule of a firewall covers both.
    own: Vec<IpAddr>,
    metrics: Metrics,
}

#[derive(Default)]
struct OutgoingState {
    queues: HashMap<SocketAddr, mpsc::Sender<Frame>>,
    troubles: HashMap<SocketAddr, Trouble>,
}

struct Trouble {
    text: String,
    since: Instant,
    /// Whether there was no connection at all.
    unconnected: bool,
}

/// A packet that waits, and is counted as long as it does.
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
    fn new(own: Vec<IpAddr>, metrics: Metrics) -> Self {
        Self {
            state: Mutex::default(),
            queued: Arc::default(),
            own,
            metrics,
        }
    }

    fn lock(&self) -> MutexGuard<'_, OutgoingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a packet, or drops it; gives a new queue, which wants a connection.
    fn enqueue(&self, to: SocketAddr, packet: Vec<u8>) -> Option<mpsc::Receiver<Frame>> {
        let mut state = self.lock();
        let full = self.queued.load(Ordering::Relaxed) + packet.len() > MAX_QUEUED;
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
                let (sender, queue) = mpsc::channel(QUEUE);
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
        self.troubles
            .get(&to)
            .is_some_and(|trouble| trouble.unconnected && trouble.since.elapsed() < RECONNECT_PAUSE)
    }

    fn remember(&mut self, to: SocketAddr, trouble: Trouble) {
        if self.troubles.len() >= MAX_TROUBLES && !self.troubles.contains_key(&to) {
            let oldest = self
                .troubles
                .iter()
                .min_by_key(|(_, trouble)| trouble.since);
            if let Some(oldest) = oldest.map(|(&address, _)| address) {
                self.troubles.remove(&oldest);
            }
        }
        self.troubles.insert(to, trouble);
    }
}

/// Why a connection ended.
enum End {
    /// Nothing was to be sent for long, or the link is gone.
    Idle,
    /// What it was about, and whether there was no connection at all.
    Failed { text: String, unconnected: bool },
}

impl End {
    fn unconnected(text: String) -> Self {
        End::Failed {
            text,
            unconnected: true,
        }
    }

    fn broken(text: String) -> Self {
        End::Failed {
            text,
            unconnected: false,
        }
    }
}

/// The connection to one address, or what becomes one as soon as there is a packet to send.
struct Connection {
    to: SocketAddr,
    queue: mpsc::Receiver<Frame>,
    outgoing: Arc<Outgoing>,
}

impl Connection {
    async fn run(mut self) {
        loop {
            if let End::Failed { text, unconnected } = self.serve().await {
                self.fail(text, unconnected);
                return;
            }
            if self.retire() {
                return;
            }
        }
    }

    /// Connects when there is something to send, and sends until it fails or nothing comes.
    async fn serve(&mut self) -> End {
        let mut connected: Option<TcpStream> = None;
        loop {
            let Some(frame) = self.next(&mut connected).await else {
                return End::Idle;
            };
            let stream = match &mut connected {
                Some(stream) => stream,
                None => match connect(&self.outgoing.own, self.to).await {
                    Ok(stream) => connected.insert(stream),
                    Err(text) => {
                        self.outgoing.metrics.dropped.inc();
                        return End::unconnected(text);
                    }
                },
            };
            if let Err(text) = write_frame(stream, &frame.packet).await {
                self.outgoing.metrics.dropped.inc();
                return End::broken(text);
            }
            self.sent(&frame);
        }
    }

    /// The next packet; meanwhile, forgets a connection that the other end closes.
    async fn next(&mut self, connected: &mut Option<TcpStream>) -> Option<Frame> {
        let deadline = Instant::now() + OUTGOING_IDLE;
        loop {
            let wait = tokio::time::timeout_at(deadline, self.queue.recv());
            let Some(stream) = connected else {
                return wait.await.ok().flatten();
            };
            let mut byte = [0];
            tokio::select! {
                biased;
                // Nothing is ever answered: this is the end, an error or nonsense.
                _ = stream.read(&mut byte) => *connected = None,
                frame = wait => return frame.ok().flatten(),
            }
        }
    }

    fn sent(&self, frame: &Frame) {
        let metrics = &self.outgoing.metrics;
        metrics.stream_sent.inc();
        metrics.stream_bytes_sent.inc_by(frame.packet.len() as u64);
        self.outgoing.lock().troubles.remove(&self.to);
    }

    /// Ends, unless a packet has come meanwhile.
    fn retire(&mut self) -> bool {
        let mut state = self.outgoing.lock();
        let done = self.queue.is_empty();
        if done {
            state.queues.remove(&self.to);
        }
        done
    }

    /// Drops what is queued, and remembers why.
    fn fail(&mut self, text: String, unconnected: bool) {
        tracing::debug!(to = %self.to, error = text, "a connection of gossip failed");
        let mut state = self.outgoing.lock();
        state.queues.remove(&self.to);
        let trouble = Trouble {
            text,
            since: Instant::now(),
            unconnected,
        };
        state.remember(self.to, trouble);
        while self.queue.try_recv().is_ok() {
            self.outgoing.metrics.dropped.inc();
        }
    }
}

async fn connect(own: &[IpAddr], to: SocketAddr) -> Result<TcpStream, String> {
    let socket = socket_from(own, to).map_err(|error| describe(&error))?;
    let stream = timeout(CONNECT_TIMEOUT, socket.connect(to))
        .await
        .map_err(|_| format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))?
        .map_err(|error| describe(&error))?;
    // A packet is written in two parts, the second of which must not wait for an answer.
    stream.set_nodelay(true).map_err(|error| describe(&error))?;
    Ok(stream)
}

fn socket_from(own: &[IpAddr], to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = own.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(*from, 0))?;
    }
    Ok(socket)
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

/// "connection refused" rather than "Connection refused (os error 111)".
fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::BrokenPipe
        | ErrorKind::TimedOut => error.kind().to_string(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::{Ipv4Addr, Ipv6Addr};

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::Reason;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    struct Member {
        link: Box<dyn Link>,
        arrivals: mpsc::Receiver<Arrival>,
        metrics: Metrics,
    }

    async fn member_at(address: IpAddr) -> Member {
        let metrics = Metrics::register(&mut Registry::default());
        let opened = bind(&[address], 0, metrics.clone()).await.unwrap();
        Member {
            link: opened.link,
            arrivals: opened.arrivals,
            metrics,
        }
    }

    async fn member() -> Member {
        member_at(LOCALHOST).await
    }

    impl Member {
        fn address(&self) -> SocketAddr {
            self.link.local_addr()
        }

        fn send(&self, to: SocketAddr, size: usize, via: Via) {
            self.link.send(to, vec![7; size], via);
        }

        /// Waits for the next arrival; its source and size.
        async fn receive(&mut self) -> (SocketAddr, usize) {
            let arrival = timeout(Duration::from_secs(60), self.arrivals.recv());
            let arrival = arrival.await.unwrap().unwrap();
            assert!(arrival.packet.iter().all(|&byte| byte == 7));
            (arrival.from, arrival.packet.len())
        }

        fn refused(&self, reason: &'static str) -> u64 {
            self.metrics.refused.get_or_create(&Reason { reason }).get()
        }
    }

    /// Waits for a condition.
    async fn until(mut condition: impl FnMut() -> bool) {
        let wait = async {
            while !condition() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), wait).await.unwrap();
    }

    /// An address that nobody listens on.
    async fn nowhere() -> SocketAddr {
        member().await.address()
    }

    #[tokio::test]
    async fn small_packets_are_datagrams() {
        let (first, mut second) = (member().await, member().await);
        first.send(second.address(), SAFE_DATAGRAM, Via::SizeDecides);
        assert_eq!(second.receive().await, (first.address(), SAFE_DATAGRAM));
        assert_eq!(first.metrics.datagrams_sent.get(), 1);
        assert_eq!(first.metrics.datagram_bytes_sent.get(), 1200);
        assert_eq!(second.metrics.datagrams_received.get(), 1);
        assert_eq!(second.metrics.datagram_bytes_received.get(), 1200);
        assert_eq!(second.metrics.stream_received.get(), 0);
    }

    #[tokio::test]
    async fn large_packets_and_those_that_shall_go_over_a_stream() {
        let (mut first, mut second) = (member().await, member().await);
        let to = (first.address(), second.address());
        let sizes = [
            (SAFE_DATAGRAM + 1, Via::SizeDecides),
            (1, Via::Stream),
            (MAX_PACKET, Via::SizeDecides),
        ];
        let (mut forth, mut back) = (Vec::new(), Vec::new());
        for (size, via) in sizes {
            first.send(to.1, size, via);
            second.send(to.0, size, via);
            forth.push(second.receive().await);
            back.push(first.receive().await);
        }
        for received in [forth, back] {
            let connections: Vec<SocketAddr> = received.iter().map(|(from, _)| *from).collect();
            assert!(connections.iter().all(|&from| from == connections[0]));
            let expected: Vec<usize> = sizes.iter().map(|(size, _)| *size).collect();
            assert_eq!(
                received.iter().map(|(_, size)| *size).collect::<Vec<_>>(),
                expected
            );
        }
        let bytes = (SAFE_DATAGRAM + 2 + MAX_PACKET) as u64;
        until(|| first.metrics.stream_bytes_sent.get() == bytes).await;
        assert_eq!(first.metrics.stream_sent.get(), 3);
        assert_eq!(first.metrics.stream_received.get(), 3);
        assert_eq!(first.metrics.stream_bytes_received.get(), bytes);
        until(|| first.metrics.queued.get() == 0).await;
        assert_eq!(first.metrics.queued_bytes.get(), 0);
        assert_eq!(first.metrics.dropped.get(), 0);
    }

    #[tokio::test]
    async fn a_packet_that_is_too_large_is_dropped() {
        let (first, mut second) = (member().await, member().await);
        first.send(second.address(), MAX_PACKET + 1, Via::Stream);
        first.send(second.address(), 5, Via::Stream);
        assert_eq!(second.receive().await.1, 5);
        assert_eq!(first.metrics.dropped.get(), 1);
    }

    #[tokio::test]
    async fn trouble_is_remembered_until_it_is_over() {
        let (first, nowhere) = (member().await, nowhere().await);
        assert_eq!(first.link.trouble(nowhere), None);
        first.send(nowhere, 5, Via::Stream);
        until(|| first.link.trouble(nowhere).is_some()).await;
        assert_eq!(first.link.trouble(nowhere).unwrap(), "connection refused");
        until(|| first.metrics.queued.get() == 0).await;
        assert_eq!(first.metrics.dropped.get(), 1);
        let metrics = Metrics::register(&mut Registry::default());
        let mut opened = bind(&[LOCALHOST], nowhere.port(), metrics).await.unwrap();
        until(|| {
            // Dropped until half a second has passed.
            first.send(nowhere, 5, Via::Stream);
            first.metrics.stream_sent.get() > 0
        })
        .await;
        assert!(opened.arrivals.recv().await.is_some());
        assert_eq!(first.link.trouble(nowhere), None);
        assert!(first.metrics.dropped.get() > 1);
    }

    #[tokio::test]
    async fn a_peer_that_starts_again_is_connected_to_again() {
        let (first, mut second) = (member().await, member().await);
        let address = second.address();
        first.send(address, 5, Via::Stream);
        second.receive().await;
        drop(second);
        let mut opened = rebind(address.port()).await;
        until(|| {
            first.send(address, 5, Via::Stream);
            opened.arrivals.try_recv().is_ok()
        })
        .await;
        until(|| first.link.trouble(address).is_none()).await;
    }

    /// Waits until a port is free, and listens on it.
    async fn rebind(port: u16) -> Opened {
        let bind = async {
            loop {
                let metrics = Metrics::register(&mut Registry::default());
                match bind(&[LOCALHOST], port, metrics).await {
                    Ok(opened) => return opened,
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(Duration::from_secs(60), bind).await.unwrap()
    }

    #[tokio::test]
    async fn dropping_the_link_closes_everything() {
        let (first, mut second) = (member().await, member().await);
        first.send(second.address(), 5, Via::Stream);
        second.receive().await;
        let (address, metrics) = (first.address(), first.metrics.clone());
        drop(first);
        rebind(address.port()).await;
        assert_eq!(metrics.queued.get(), 0);
    }

    #[tokio::test]
    async fn nonsense_closes_a_connection_and_nothing_else() {
        let (first, mut second) = (member().await, member().await);
        first.send(second.address(), 5, Via::Stream);
        second.receive().await;
        let too_large = (MAX_PACKET as u32 + 1).to_be_bytes();
        let truncated = [0, 0, 0, 9, 7, 7];
        let expected = [
            (&too_large[..], "too_large"),
            (b"GET / HTTP/1.1\r\n\r\n", "too_large"),
            (&truncated, "truncated"),
            (&[0, 0, 0, 0], "truncated"),
            (&[0], "truncated"),
        ];
        for (bytes, reason) in expected {
            let before = second.refused(reason);
            let mut stream = TcpStream::connect(second.address()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            // Closed, or reset because of what was not read.
            assert!(!matches!(stream.read(&mut [0]).await, Ok(1)));
            assert_eq!(second.refused(reason), before + 1);
        }
        first.send(second.address(), 6, Via::Stream);
        assert_eq!(second.receive().await.1, 6);
        assert_eq!(second.metrics.invalid.get(), 5);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_takes_little_memory() {
        let first = member().await;
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = 1000;
        for _ in 0..count {
            first.send(address, MAX_PACKET, Via::Stream);
            tokio::task::yield_now().await;
            // One is being written.
            assert!(first.metrics.queued.get() <= QUEUE as i64 + 1);
        }
        let (sent, dropped) = (&first.metrics.stream_sent, &first.metrics.dropped);
        assert!(dropped.get() > count / 2);
        let queued = first.metrics.queued.get();
        assert_eq!(sent.get() + dropped.get() + queued as u64, count);
        assert_eq!(first.metrics.queued_bytes.get(), queued * MAX_PACKET as i64);
    }

    // In the following three the clock is stopped only when nothing is on its way any more: a
    // stopped clock jumps to the next timeout whenever everyone waits.

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let first = member().await;
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let _peer = {
            first.send(address, MAX_PACKET, Via::Stream);
            listener.accept().await.unwrap()
        };
        until(|| {
            first.send(address, MAX_PACKET, Via::Stream);
            first.metrics.dropped.get() > 0
        })
        .await;
        tokio::time::pause();
        until(|| first.link.trouble(address).is_some()).await;
        let trouble = first.link.trouble(address).unwrap();
        assert_eq!(trouble, "nothing was read within 5 s");
        assert_eq!(first.metrics.queued.get(), 0);
        assert_eq!(first.metrics.queued_bytes.get(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_is_not_used_is_closed() {
        let first = member().await;
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        first.send(address, 1, Via::Stream);
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut frame = [0; 5];
        peer.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame, [0, 0, 0, 1, 7]);
        until(|| first.metrics.stream_sent.get() == 1).await;
        tokio::time::pause();
        let since = Instant::now();
        assert_eq!(peer.read(&mut frame).await.unwrap(), 0);
        assert!(since.elapsed() >= OUTGOING_IDLE - Duration::from_secs(1));
        tokio::time::resume();
        first.send(address, 1, Via::Stream);
        listener.accept().await.unwrap();
        assert_eq!(first.link.trouble(address), None);
    }

    #[tokio::test]
    async fn a_frame_that_stalls_closes_its_connection() {
        let second = member().await;
        for (bytes, limit, refused) in [
            (&[0, 0, 0, 9, 7][..], FRAME_TIMEOUT, 1),
            (&[], INCOMING_IDLE, 1),
        ] {
            let mut stream = TcpStream::connect(second.address()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            tokio::time::pause();
            let since = Instant::now();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            assert!(since.elapsed() >= limit - Duration::from_secs(1));
            tokio::time::resume();
            assert_eq!(second.refused("truncated"), refused);
        }
    }

    #[tokio::test]
    async fn arrivals_that_nobody_takes_are_dropped() {
        let (first, mut second) = (member().await, member().await);
        let count = ARRIVALS as u64 + 10;
        for number in 1..=count {
            first.send(second.address(), 5, Via::Stream);
            until(|| second.metrics.stream_received.get() == number).await;
        }
        assert_eq!(second.metrics.dropped.get(), 10);
        assert_eq!(second.receive().await.1, 5);
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let metrics = Metrics::register(&mut Registry::default());
        let opened = bind_bounded(&[LOCALHOST], 0, metrics.clone(), 3).await;
        let mut opened = opened.unwrap();
        let address = opened.link.local_addr();
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&[0, 0, 0, 1, 7]).await.unwrap();
            opened.arrivals.recv().await.unwrap();
            streams.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(!matches!(stream.read(&mut [0]).await, Ok(1)));
        assert_eq!(metrics.dropped.get(), 1);
        // One that ends makes room.
        streams.pop();
        let mut byte = [0];
        let wait = async {
            loop {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let _ = stream.write_all(&[0, 0, 0, 1, 7]).await;
                tokio::select! {
                    arrival = opened.arrivals.recv() => return arrival.unwrap(),
                    // Closed: there was no room yet.
                    _ = stream.read(&mut byte) => {}
                }
            }
        };
        timeout(Duration::from_secs(60), wait).await.unwrap();
    }

    #[tokio::test]
    async fn both_families_over_one_socket() {
        let mut both = member_at(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).await;
        let mut four = member().await;
        let address = SocketAddr::new(LOCALHOST, both.address().port());
        for via in [Via::SizeDecides, Via::Stream] {
            four.send(address, 5, via);
            assert_eq!(both.receive().await.0.ip(), LOCALHOST);
            both.send(four.address(), 6, via);
            assert_eq!(four.receive().await.0.ip(), LOCALHOST);
        }
        assert_eq!(both.metrics.datagrams_sent.get(), 1);
    }

    #[tokio::test]
    async fn several_addresses_have_one_port() {
        let others = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let metrics = Metrics::register(&mut Registry::default());
        let mut opened = bind(&[LOCALHOST, others], 0, metrics).await.unwrap();
        let port = opened.link.local_addr().port();
        let mut sender = member().await;
        for ip in [LOCALHOST, others] {
            sender.send((ip, port).into(), 5, Via::SizeDecides);
            assert!(opened.arrivals.recv().await.is_some());
            sender.send((ip, port).into(), 5, Via::Stream);
            assert!(opened.arrivals.recv().await.is_some());
        }
        opened
            .link
            .send(sender.address(), vec![7], Via::SizeDecides);
        assert_eq!(sender.receive().await, ((LOCALHOST, port).into(), 1));
    }

    #[tokio::test]
    async fn what_cannot_be_bound_is_named() {
        let first = member().await;
        let bind = async |addresses: &[IpAddr], port| {
            let metrics = Metrics::register(&mut Registry::default());
            bind(addresses, port, metrics)
                .await
                .err()
                .unwrap()
                .to_string()
        };
        let address = first.address();
        let error = bind(&[LOCALHOST], address.port()).await;
        assert!(
            error.starts_with(&format!("cannot listen on TCP {address}: ")),
            "{error}"
        );
        assert!(
            error.contains("choose a port that nothing listens on"),
            "{error}"
        );
        let udp = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
        let address = udp.local_addr().unwrap();
        let error = bind(&[LOCALHOST], address.port()).await;
        assert!(
            error.starts_with(&format!("cannot listen on UDP {address}: ")),
            "{error}"
        );
        let error = bind(&["192.0.2.1".parse().unwrap()], 0).await;
        assert!(error.contains("give an address of this host"), "{error}");
        assert!(bind(&[], 0).await.contains("no address to listen on"));
    }
}
