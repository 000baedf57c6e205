//! What carries packets between members.

use std::net::SocketAddr;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How a packet travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// As a datagram if it fits into one that no router splits, else over a stream.
    SizeDecides,
    /// Over a stream whatever its size: whether anyone listens there becomes known.
    Stream,
}

/// A packet that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The other end: for a datagram its source; for a stream the connection's other end, which is
    /// not where its sender listens.
    pub from: SocketAddr,
    /// The sealed packet.
    pub packet: Vec<u8>,
    /// The packet's share of the memory for arrivals, given back with it; `None` without a bound.
    pub _room: Option<OwnedSemaphorePermit>,
}

/// Sends packets. Whatever it cannot send at once or queue within its bounds, it drops and counts:
/// gossip repeats itself.
pub(crate) trait Link: Send + Sync + 'static {
    /// Sends a sealed packet, or queues it; never waits.
    fn send(&self, to: SocketAddr, packet: Vec<u8>, via: Via);

    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;

    /// Why the last stream to this address failed; `None` if it did not, or none was tried.
    fn trouble(&self, to: SocketAddr) -> Option<String>;
}

/// A link and what arrives on it. Dropping the link closes it.
pub(crate) struct Opened {
    /// Sends.
    pub link: Box<dyn Link>,
    /// Receives; a bounded queue, beyond which arrivals are dropped and counted.
    pub arrivals: mpsc::Receiver<Arrival>,
}
