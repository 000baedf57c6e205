//! Over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::incoming::{FIRST_FRAME_TIMEOUT, FRAME_TIMEOUT, INCOMING_IDLE_TIMEOUT};
use super::outgoing::{MAX_QUEUE, OUTGOING_IDLE_TIMEOUT, SAFE_DATAGRAM};
use super::*;
use crate::admission::refusals::Refusals;
use crate::link::{Arrival, Link, Reception, Standing, Via};
use crate::metrics::Reason;
use crate::seal::packet::MAX_PACKET;
use crate::seal::refusal::Refusal;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Member {
    link: Arc<dyn Link>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    metrics: Metrics,
}

/// The first byte of packets that the inbox takes for those of a member, and of a stranger; all
/// others are a guest's.
const MEMBERS: u8 = 8;
const STRANGERS: u8 = 9;

/// Accepts everything and records it.
struct Inbox {
    arrivals: mpsc::UnboundedSender<Arrival>,
    refusals: Refusals,
}

impl Reception for Inbox {
    fn deliver(&self, arrival: Arrival) -> Standing {
        let standing = match arrival.packet.first() {
            Some(&MEMBERS) => Standing::Member,
            Some(&STRANGERS) => Standing::Stranger,
            _ => Standing::Guest,
        };
        let _ = self.arrivals.send(arrival);
        standing
    }

    fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        self.refusals.refuse(from, refusal);
    }
}

async fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Member> {
    let metrics = Metrics::register(&mut Registry::default());
    let (sender, arrivals) = mpsc::unbounded_channel();
    let inbox = Arc::new(Inbox {
        arrivals: sender,
        refusals: Refusals::new(metrics.clone()),
    });
    let link = bind(addresses, port, metrics.clone(), inbox, false).await?;
    Ok(Member {
        link,
        arrivals,
        metrics,
    })
}

