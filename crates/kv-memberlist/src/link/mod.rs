//! The transport of packets between members.

pub(crate) mod foreign;
pub(crate) mod net;
#[cfg(feature = "testing")]
pub(crate) mod simulated;
#[cfg(feature = "testing")]
pub(crate) mod streams;

use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::time::Instant;

use self::foreign::{Answered, ForeignProtocol};
use crate::seal::refusal::Refusal;

/// How a packet travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// As a datagram if it fits into one without fragmentation, or else over a stream.
    SizeDecides,
    /// Always over a stream, which shows whether the address listens.
    Stream,
}

/// A packet that arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The source: of a datagram its claimed source address; of a stream the connection's remote
    /// address, which is not where the sender listens.
    pub from: SocketAddr,
    /// Whether it arrived over a stream.
    pub stream: bool,
    /// The sealed packet.
    pub packet: Vec<u8>,
}

/// What is known about the sender of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Unknown: its packet is not accepted.
    Stranger,
    /// A sender that may become a member.
    Guest,
    /// A member.
    Member,
}

/// Receives packets that arrive.
pub(crate) trait Reception: Send + Sync + 'static {
    /// Accepts or drops a packet; never waits.
    fn deliver(&self, arrival: Arrival) -> Standing;

    /// Something arrived that is not a packet.
    fn refuse(&self, from: SocketAddr, refusal: Refusal);
}

/// Why a stream failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastError {
    pub(crate) text: String,
    pub(crate) at: Instant,
    /// Whether the connection was refused: nothing listens there.
    pub(crate) is_refusal: bool,
}

/// Sends packets. Packets that cannot be sent at once or queued within the limits are dropped and
/// counted: gossip repeats itself. Dropping the link closes it.
pub(crate) trait Link: Send + Sync + 'static {
    /// Sends a sealed packet, or queues it; never waits.
    fn send(&self, to: SocketAddr, packet: Vec<u8>, via: Via);

    /// The address that it listens on.
    fn local_addr(&self) -> SocketAddr;

    /// Why the last stream to this address failed; `None` if it did not fail, or there was none.
    fn last_error(&self, to: SocketAddr) -> Option<LastError>;

    /// Which other protocol is spoken at an address that closed the last stream without an answer:
    /// asks there in each known protocol, for a few seconds at most. `None` if the address did not
    /// close a stream, or does not answer. `label` is the cluster's.
    fn identify<'a>(
        &'a self,
        to: SocketAddr,
        label: &'a str,
    ) -> BoxFuture<'a, Option<ForeignProtocol>> {
        let _ = (to, label);
        Box::pin(std::future::ready(None))
    }

    /// Whether this address closed the last stream without an answer.
    fn was_closed(&self, to: SocketAddr) -> bool {
        let _ = to;
        false
    }

    /// Which kind of gossip is spoken at an address: asks there for a few seconds at most, in a way
    /// that no kind objects to. `None` if that remains unknown.
    fn ask<'a>(&'a self, to: SocketAddr, label: &'a str) -> BoxFuture<'a, Option<Answered>> {
        let _ = (to, label);
        Box::pin(std::future::ready(None))
    }
}
