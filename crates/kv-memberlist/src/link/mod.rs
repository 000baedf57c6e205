//! What carries packets between members.

pub(crate) mod net;
#[cfg(feature = "testing")]
pub(crate) mod simulated;

use std::net::SocketAddr;

use tokio::time::Instant;

use crate::seal::refusal::Refusal;

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
    /// The other end: for a datagram its source, as it says; for a stream the connection's other
    /// end, which is not where its sender listens.
    pub from: SocketAddr,
    /// Whether it came over a stream.
    pub stream: bool,
    /// The sealed packet.
    pub packet: Vec<u8>,
}

/// Who sent a packet, for all that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Any host: what it sent is not taken.
    Stranger,
    /// A sender that may become a member.
    Guest,
    /// A member.
    Member,
}

/// Takes what arrives.
pub(crate) trait Reception: Send + Sync + 'static {
    /// Takes a packet, or not; never waits.
    fn deliver(&self, arrival: Arrival) -> Standing;

    /// Something arrived that is no packet.
    fn refuse(&self, from: SocketAddr, refusal: Refusal);
}

/// Why a stream failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastError {
    pub(crate) text: String,
    pub(crate) at: Instant,
    /// Whether the other end refused the connection: nothing listens there.
    pub(crate) is_refusal: bool,
}

/// Sends packets. What it cannot send at once or queue within its bounds, it drops and counts:
/// gossip repeats itself. Dropping it closes it.
pub(crate) trait Link: Send + Sync + 'static {
    /// Sends a sealed packet, or queues it; never waits.
    fn send(&self, to: SocketAddr, packet: Vec<u8>, via: Via);

    /// Where it listens.
    fn local_addr(&self) -> SocketAddr;

    /// Why the last stream to this address failed; `None` if it did not, or none was tried.
    fn last_error(&self, to: SocketAddr) -> Option<LastError>;
}
