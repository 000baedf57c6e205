//! Incoming traffic: datagrams, and frames on connections from other hosts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::places::{Place, Places};
use crate::link::foreign::{Answered, ForeignProtocol, Probe};
use crate::link::{Arrival, Reception, Standing};
use crate::metrics::Metrics;
use crate::seal::packet::MAX_PACKET;
use crate::seal::refusal::Refusal;

/// `MAX_PACKET`, as the type of a frame's length.
const MAX_PACKET_LENGTH: u32 = MAX_PACKET as u32;

const MAX_DATAGRAM: usize = 65_535;
/// The byte with which a stream of dskit's memberlist begins.
const STREAM_OF_DSKIT: u8 = 2;
/// Bytes that are read of a stream that is not ours.
const MAX_UNREAD: u64 = 1 << 20;
/// Time limit for a connection's first frame, and for each further one as long as none was a
/// member's.
pub(super) const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const INCOMING_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for a frame once it has begun.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after an error that does not concern a single connection, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Incoming {
    pub(super) reception: Arc<dyn Reception>,
    pub(super) metrics: Metrics,
    /// Whether this member would change to dskit's memberlist, for those that speak it.
    pub(super) may_change: bool,
}

impl Incoming {
    fn pass_on(&self, from: SocketAddr, stream: bool, packet: Vec<u8>) -> Standing {
        self.reception.deliver(Arrival {
            from: canonical(from),
            stream,
            packet,
        })
    }
}

/// A socket of both families writes IPv4 addresses as IPv6 ones.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub(super) async fn receive_datagrams(socket: Arc<UdpSocket>, incoming: Incoming) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((size, from)) => {
                incoming.metrics.datagrams_received.inc();
                incoming.metrics.datagram_bytes_received.inc_by(size as u64);
                let packet = buffer.get(..size).unwrap_or_default();
                incoming.pass_on(from, false, packet.to_vec());
            }
            // The error concerns an earlier datagram, or is temporary: a UDP socket stays usable.
            Err(error) => {
                tracing::debug!(%error, "cannot receive a gossip datagram");
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

pub(super) async fn accept(listener: TcpListener, places: Arc<Places>, incoming: Incoming) {
    // Dropped, and so aborted, with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a gossip connection");
                sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let place = places.enter(from.ip());
        let incoming = incoming.clone();
        connections.spawn(async move {
            tokio::select! {
                () = receive_stream(stream, canonical(from), &place, &incoming) => {}
                () = place.lost() => {}
            }
        });
    }
}

/// Reads frames until the other end closes the connection, is too slow, or sends something invalid.
async fn receive_stream(
    mut stream: TcpStream,
    from: SocketAddr,
    place: &Place,
    incoming: &Incoming,
) {
    let mut idle_timeout = FIRST_FRAME_TIMEOUT;
    loop {
        match read_frame(&mut stream, idle_timeout).await {
            Ok(Read::Frame(packet)) => {
                let size = packet.len() as u64;
                incoming.metrics.stream_received.inc();
                incoming.metrics.stream_bytes_received.inc_by(size);
                let standing = incoming.pass_on(from, true, packet);
                place.used(standing);
                idle_timeout = if standing == Standing::Stranger {
                    FIRST_FRAME_TIMEOUT
                } else {
                    INCOMING_IDLE_TIMEOUT
                };
            }
            Ok(Read::End) => return,
            Ok(Read::Probe) => return tell(stream, incoming.may_change).await,
            Ok(Read::StreamOfDskit) => {
                let refusal = Refusal::NotOurs(ForeignProtocol::Dskit);
                incoming.reception.refuse(from, refusal);
                return tell(stream, incoming.may_change).await;
            }
            Err(refusal) => {
                incoming.reception.refuse(from, refusal);
                return;
            }
        }
    }
}

/// What came over a connection.
enum Read {
    Frame(Vec<u8>),
    /// The question of another distributor, in the framing of dskit's memberlist.
    Probe,
    /// Anything else of a member of dskit's memberlist that waits for an answer.
    StreamOfDskit,
    End,
}

async fn read_frame(stream: &mut TcpStream, idle_timeout: Duration) -> Result<Read, Refusal> {
    let mut first = [0];
    let read = timeout(idle_timeout, stream.read(&mut first)).await;
    if !matches!(read, Ok(Ok(1))) {
        return Ok(Read::End);
    }
    if first == [STREAM_OF_DSKIT] {
        let is_probe = timeout(FIRST_FRAME_TIMEOUT, is_probe(stream)).await;
        return match is_probe {
            Ok(true) => Ok(Read::Probe),
            Ok(false) | Err(_) => Ok(Read::StreamOfDskit),
        };
    }
    if !is_of_a_length(first) {
        return Err(Refusal::NotOurs(ForeignProtocol::of_stream(&first)));
    }
    timeout(FRAME_TIMEOUT, read_rest(stream, first))
        .await
        .unwrap_or(Err(Refusal::Truncated))
        .map(Read::Frame)
}

/// Whether a connection that has begun as a stream of dskit's memberlist is another distributor's
/// question.
async fn is_probe(stream: &mut TcpStream) -> bool {
    let mut beginning = vec![STREAM_OF_DSKIT];
    let mut byte = [0];
    while beginning.len() <= Probe::MAX {
        if let Some(is_probe) = Probe::is_of_dskit(&beginning) {
            return is_probe;
        }
        match stream.read(&mut byte).await {
            Ok(1) => beginning.extend(byte),
            _ => break,
        }
    }
    false
}

/// Tells a member of dskit's memberlist, in its own protocol, what is spoken here.
async fn tell(mut stream: TcpStream, may_change: bool) {
    let told = async {
        let error = Answered::chitchat_error(may_change);
        stream.write_all(&error).await?;
        stream.shutdown().await?;
        // Closed with something unread, the connection would be reset and the answer lost.
        let mut rest = stream.take(MAX_UNREAD);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let _told = timeout(FIRST_FRAME_TIMEOUT, told).await;
}

/// Whether the length of a packet can begin with this byte. No other protocol that may be sent to
/// this port by mistake begins so: neither the memberlist of HashiCorp (1 to 14, 244) or of dskit
/// (1, 2), nor TLS (22) or HTTP, whose senders may wait for an answer before they have sent 4
/// bytes.
fn is_of_a_length([first]: [u8; 1]) -> bool {
    u32::from_be_bytes([first, 0, 0, 0]) <= MAX_PACKET_LENGTH
}

async fn read_rest(stream: &mut TcpStream, [first]: [u8; 1]) -> Result<Vec<u8>, Refusal> {
    let mut rest = [0; 3];
    let read = stream.read_exact(&mut rest).await;
    read.map_err(|_| Refusal::Truncated)?;
    let [second, third, fourth] = rest;
    let length = u32::from_be_bytes([first, second, third, fourth]);
    // Members send no longer packets.
    if length > MAX_PACKET_LENGTH {
        return Err(Refusal::NotOurs(ForeignProtocol::of_stream(&[
            first, second,
        ])));
    }
    // Grows with the received bytes, not with the announced length.
    let mut packet = Vec::new();
    let read = stream.take(length.into()).read_to_end(&mut packet).await;
    match read {
        Ok(size) if size as u64 == u64::from(length) && size > 0 => Ok(packet),
        _ => Err(Refusal::Truncated),
    }
}
