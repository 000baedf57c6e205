//! Packets: messages, alone or in compounds, compressed, with a checksum, encrypted, and labelled.

use bytes::Bytes;

use super::body::{self, ALIVE, COMPOUND, COMPRESS, DEAD, HAS_CRC, SUSPECT, USER};
use super::compression::{self, Compression};
use super::error::{Error, Rejected};
use super::limits::{Limits, MAX_DEPTH};
use super::msgpack::{Fault, Reader};
use super::seal;
use super::wire::{Front, Wire, read_label};
use crate::message::Message;

/// Most parts of a compound.
pub const MAX_PARTS: usize = 255;

/// Most bytes of a part of a compound. A longer message is a packet of its own.
pub const MAX_PART: usize = 65_535;

/// Bytes that a part of a compound takes besides its own.
pub const PART_OVERHEAD: usize = 2;

/// Bytes of a checksum in front of a message.
const CRC_HEADER: usize = 5;

/// What was in a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// In the order in which they stand in it, of which nothing follows.
    pub messages: Vec<Message>,
    /// Messages that were left out.
    pub rejected: Rejected,
}

/// Reads a packet's payload.
///
/// Messages that are malformed or unknown are left out and reported; others of the packet are not
/// affected. User messages share the payload's memory.
///
/// # Errors
/// When the packet as a whole is refused: for its size, label, encryption or checksum.
pub fn read_packet(payload: &Bytes, wire: &Wire) -> Result<Packet, Error> {
    const WHAT: &str = "a packet";
    if payload.len() > wire.limits.packet {
        return Err(Error::TooLarge {
            what: WHAT,
            size: payload.len() as u64,
            limit: wire.limits.packet as u64,
        });
    }
    let Front::Label(label, length) = read_label(payload)? else {
        return Err(Error::Truncated { what: WHAT });
    };
    wire.check_label(label)?;
    let mut rest = payload.slice(length..);
    if !wire.keys.is_empty() {
        rest = seal::open(&wire.keys, label, &rest)?.into();
    }
    if let (Some(&HAS_CRC), Some((header, checked))) =
        (rest.first(), rest.split_first_chunk::<CRC_HEADER>())
    {
        let [_, crc @ ..] = *header;
        if crc32fast::hash(checked) != u32::from_be_bytes(crc) {
            return Err(Error::Checksum);
        }
        rest = rest.slice(CRC_HEADER..);
    }
    let mut unpacking = Unpacking {
        limits: &wire.limits,
        inflatable: wire.limits.inflated,
        packet: Packet::default(),
    };
    unpacking.take_or_reject(&rest, MAX_DEPTH);
    Ok(unpacking.packet)
}

struct Unpacking<'a> {
    limits: &'a Limits,
    /// Bytes that compressed messages may still become.
    inflatable: usize,
    packet: Packet,
}

impl Unpacking<'_> {
    fn take_or_reject(&mut self, message: &Bytes, depth: usize) {
        if let Err(error) = self.take(message, depth) {
            self.packet.rejected.add(error);
        }
    }

    fn take(&mut self, message: &Bytes, depth: usize) -> Result<(), Error> {
        let depth = depth.checked_sub(1).ok_or(Error::TooDeep)?;
        let kind = *message
            .first()
            .ok_or(Error::Truncated { what: "a message" })?;
        match kind {
            COMPOUND => return self.take_compound(message, depth),
            COMPRESS => {
                let compressed = read_body(message, "a compressed message", compression::read)?;
                let inflated = compressed.inflate(self.inflatable)?;
                self.inflatable -= inflated.len();
                return self.take(&inflated.into(), depth);
            }
            _ => {}
        }
        let taken = self.packet.messages.len() + self.packet.rejected.count;
        if taken >= self.limits.messages {
            return Err(Error::TooLarge {
                what: "the number of messages in a packet",
                size: taken as u64 + 1,
                limit: self.limits.messages as u64,
            });
        }
        self.packet.messages.push(read_message(message, kind)?);
        Ok(())
    }

    fn take_compound(&mut self, message: &Bytes, depth: usize) -> Result<(), Error> {
        const WHAT: &str = "a compound message";
        let count = usize::from(*message.get(1).ok_or(Error::Truncated { what: WHAT })?);
        let mut start = 2 + count * PART_OVERHEAD;
        let lengths = message
            .get(2..start)
            .ok_or(Error::Truncated { what: WHAT })?;
        for length in lengths.chunks_exact(PART_OVERHEAD) {
            let end = start + length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
            if end > message.len() {
                return Err(Error::Truncated { what: WHAT });
            }
            self.take_or_reject(&message.slice(start..end), depth);
            start = end;
        }
        Ok(())
    }
}