async fn member_at(address: IpAddr) -> Member {
    bind_all(&[address], 0).await.unwrap()
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

/// An address without a listener.
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
async fn the_last_error_is_remembered_until_it_is_over() {
    let (first, nowhere) = (member().await, nowhere().await);
    assert_eq!(first.link.last_error(nowhere), None);
    first.send(nowhere, 5, Via::Stream);
    until(|| first.link.last_error(nowhere).is_some()).await;
    let error = first.link.last_error(nowhere).unwrap();
    assert_eq!(error.text, "connection refused");
    assert!(error.is_refusal);
    until(|| first.metrics.queued.get() == 0).await;
    assert_eq!(first.metrics.dropped.get(), 1);
    let mut opened = bind_all(&[LOCALHOST], nowhere.port()).await.unwrap();
    until(|| {
        // Dropped until half a second has passed.
        first.send(nowhere, 5, Via::Stream);
        first.metrics.stream_sent.get() > 0
    })
    .await;
    assert!(opened.arrivals.recv().await.is_some());
    assert_eq!(first.link.last_error(nowhere), None);
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
    until(|| first.link.last_error(address).is_none()).await;
}

/// Waits until a port is free, and listens on it.
async fn rebind(port: u16) -> Member {
    let bind = async {
        loop {
            match bind_all(&[LOCALHOST], port).await {
                Ok(member) => return member,
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
        (&too_large[..], "not_ours"),
        (b"GET / HTTP/1.1\r\n\r\n", "not_ours"),
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
        assert!(first.metrics.queued.get() <= MAX_QUEUE as i64 + 1);
    }
    let (sent, dropped) = (&first.metrics.stream_sent, &first.metrics.dropped);
    assert!(dropped.get() > count / 2);
    let queued = first.metrics.queued.get();
    assert_eq!(sent.get() + dropped.get() + queued as u64, count);
    assert_eq!(first.metrics.queued_bytes.get(), queued * MAX_PACKET as i64);
}

// The following three pause the clock only when no packet is in transit: a paused clock advances to
// the next timeout whenever all tasks wait.

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
    until(|| first.link.last_error(address).is_some()).await;
    let error = first.link.last_error(address).unwrap();
    assert_eq!(error.text, "nothing was read within 5 s");
    assert!(!error.is_refusal);
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
    assert!(since.elapsed() >= OUTGOING_IDLE_TIMEOUT - Duration::from_secs(1));
    tokio::time::resume();
    first.send(address, 1, Via::Stream);
    listener.accept().await.unwrap();
    assert_eq!(first.link.last_error(address), None);
}

#[tokio::test]
async fn a_frame_that_stalls_closes_its_connection() {
    let second = member().await;
    for (bytes, limit, frames) in [
        (&[0, 0, 0, 9, 7][..], FRAME_TIMEOUT, 0),
        (&[], FIRST_FRAME_TIMEOUT, 0),
        (&[0, 0, 0, 1, 7], INCOMING_IDLE_TIMEOUT, 1),
    ] {
        let mut stream = TcpStream::connect(second.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        until(|| second.metrics.stream_received.get() == frames).await;
        tokio::time::pause();
        let since = Instant::now();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(since.elapsed() >= limit - Duration::from_secs(1));
        tokio::time::resume();
        assert_eq!(second.refused("truncated"), 1);
    }
}

/// Opens a connection that brings one packet of such a byte.
async fn connect(second: &mut Member, byte: u8) -> TcpStream {
    let mut stream = TcpStream::connect(second.address()).await.unwrap();
    stream.write_all(&[0, 0, 0, 1, byte]).await.unwrap();
    let arrival = timeout(Duration::from_secs(60), second.arrivals.recv()).await;
    assert_eq!(arrival.unwrap().unwrap().packet, [byte]);
    stream
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
    read.is_ok_and(|read| !matches!(read, Ok(1)))
}

async fn count_closed(streams: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for stream in streams {
        closed += usize::from(is_closed(stream).await);
    }
    closed
}

#[tokio::test]
async fn strangers_are_few_and_take_no_place_of_a_member() {
    let mut second = member().await;
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(connect(&mut second, MEMBERS).await);
    }
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(connect(&mut second, STRANGERS).await);
    }
    let sent_away = 100 - MAX_INCOMING.per_host;
    until(|| second.metrics.displaced.get() == sent_away as u64).await;
    let wait = async {
        while count_closed(&mut strangers).await < sent_away {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.unwrap();
    // New connections still work, and so do the existing ones.
    members.push(connect(&mut second, MEMBERS).await);
    for member in &mut members {
        member.write_all(&[0, 0, 0, 1, MEMBERS]).await.unwrap();
        assert_eq!(second.arrivals.recv().await.unwrap().packet, [MEMBERS]);
    }
    assert_eq!(count_closed(&mut members).await, 0);
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
    let mut opened = bind_all(&[LOCALHOST, others], 0).await.unwrap();
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
        bind_all(addresses, port).await.err().unwrap().to_string()
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
    // An address that no other test uses, so that no other socket has the same TCP port.
    let nobodys = IpAddr::from([127, 9, 1, 1]);
    let udp = UdpSocket::bind((nobodys, 0)).await.unwrap();
    let address = udp.local_addr().unwrap();
    let error = bind(&[nobodys], address.port()).await;
    assert!(
        error.starts_with(&format!("cannot listen on UDP {address}: ")),
        "{error}"
    );
    let error = bind(&["192.0.2.1".parse().unwrap()], 0).await;
    assert!(error.contains("give an address of this host"), "{error}");
    assert!(bind(&[], 0).await.contains("no address to listen on"));
}

#[tokio::test]
async fn what_others_speak_is_known_for_not_ours_while_they_wait_for_an_answer() {
    let second = member().await;
    // HashiCorp's memberlist: ping, push and pull, compressed, encrypted, labelled; TLS; HTTP/2.
    let others: [&[u8]; 8] = [
        &[1],
        &[2, 0x83],
        &[6],
        &[9, 0],
        &[10, 0, 0],
        &[244, 3, b'a', b'b', b'c'],
        &[22, 3, 1],
        b"PRI",
    ];
    for (number, bytes) in (1..).zip(others) {
        let mut stream = TcpStream::connect(second.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        // A member of dskit's memberlist is told in its own protocol what is spoken here.
        let is_told = matches!(stream.read(&mut [0]).await, Ok(1));
        assert_eq!(
            (is_told, second.refused("not_ours")),
            (bytes[0] == 2, number)
        );
    }
    assert_eq!(second.metrics.invalid.get(), 8);
}
