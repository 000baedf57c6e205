//! The sealed packet: what a message of gossip travels in.
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
//! Numbers are little-endian. The cipher is XChaCha20-Poly1305; what stands before the encrypted
//! part is authenticated with it. The label is inside, so that a packet of another cluster that has
//! the same keys is known for what it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand::Rng;
use zstd::bulk::{Compressor, Decompressor};

use crate::Keyring;
use crate::seal::keyring::{KEY_ID_SIZE, Key};

/// Bytes of a body at most; a message of chitchat has 65,507 at most.
pub(crate) const MAX_BODY: usize = 128 * 1024;
/// Bytes of a packet at most.
pub(crate) const MAX_PACKET: usize = MAX_BODY + 512;
/// Age of an encrypted packet at most, milliseconds. Recordings of longer ago are worth nothing.
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

/// Why a packet was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the packet ends too early")]
    Truncated,
    #[error("not a packet of this kind of gossip; does something else use the port?")]
    NotOurs,
    #[error("a packet format that this version does not know; run one version on all members")]
    Version,
    #[error("not encrypted, but this member has encryption keys; give the sender the same keys")]
    Unencrypted,
    #[error("encrypted, but this member has no encryption keys; give it those of the sender")]
    Encrypted,
    #[error("encrypted with a key that this member does not have; add it to this member's keys")]
    UnknownKey,
    #[error("not encrypted with the key that it names, or changed on its way")]
    Authentication,
    #[error(
        "encrypted more than ten minutes ago, or in the future: a recording, or the clocks of the \
         members differ"
    )]
    Age,
    #[error("of another cluster: its label is not the cluster label of this member")]
    Label,
    #[error("its sender gives no address that can be replied to")]
    Address,
    #[error("its compressed part cannot be decompressed")]
    Compression,
    #[error("larger than any packet of gossip")]
    TooLarge,
    #[error("not a message of gossip")]
    Malformed,
    #[error("names more members than a gossip cluster can have")]
    TooManyMembers,
    #[error(
        "names a member with control characters, or with others that are not shown as what they are"
    )]
    MemberName,
    #[error(
        "names more members that have not answered than are remembered of such; they are asked, \
         and remembered once they have answered"
    )]
    UnprovenMembers,
    #[error("changes what this member alone may say; do two members have one name?")]
    OwnMap,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::Truncated,
        Self::NotOurs,
        Self::Version,
        Self::Unencrypted,
        Self::Encrypted,
        Self::UnknownKey,
        Self::Authentication,
        Self::Age,
        Self::Label,
        Self::Address,
        Self::Compression,
        Self::TooLarge,
        Self::Malformed,
        Self::TooManyMembers,
        Self::MemberName,
        Self::UnprovenMembers,
        Self::OwnMap,
    ];

    /// The reason in one word, for a metric.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refusal::Truncated => "truncated",
            Refusal::NotOurs => "not_ours",
            Refusal::Version => "version",
            Refusal::Unencrypted => "unencrypted",
            Refusal::Encrypted => "encrypted",
            Refusal::UnknownKey => "unknown_key",
            Refusal::Authentication => "authentication",
            Refusal::Age => "age",
            Refusal::Label => "label",
            Refusal::Address => "address",
            Refusal::Compression => "compression",
            Refusal::TooLarge => "too_large",
            Refusal::Malformed => "malformed",
            Refusal::TooManyMembers => "too_many_members",
            Refusal::MemberName => "member_name",
            Refusal::UnprovenMembers => "unproven_members",
            Refusal::OwnMap => "own_map",
        }
    }
}

/// What an address is given, and who receives there alone can give back.
pub(crate) type Cookie = [u8; COOKIE_SIZE];

/// The cookies of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cookies {
    /// That which the receiver gave to the sender.
    pub(crate) proof: Option<Cookie>,
    /// One that the receiver shall give back.
    pub(crate) offer: Option<Cookie>,
}

/// What a packet is to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content<'a> {
    Message(&'a [u8]),
    /// Cookies alone; of a challenge also what names the packet that was not taken.
    Bare(Option<Cookie>),
}

/// A packet that is what it says, its message not yet looked at.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// Where the sender says that it listens.
    pub(crate) reply_to: SocketAddr,
    pub(crate) cookies: Cookies,
    flags: u8,
    /// All that was not encrypted, or is decrypted.
    text: Vec<u8>,
    /// Where in it the body begins.
    body: usize,
}