fn read_message(message: &Bytes, kind: u8) -> Result<Message, Error> {
    Ok(match kind {
        body::PING => Message::Ping(read_body(message, "a ping", body::read_ping)?),
        body::INDIRECT_PING => {
            let ping = read_body(message, "an indirect ping", body::read_indirect_ping)?;
            Message::IndirectPing(ping)
        }
        body::ACK => read_body(message, "an ack", body::read_ack)?,
        body::NACK => read_body(message, "a nack", body::read_nack)?,
        SUSPECT => Message::Suspect(read_body(message, "a suspicion", body::read_accusation)?),
        DEAD => Message::Dead(read_body(
            message,
            "a report of a death",
            body::read_accusation,
        )?),
        ALIVE => Message::Alive(read_body(message, "a node", body::read_alive)?),
        USER => Message::User(message.slice(1..)),
        body::PUSH_PULL | body::ENCRYPT | body::ERROR | HAS_CRC | body::LABEL => {
            return Err(Error::Misplaced {
                kind,
                place: "packet",
            });
        }
        other => return Err(Error::UnknownType(other)),
    })
}

/// Reads what follows a message's type byte.
fn read_body<'a, T>(
    message: &'a [u8],
    what: &'static str,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Fault>,
) -> Result<T, Error> {
    let body = message.get(1..).unwrap_or_default();
    read(&mut Reader::new(body)).map_err(|fault| match fault {
        Fault::Short { .. } => Error::Truncated { what },
        Fault::Invalid(why) => Error::Malformed { what, why },
    })
}

/// A message as it stands in a packet.
pub fn message(message: &Message) -> Bytes {
    let mut out = Vec::with_capacity(128);
    body::write(message, &mut out);
    out.into()
}

/// Puts messages into as few as possible: one stays as it is, several become compounds of at most
/// [`MAX_PARTS`], and one that is longer than [`MAX_PART`] stays alone. Each is a packet of its own.
pub fn compounds(messages: &[Bytes]) -> Vec<Bytes> {
    let (small, large): (Vec<&Bytes>, Vec<&Bytes>) = messages
        .iter()
        .partition(|message| message.len() <= MAX_PART);
    let parts = small.chunks(MAX_PARTS).map(|parts| match parts {
        [alone] => Bytes::clone(alone),
        _ => compound(parts),
    });
    parts.chain(large.into_iter().cloned()).collect()
}

/// At most 255 parts of at most 65,535 bytes.
fn compound(parts: &[&Bytes]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len() + PART_OVERHEAD).sum();
    let mut out = Vec::with_capacity(2 + length);
    out.extend_from_slice(&[COMPOUND, parts.len() as u8]);
    for part in parts {
        out.extend_from_slice(&(part.len() as u16).to_be_bytes());
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out.into()
}

/// How a packet is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct PacketOptions {
    /// Compress, if that makes it shorter.
    pub compression: Option<Compression>,
    /// Add a checksum: for receivers that speak version 5 and newer, as Go's members do when they
    /// gossip. Optional, and of little use: the connection's frame has a digest.
    pub crc: bool,
    /// A nonce that was never used before with the ring's first key. Only used with keys.
    pub nonce: [u8; 12],
}

/// A packet's payload with one message, which may be a compound.
///
/// # Errors
/// When the ring has a key and the message is too long for it.
pub fn packet(message: &[u8], wire: &Wire, options: PacketOptions) -> Result<Bytes, Error> {
    let compressed = options
        .compression
        .and_then(|compression| compression::deflate(message, compression));
    let message = compressed.as_deref().unwrap_or(message);
    let mut out = Vec::with_capacity(wire.label.overhead() + CRC_HEADER + message.len());
    wire.label.write(&mut out);
    let label_end = out.len();
    if options.crc {
        out.push(HAS_CRC);
        out.extend_from_slice(&crc32fast::hash(message).to_be_bytes());
    }
    out.extend_from_slice(message);
    if let Some(key) = wire.keys.first() {
        let plain = out.split_off(label_end);
        out.append(&mut key.seal(options.nonce, wire.label.as_bytes(), &plain)?);
    }
    Ok(out.into())
}
