//! What dskit puts around packets and streams, each of which is a connection of its own.

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::error::Error;

/// First byte of a connection that carries a packet.
pub const PACKET: u8 = 1;

/// First byte of a connection that carries a stream.
pub const STREAM: u8 = 2;

/// Bytes of the digest at the end of a packet's connection.
pub const DIGEST: usize = 16;

/// Bytes that surround a payload at most: kind, address and its length, digest.
pub const MAX_FRAME: usize = 2 + 255 + DIGEST;

/// What a connection carries, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A packet: all bytes until the end are read, then [`read_packet_frame`] is called.
    Packet,
    /// A stream: what follows is read by a [`StreamReader`](super::StreamReader).
    Stream,
}

/// What a connection carries, by its first byte.
///
/// # Errors
/// [`Error::UnknownKind`] for any other byte: it is not a member that connected.
pub fn kind(first: u8) -> Result<Kind, Error> {
    match first {
        PACKET => Ok(Kind::Packet),
        STREAM => Ok(Kind::Stream),
        other => Err(Error::UnknownKind(other)),
    }
}

/// A packet's payload, and who has sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketFrame {
    /// The sender's address as `host:port`, by its own word: where the answer to a ping without a
    /// source goes. Not checked.
    pub sender: String,
    /// For [`read_packet`](super::read_packet).
    pub payload: Bytes,
}

/// Reads all bytes of a packet's connection, the first one included. The caller bounds how many there
/// are: the limit of the payload, and [`MAX_FRAME`].
///
/// # Errors
/// When it is no packet, ends too early, or is not what its digest says.
pub fn read_packet_frame(connection: &Bytes) -> Result<PacketFrame, Error> {
    const WHAT: &str = "a packet's frame";
    let truncated = Error::Truncated { what: WHAT };
    match kind(*connection.first().ok_or(truncated.clone())?)? {
        Kind::Packet => {}
        Kind::Stream => {
            return Err(Error::Malformed {
                what: WHAT,
                why: "it is a stream",
            });
        }
    }
    let length = usize::from(*connection.get(1).ok_or(truncated.clone())?);
    let start = 2 + length;
    let end = connection.len().saturating_sub(DIGEST);
    let (Some(sender), Some(payload), Some(digest)) = (
        connection.get(2..start),
        connection.get(start..end),
        connection.get(end..),
    ) else {
        return Err(truncated);
    };
    if Md5::digest(payload).as_slice() != digest {
        return Err(Error::Digest);
    }
    Ok(PacketFrame {
        sender: String::from_utf8_lossy(sender).into_owned(),
        payload: connection.slice(start..end),
    })
}

/// All bytes of a connection that carries a packet; `sender` is the own address as `host:port`, with
/// brackets around an IPv6 address. After them, the connection is closed.
///
/// # Errors
/// When the address is longer than 255 bytes.
pub fn packet_frame(sender: &str, payload: &[u8]) -> Result<Bytes, Error> {
    let Ok(length) = u8::try_from(sender.len()) else {
        return Err(Error::Unsendable {
            what: "an address",
            size: sender.len(),
            rule: "it may have 255 bytes",
        });
    };
    let mut out = Vec::with_capacity(2 + sender.len() + payload.len() + DIGEST);
    out.extend_from_slice(&[PACKET, length]);
    out.extend_from_slice(sender.as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(&Md5::digest(payload));
    Ok(out.into())
}