impl Envelope {
    /// Whether there is a message in it, and not only cookies.
    pub(crate) fn is_message(&self) -> bool {
        self.flags & FLAG_BARE == 0
    }

    /// What a bare packet is about.
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

/// What a packet held.
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
    /// Kept, because making one takes longer than compressing a message.
    compressor: Option<Mutex<Compressor<'static>>>,
    decompressor: Option<Mutex<Decompressor<'static>>>,
}

impl Sealer {
    /// Of a label longer than `MAX_LABEL` the start counts.
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

    /// Makes a packet of a message. Nobody accepts one whose body is longer than `MAX_BODY`.
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

    /// Writes nothing unless it makes the body smaller by a tenth.
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
            return Err(Refusal::NotOurs);
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

/// A poisoned context is as good as new: each call begins a frame.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        // 256 GiB at once: nobody accepts that, and it must not go out as it is.
        Err(_) => packet.clear(),
    }
}

/// Ports and addresses that a packet cannot be sent to, or that would multiply it.
fn can_be_replied_to(address: SocketAddr) -> bool {
    let broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0
        && !address.ip().is_unspecified()
        && !address.ip().is_multicast()
        && !broadcast
}

/// Whether these bytes are one frame of today's zstd format: decoders also accept several frames,
/// and formats that were given up, which we need not trust.
pub(crate) fn is_one_zstd_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&ZSTD_MAGIC)
        && zstd::zstd_safe::find_frame_compressed_size(bytes) == Ok(bytes.len())
}

