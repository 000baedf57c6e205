//! The sealed packet, which carries a gossip message.
//!
//! ```text
//! magic "kg" | format version | flags (bit 0: encrypted)
//! if encrypted: id of the key (4) | nonce (24) | the rest encrypted, and a tag (16)
//! if encrypted: when it was sent (8, unix milliseconds)
//! label: length (1) and bytes
//! reply to: 4 or 6 | address (4 or 16) | port (2)
//! body flags (bit 0: compressed, 1: with a proof, 2: with an offer, 3: bare)
//! the proof: the cookie that the receiver gave the sender (8)
//! the offer: a cookie for the receiver (8)
//! body; if compressed, its length (4) and one zstd frame; if bare, nothing or a quote (8)
//! ```
//!
//! Cookies and bare packets are for packets that are not encrypted: see [`crate::admission`].
//!
//! Numbers are little-endian. The cipher is XChaCha20-Poly1305; the part before the encrypted part
//! is authenticated with it. The label is encrypted, so that a packet of another cluster with the
//! same keys is recognized.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use kv_core::lock;
use rand::Rng;
use zstd::bulk::{Compressor, Decompressor};

use super::keyring::{KEY_ID_SIZE, Key, Keyring};
use super::reader::Reader;
use super::refusal::Refusal;
use crate::link::foreign::ForeignProtocol;

/// Bytes of a body at most; a message of gossip has 65,507 at most.
pub(crate) const MAX_BODY: usize = 128 * 1024;
/// Bytes of a packet at most.
pub(crate) const MAX_PACKET: usize = MAX_BODY + 512;
/// Largest age of an encrypted packet, milliseconds: older recordings are useless.
const MAX_AGE_MS: u64 = 600_000;
/// Bytes of a label at most.
pub(crate) const MAX_LABEL: usize = 255;

const MAGIC: [u8; 2] = *b"kg";
const FORMAT: u8 = 1;
const FLAG_ENCRYPTED: u8 = 1;
const FLAG_COMPRESSED: u8 = 1;
const FLAG_PROOF: u8 = 2;
const FLAG_OFFER: u8 = 4;
const FLAG_BARE: u8 = 8;
/// Bytes of a cookie, and of a quote.
pub(crate) const COOKIE_SIZE: usize = 8;
const PLAIN_HEADER: usize = 4;
const NONCE_SIZE: usize = 24;
const TAG_SIZE: usize = 16;
const SEALED_HEADER: usize = PLAIN_HEADER + KEY_ID_SIZE + NONCE_SIZE;
/// Room for everything but label and body.
const OVERHEAD: usize = SEALED_HEADER + 8 + 1 + 19 + 1 + 2 * COOKIE_SIZE + 4 + TAG_SIZE;
/// Below this size, compression saves too little to be worth its time.
const MIN_COMPRESSED: usize = 512;
const COMPRESSION_LEVEL: i32 = 1;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Sent to an address; only a host that receives packets there can return it.
pub(crate) type Cookie = [u8; COOKIE_SIZE];

/// The cookies of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cookies {
    /// The cookie that the receiver issued to the sender.
    pub(crate) proof: Option<Cookie>,
    /// The cookie that the receiver must return.
    pub(crate) offer: Option<Cookie>,
}

/// The content of a packet to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    Message(&'a [u8]),
    /// Only cookies; in a challenge, also the quote of the packet that was not accepted.
    Bare(Option<Cookie>),
}

/// A verified packet; its message has not been read yet.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// The sender's address, as it states it.
    pub(crate) reply_to: SocketAddr,
    pub(crate) cookies: Cookies,
    flags: u8,
    /// The unencrypted or decrypted bytes.
    text: Vec<u8>,
    /// Where in it the body begins.
    body: usize,
}

impl Envelope {
    /// Whether there is a message in it, and not only cookies.
    pub(crate) fn is_message(&self) -> bool {
        self.flags & FLAG_BARE == 0
    }