/// Reads what others wrote; `None` where it ends too early.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// 4 or 6, an address and a port; chitchat writes them in the same way.
    pub(crate) fn address(&mut self) -> Option<SocketAddr> {
        let ip: IpAddr = match self.u8()? {
            4 => self.array::<4>()?.into(),
            6 => self.array::<16>()?.into(),
            _ => return None,
        };
        Some((ip, self.u16()?).into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = b"a body";

    fn keyring(keys: &[u8]) -> Keyring {
        let keys: Vec<String> = keys.iter().map(|&key| STANDARD.encode([key; 32])).collect();
        Keyring::parse(&keys).unwrap()
    }

    fn sealer(keys: &[u8], label: &str) -> Sealer {
        Sealer::new(keyring(keys), label.to_owned(), true, true)
    }

    fn here() -> SocketAddr {
        "10.0.0.1:7946".parse().unwrap()
    }

    /// Bytes that do not compress.
    fn noise(size: usize) -> Vec<u8> {
        let mut noise = vec![0; size];
        rand::rng().fill_bytes(&mut noise);
        noise
    }

    /// The reason why the second does not open a packet of the first.
    fn refusal(from: &Sealer, to: &Sealer) -> &'static str {
        to.open(&from.seal(here(), BODY)).unwrap_err().reason()
    }

    #[test]
    fn what_is_sealed_opens() {
        for keys in [&[][..], &[1], &[1, 2]] {
            for reply_to in ["10.0.0.1:7946", "[fd00::1]:1", "[fd00::1]:65535"] {
                for body in [vec![], vec![7; 100_000], noise(MAX_BODY), vec![7; MAX_BODY]] {
                    let sealer = sealer(keys, "label");
                    let reply_to = reply_to.parse().unwrap();
                    let packet = sealer.seal(reply_to, &body);
                    assert!(packet.len() <= MAX_PACKET);
                    assert_eq!(sealer.open(&packet), Ok(Opened { reply_to, body }));
                }
            }
        }
    }

    #[test]
    fn cookies_travel_with_a_message_or_alone() {
        let cookies = [None, Some([7; 8])]
            .into_iter()
            .flat_map(|proof| [None, Some([9; 8])].map(|offer| Cookies { proof, offer }));
        for cookies in cookies {
            for keys in [&[][..], &[1]] {
                let sealer = sealer(keys, "label");
                for body in [BODY.to_vec(), vec![7; 1000]] {
                    let packet = sealer.seal_with(here(), cookies, Content::Message(&body));
                    let envelope = sealer.unseal(packet).unwrap();
                    assert_eq!((envelope.reply_to, envelope.cookies), (here(), cookies));
                    assert!(envelope.is_message() && envelope.quote().is_none());
                    assert_eq!(sealer.unpack(&envelope), Ok(body));
                }
                for quote in [None, Some([5; 8])] {
                    let packet = sealer.seal_with(here(), cookies, Content::Bare(quote));
                    let envelope = sealer.unseal(packet).unwrap();
                    assert_eq!((envelope.cookies, envelope.quote()), (cookies, quote));
                    assert!(!envelope.is_message());
                    assert_eq!(sealer.unpack(&envelope), Err(Refusal::Malformed));
                }
            }
        }
    }

    /// A challenge must never be larger than what it answers.
    #[test]
    fn a_challenge_is_no_larger_than_the_smallest_question() {
        let sealer = sealer(&[], "label");
        let cookies = Cookies {
            proof: None,
            offer: Some([7; 8]),
        };
        let challenge = sealer.seal_with(here(), cookies, Content::Bare(Some([5; 8])));
        // What asks for all: no digest, and the name of the cluster.
        let question = sealer.seal(here(), &[0; 2 + 1 + 1 + 2 + 2 + 13]);
        assert!(challenge.len() <= question.len());
    }

    #[test]
    fn one_allocation_is_enough_for_a_packet() {
        for (body, keys) in [(noise(10_000), &[1][..]), (vec![7; 10_000], &[])] {
            let packet = sealer(keys, &"l".repeat(255)).seal("[::1]:1".parse().unwrap(), &body);
            assert_eq!(packet.capacity(), OVERHEAD + 255 + body.len());
        }
    }

    #[test]
    fn only_what_shrinks_is_compressed() {
        let plain = |body: &[u8]| PLAIN_HEADER + 1 + 7 + 1 + body.len();
        let size = |body: &[u8]| sealer(&[], "").seal(here(), body).len();
        assert_eq!(size(&[7; 511]), plain(&[7; 511]));
        assert!(size(&[7; 512]) < 100);
        assert_eq!(size(&noise(1000)), plain(&noise(1000)));
        // Zeros and noise such that compression saves less than a tenth.
        let body = [noise(9500), vec![0; 500]].concat();
        assert_eq!(size(&body), plain(&body));
        let never = Sealer::new(Keyring::default(), String::new(), true, false);
        assert_eq!(never.seal(here(), &[7; 512]).len(), plain(&[7; 512]));
    }

    #[test]
    fn any_key_of_the_ring_opens() {
        let packet = sealer(&[2], "").seal(here(), BODY);
        assert_eq!(sealer(&[1, 2], "").open(&packet).unwrap().body, BODY);
    }

    #[test]
    fn what_is_encrypted_cannot_be_read_and_no_two_are_the_same() {
        let sealer = sealer(&[1], "label");
        let (first, second) = (sealer.seal(here(), BODY), sealer.seal(here(), BODY));
        assert_eq!(first.len(), second.len());
        assert_ne!(first[8..32], second[8..32]);
        for packet in [first, second] {
            assert!(!packet.windows(BODY.len()).any(|part| part == BODY));
            assert!(!packet.windows(5).any(|part| part == b"label"));
        }
    }

    #[test]
    fn strangers_are_refused() {
        let (plain, first, second) = (sealer(&[], "a"), sealer(&[1], "a"), sealer(&[2], "a"));
        assert_eq!(refusal(&plain, &first), "unencrypted");
        assert_eq!(refusal(&first, &plain), "encrypted");
        assert_eq!(refusal(&first, &second), "unknown_key");
        assert_eq!(refusal(&plain, &sealer(&[], "")), "label");
        // The same key in two clusters: only the label tells them apart.
        assert_eq!(refusal(&first, &sealer(&[1], "b")), "label");
        let lenient = Sealer::new(keyring(&[1]), "b".to_owned(), false, true);
        assert!(lenient.open(&first.seal(here(), BODY)).is_ok());
    }

    #[test]
    fn a_long_label_counts_with_its_start() {
        let (long, longer) = ("x".repeat(256), "x".repeat(300));
        let packet = sealer(&[], &long).seal(here(), BODY);
        assert!(sealer(&[], &longer).open(&packet).is_ok());
    }

    #[test]
    fn every_change_of_an_encrypted_packet_is_noticed() {
        let sealer = sealer(&[1], "label");
        let packet = sealer.seal(here(), BODY);
        for at in 0..packet.len() {
            for bit in 0..8 {
                let mut changed = packet.clone();
                changed[at] ^= 1 << bit;
                assert!(sealer.open(&changed).is_err(), "byte {at}, bit {bit}");
            }
        }
        let last = packet.len() - 1;
        let mut changed = packet;
        changed[last] ^= 1;
        assert_eq!(sealer.open(&changed), Err(Refusal::Authentication));
    }

    #[test]
    fn the_envelope_is_checked() {
        let open = |packet: &[u8]| sealer(&[], "").open(packet).unwrap_err().reason();
        assert_eq!(open(b""), "truncated");
        assert_eq!(open(b"GET / HTTP/1.1"), "not_ours");
        assert_eq!(open(b"kg\x02\x00"), "version");
        assert_eq!(open(b"kg\x01\x02"), "malformed");
        assert_eq!(open(b"kg\x01\x00"), "truncated");
        assert_eq!(
            open(b"kg\x01\x00\x00\x05\x7f\x00\x00\x01\x01\x00\x00"),
            "address"
        );
        assert_eq!(
            open(b"kg\x01\x00\x00\x04\x7f\x00\x00\x01\x01\x00"),
            "truncated"
        );
        for (flags, reason) in [
            (&[2][..], "truncated"),
            (&[4, 0, 0, 0, 0, 0, 0, 0], "truncated"),
            (&[8, 0], "malformed"),
            (&[8], "malformed"),
            (&[9], "malformed"),
            (&[16], "malformed"),
        ] {
            let packet = [b"kg\x01\x00\x00\x04\x7f\x00\x00\x01\x01\x00", flags].concat();
            assert_eq!(open(&packet), reason, "{flags:?}");
        }
        assert_eq!(open(&vec![0; MAX_PACKET + 1]), "too_large");
        let packet = sealer(&[], "").seal(here(), &noise(MAX_BODY + 1));
        assert_eq!(open(&packet), "too_large");
    }

    #[test]
    fn addresses_that_nobody_can_have_are_refused() {
        let sealer = sealer(&[], "");
        for address in [
            "10.0.0.1:0",
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[ff02::1]:1",
        ] {
            let packet = sealer.seal(address.parse().unwrap(), BODY);
            assert_eq!(sealer.open(&packet), Err(Refusal::Address), "{address}");
        }
    }

    /// A plain packet with this compressed part.
    fn compressed(length: u32, frames: &[u8]) -> Vec<u8> {
        let mut packet = b"kg\x01\x00\x00\x04\x7f\x00\x00\x01\x01\x00\x01".to_vec();
        packet.extend(length.to_le_bytes());
        packet.extend(frames);
        packet
    }

    #[test]
    fn a_compressed_body_is_what_it_says() {
        let open = |packet: &[u8]| sealer(&[], "").open(packet);
        let frame = zstd::bulk::compress(&[7; 1000], 1).unwrap();
        assert_eq!(open(&compressed(1000, &frame)).unwrap().body, [7; 1000]);
        let bomb = zstd::bulk::compress(&vec![7; 10 << 20], 1).unwrap();
        let twice = [frame.clone(), frame.clone()].concat();
        for (length, frames) in [
            (999, &frame),
            (1001, &frame),
            (MAX_BODY as u32, &bomb),
            (2000, &twice),
            (0, &Vec::new()),
        ] {
            assert_eq!(open(&compressed(length, frames)), Err(Refusal::Compression));
        }
        assert_eq!(
            open(&compressed(MAX_BODY as u32 + 1, &bomb)),
            Err(Refusal::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn garbage_is_refused(mut packet: Vec<u8>, keys in 0..2_usize) {
            let sealer = sealer(&[1][..keys], "label");
            prop_assert!(sealer.open(&packet).is_err());
            packet.splice(0..0, [b'k', b'g', 1, keys as u8]);
            prop_assert!(sealer.open(&packet).is_err());
        }

        #[test]
        fn no_start_of_a_packet_opens_as_the_whole(keys in 0..2_usize, size in 0..2000_usize) {
            let sealer = sealer(&[1][..keys], "label");
            let packet = sealer.seal(here(), &vec![7; size]);
            for end in 0..packet.len() {
                let opened = sealer.open(&packet[..end]);
                prop_assert!(opened.is_err() || opened.unwrap().body.len() < size);
            }
        }
    }
}