    /// The content of a packet without a message.
    pub(crate) fn quote(&self) -> Option<Cookie> {
        if self.is_message() {
            None
        } else {
            Reader::new(self.body()).array()
        }
    }

    /// The packet, if it was not encrypted.
    pub(crate) fn as_received(&self) -> &[u8] {
        &self.text
    }

    /// Bytes that it holds.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    fn body(&self) -> &[u8] {
        self.text.get(self.body..).unwrap_or_default()
    }
}

/// The content of a packet.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Where the sender listens.
    pub(crate) reply_to: SocketAddr,
    /// The message.
    pub(crate) body: Vec<u8>,
}

/// Makes packets and opens them.
pub(crate) struct Sealer {
    keys: Keyring,
    label: Vec<u8>,
    verify_label: bool,
    /// Reused, because creating one takes longer than compressing a message. Each call begins a new
    /// frame, so a panic leaves no state behind.
    compressor: Option<Mutex<Compressor<'static>>>,
    decompressor: Option<Mutex<Decompressor<'static>>>,
}

impl Sealer {
    /// A label longer than `MAX_LABEL` is truncated.
    pub(crate) fn new(keys: Keyring, label: String, verify_label: bool, compress: bool) -> Self {
        let mut label = label.into_bytes();
        label.truncate(MAX_LABEL);
        let compressor = compress.then(|| Compressor::new(COMPRESSION_LEVEL).ok());
        Self {
            keys,
            label,
            verify_label,
            compressor: compressor.flatten().map(Mutex::new),
            decompressor: Decompressor::new().ok().map(Mutex::new),
        }
    }

    /// Whether packets are encrypted, and others refused.
    pub(crate) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Makes a packet of a message. No member accepts one whose body is longer than `MAX_BODY`.
    pub(crate) fn seal(&self, reply_to: SocketAddr, body: &[u8]) -> Vec<u8> {
        self.seal_with(reply_to, Cookies::default(), Content::Message(body))
    }

    /// Makes a packet.
    pub(crate) fn seal_with(
        &self,
        reply_to: SocketAddr,
        cookies: Cookies,
        content: Content<'_>,
    ) -> Vec<u8> {
        let length = match content {
            Content::Message(body) => body.len(),
            Content::Bare(_) => COOKIE_SIZE,
        };
        let mut packet = Vec::with_capacity(OVERHEAD + self.label.len() + length);
        packet.extend(MAGIC);
        packet.push(FORMAT);
        let Some(key) = self.keys.first() else {
            packet.push(0);
            self.write_inner(reply_to, cookies, content, &mut packet);
            return packet;
        };
        packet.push(FLAG_ENCRYPTED);
        packet.extend(key.id);
        let mut nonce = [0; NONCE_SIZE];
        rand::rng().fill_bytes(&mut nonce);
        packet.extend(nonce);
        packet.extend(crate::clock::now_ms().to_le_bytes());
        self.write_inner(reply_to, cookies, content, &mut packet);
        encrypt(key, nonce, &mut packet);
        packet
    }

    fn write_inner(
        &self,
        reply_to: SocketAddr,
        cookies: Cookies,
        content: Content<'_>,
        packet: &mut Vec<u8>,
    ) {
        packet.push(u8::try_from(self.label.len()).unwrap_or(u8::MAX));
        packet.extend(&self.label);
        match reply_to.ip() {
            IpAddr::V4(ip) => {
                packet.push(4);
                packet.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                packet.push(6);
                packet.extend(ip.octets());
            }
        }
        packet.extend(reply_to.port().to_le_bytes());
        let flags = packet.len();
        packet.push(0);
        let mut set = 0;
        for (flag, cookie) in [(FLAG_PROOF, cookies.proof), (FLAG_OFFER, cookies.offer)] {
            if let Some(cookie) = cookie {
                set |= flag;
                packet.extend(cookie);
            }
        }
        match content {
            Content::Message(body) if self.write_compressed(body, packet) => set |= FLAG_COMPRESSED,
            Content::Message(body) => packet.extend(body),
            Content::Bare(quote) => {
                set |= FLAG_BARE;
                packet.extend(quote.iter().flatten());
            }
        }
        if let Some(flags) = packet.get_mut(flags) {
            *flags = set;
        }
    }

    /// Writes nothing unless compression saves at least a tenth.
    fn write_compressed(&self, body: &[u8], packet: &mut Vec<u8>) -> bool {
        let (Some(compressor), Ok(length)) = (&self.compressor, u32::try_from(body.len())) else {
            return false;
        };
        if body.len() < MIN_COMPRESSED {
            return false;
        }
        let start = packet.len();
        packet.extend(length.to_le_bytes());
        let frame = packet.len();
        packet.resize(frame + body.len() / 10 * 9 - 4, 0);
        let (_, room) = packet.split_at_mut(frame);
        let compressed = lock(compressor).compress_to_buffer(body, room);
        let end = compressed.map_or(start, |size| frame + size);
        packet.truncate(end);
        end > start
    }

    /// Opens a packet that holds a message.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn open(&self, packet: &[u8]) -> Result<Opened, Refusal> {
        let envelope = self.unseal(packet.to_vec())?;
        Ok(Opened {
            reply_to: envelope.reply_to,
            body: self.unpack(&envelope)?,
        })
    }

    /// Checks a packet, and decrypts it.
    pub(crate) fn unseal(&self, packet: Vec<u8>) -> Result<Envelope, Refusal> {
        if packet.len() > MAX_PACKET {
            return Err(Refusal::TooLarge);
        }
        let mut reader = Reader::new(&packet);
        if reader.array().ok_or(Refusal::Truncated)? != MAGIC {
            return Err(Refusal::NotOurs(ForeignProtocol::of_datagram(&packet)));
        }
        if reader.u8().ok_or(Refusal::Truncated)? != FORMAT {
            return Err(Refusal::Version);
        }
        match (reader.u8().ok_or(Refusal::Truncated)?, self.keys.is_empty()) {
            (0, true) => self.read_inner(packet, PLAIN_HEADER),
            (0, false) => Err(Refusal::Unencrypted),
            (FLAG_ENCRYPTED, true) => Err(Refusal::Encrypted),
            (FLAG_ENCRYPTED, false) => self.read_dated(self.decrypt(&packet)?),
            _ => Err(Refusal::Malformed),
        }
    }

    fn decrypt(&self, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut reader = Reader::new(packet);
        let header = reader.take(SEALED_HEADER).ok_or(Refusal::Truncated)?;
        let (text, tag) = reader
            .rest
            .split_last_chunk::<TAG_SIZE>()
            .ok_or(Refusal::Truncated)?;
        let mut reader = Reader::new(header);
        reader.take(PLAIN_HEADER).ok_or(Refusal::Truncated)?;
        let id: [u8; KEY_ID_SIZE] = reader.array().ok_or(Refusal::Truncated)?;
        let nonce: [u8; NONCE_SIZE] = reader.array().ok_or(Refusal::Truncated)?;
        let key = self.keys.get(&id).ok_or(Refusal::UnknownKey)?;
        let mut text = text.to_vec();
        cipher(key)
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                header,
                text.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| Refusal::Authentication)?;
        Ok(text)
    }

    fn read_dated(&self, text: Vec<u8>) -> Result<Envelope, Refusal> {
        let mut reader = Reader::new(&text);
        let sent_ms = i64::from_le_bytes(reader.array().ok_or(Refusal::Truncated)?);
        if crate::clock::now_ms().abs_diff(sent_ms) > MAX_AGE_MS {
            return Err(Refusal::Age);
        }
        self.read_inner(text, size_of::<i64>())
    }

    /// Of a text that begins `at`.
    fn read_inner(&self, text: Vec<u8>, at: usize) -> Result<Envelope, Refusal> {
        let mut reader = Reader::new(text.get(at..).unwrap_or_default());
        let length = reader.u8().ok_or(Refusal::Truncated)?;
        let label = reader.take(length.into()).ok_or(Refusal::Truncated)?;
        if self.verify_label && label != self.label {
            return Err(Refusal::Label);
        }
        let reply_to = reader.address().ok_or(Refusal::Address)?;
        if !can_be_replied_to(reply_to) {
            return Err(Refusal::Address);
        }
        let flags = reader.u8().ok_or(Refusal::Truncated)?;
        let mut cookie = |flag| match flags & flag {
            0 => Ok(None),
            _ => reader.array().ok_or(Refusal::Truncated).map(Some),
        };
        let cookies = Cookies {
            proof: cookie(FLAG_PROOF)?,
            offer: cookie(FLAG_OFFER)?,
        };
        match flags & !(FLAG_PROOF | FLAG_OFFER) {
            0 if reader.rest.len() > MAX_BODY => return Err(Refusal::TooLarge),
            0 | FLAG_COMPRESSED => {}
            FLAG_BARE if [0, COOKIE_SIZE].contains(&reader.rest.len()) => {}
            _ => return Err(Refusal::Malformed),
        }
        let body = text.len() - reader.rest.len();
        Ok(Envelope {
            reply_to,
            cookies,
            flags,
            text,
            body,
        })
    }

    /// The message of a packet.
    pub(crate) fn unpack(&self, envelope: &Envelope) -> Result<Vec<u8>, Refusal> {
        let body = envelope.body();
        match envelope.flags & (FLAG_COMPRESSED | FLAG_BARE) {
            0 => Ok(body.to_vec()),
            FLAG_COMPRESSED => self.decompress(Reader::new(body)),
            _ => Err(Refusal::Malformed),
        }
    }

    fn decompress(&self, mut reader: Reader<'_>) -> Result<Vec<u8>, Refusal> {
        let length = reader.u32().ok_or(Refusal::Truncated)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        if !is_one_zstd_frame(reader.rest) {
            return Err(Refusal::Compression);
        }
        let decompressor = self.decompressor.as_ref().ok_or(Refusal::Compression)?;
        let mut body = vec![0; length];
        // Into a slice: a vector's capacity may be more than was asked for.
        let written = lock(decompressor).decompress_to_buffer(reader.rest, body.as_mut_slice());
        match written {
            Ok(written) if written == length => Ok(body),
            _ => Err(Refusal::Compression),
        }
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&key.bytes.into())
}

/// Encrypts what comes after the header, and appends the tag.
fn encrypt(key: &Key, nonce: [u8; NONCE_SIZE], packet: &mut Vec<u8>) {
    let (header, text) = packet.split_at_mut(SEALED_HEADER);
    let tag = cipher(key).encrypt_inout_detached(&XNonce::from(nonce), header, text.into());
    match tag {
        Ok(tag) => packet.extend_from_slice(&tag),
        // Only fails for 256 GiB: no member accepts that, and it must not be sent unencrypted.
        Err(_) => packet.clear(),
    }
}

/// Ports and addresses that a packet cannot be sent to, or that would multiply it (broadcast,
/// multicast).
fn can_be_replied_to(address: SocketAddr) -> bool {
    let broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0
        && !address.ip().is_unspecified()
        && !address.ip().is_multicast()
        && !broadcast
}

/// Whether these bytes are one frame of the current zstd format: decoders also accept several
/// frames and legacy formats, which we do not want to trust.
pub(crate) fn is_one_zstd_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&ZSTD_MAGIC)
        && zstd::zstd_safe::find_frame_compressed_size(bytes) == Ok(bytes.len())
}

#[cfg(test)]
mod tests;
