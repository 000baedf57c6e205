//! Checks a message before chitchat decodes it.
//!
//! chitchat trusts its peers: there are messages that it accepts and that make it panic, at once or
//! when it next gossips. What this module accepts is what chitchat 0.11 itself can have written, so
//! a message of another version may be refused. What is refused, beyond what cannot be decoded:
//!
//! | in a message | in chitchat |
//! |---|---|
//! | many members, or long names | its own digest leaves too little of a datagram for a delta: the size underflows, or is below the 100 bytes asserted |
//! | a maximal version below that of an entry before it | fails an assertion when the delta is applied |
//! | versions close to the largest number | overflow when the member next writes |
//! | a key that begins with a character of several bytes | is cut within the character when listeners are looked up |
//! | an entry that no message has room for | is never passed on, and nor is what comes after it |
//! | small blocks that decompress to a lot | memory |
//! | old formats of zstd | are decoded by code that is no longer maintained |
//!
//! One bound cannot be checked here: a member keeps the members of all digests that it has
//! received. Before a digest is passed on to chitchat, `digest_size` of all members that would
//! then be known must not be above `MAX_DIGEST`: those for whom there is no room are left out.

use std::net::SocketAddr;
use std::ops::Range;

use ahash::AHashSet;
use chitchat::ChitchatId;
use zstd::bulk::Decompressor;

use crate::seal::packet::{MAX_BODY, is_one_zstd_frame};
use crate::seal::reader::Reader;
use crate::seal::refusal::Refusal;

/// Members in a digest, or in a delta, at most.
pub(super) const MAX_MEMBERS: usize = 600;
/// Bytes of a digest at most. chitchat wants 100 bytes of 65,506 for a delta, and more is better.
pub(super) const MAX_DIGEST: usize = 64_000;
/// Bytes of the name of a member at most.
pub(super) const MAX_NAME: usize = 128;
/// Bytes of an entry (key, value and 14 more) at most: an otherwise empty message has room for it.
pub(super) const MAX_ENTRY: usize = 65_000;
/// What the key of a copy begins with.
pub(super) const COPY: &str = "k";
/// Under which a member says what it does.
pub(super) const STATE: &str = "~state";
/// Under which a member marks a moment.
pub(super) const MARK: &str = "~mark";
/// Published by a member that chose chitchat because no member of memberlist answered, and would
/// change to that.
pub(super) const MAY_CHANGE: &str = "~may-change";
/// What a key of ours begins with.
const KEY_STARTS: [u8; 2] = *b"k~";

const MAGIC: u16 = 45_139;
const VERSION: u8 = 0;
/// Versions and heartbeats begin at 0 and grow by one: none gets here, and from here they can go on
/// growing for as long again.
pub(super) const MAX_COUNTER: u64 = 1 << 62;
/// Stands for the version of a map in the digest of a joiner that is sent that map by another member
/// than the one that the digest goes to. No map gets here, and chitchat offers nothing to a member
/// that has it.
pub(super) const UNTOLD: u64 = MAX_COUNTER - 1;
/// Bytes of a decompressed block at most, as in chitchat.
const MAX_BLOCK: usize = u16::MAX as usize;
/// Bytes of a decompressed delta at most. A delta of 64 KiB with thousands of similar entries has
/// decompressed to 0.3 MiB; one that is refused would be sent again and again.
const MAX_DELTA: usize = 4 << 20;

/// What a message is and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) kind: Kind,
    /// The members that the sender knows, and the version of each that it has.
    pub(super) digest: Vec<(ChitchatId, u64)>,
    /// The members that the delta brings entries of, and the highest version that it speaks of.
    pub(super) changed: Vec<(ChitchatId, u64)>,
    /// The keys of these entries, if they were asked for.
    pub(super) keys: Vec<String>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks: a digest.
    Syn,
    /// Answers: a digest and a delta.
    SynAck,
    /// Answers the answer: a delta.
    Ack,
    /// Answers a member of another cluster.
    BadCluster,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::SynAck => "syn-ack",
            Kind::Ack => "ack",
            Kind::BadCluster => "bad-cluster",
        }
    }
}

/// Bytes of a digest of these members.
pub(super) fn digest_size<'a>(members: impl IntoIterator<Item = &'a ChitchatId>) -> usize {
    let size = |member: &ChitchatId| {
        let address = match member.gossip_advertise_addr {
            SocketAddr::V4(_) => 1 + 4 + 2,
            SocketAddr::V6(_) => 1 + 16 + 2,
        };
        2 + member.node_id.len() + 8 + address + 3 * 8
    };
    2 + members.into_iter().map(size).sum::<usize>()
}

/// Checks a message, and says what it is.
pub(super) fn inspect(body: &[u8], collect_keys: bool) -> Result<Summary, Refusal> {
    if body.len() > MAX_BODY {
        return Err(Refusal::TooLarge);
    }
    let mut reader = Reader::new(body);
    let kind = read_kind(&mut reader).ok_or(Refusal::Malformed)?;
    let mut summary = Summary {
        kind,
        digest: Vec::new(),
        changed: Vec::new(),
        keys: Vec::new(),
    };
    if matches!(kind, Kind::Syn | Kind::SynAck) {
        summary.digest = read_digest(&mut reader)?;
    }
    if matches!(kind, Kind::SynAck | Kind::Ack) {
        let delta = Delta::read(&read_blocks(&mut reader)?, collect_keys)?;
        (summary.changed, summary.keys) = (delta.members, delta.keys);
    }
    if kind == Kind::Syn {
        read_string(&mut reader).ok_or(Refusal::Malformed)?;
    }
    if reader.rest.is_empty() {
        Ok(summary)
    } else {
        Err(Refusal::Malformed)
    }
}

/// A message that was inspected, its digest without some members.
pub(super) fn without(body: &[u8], left_out: &[ChitchatId]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(body);
    read_kind(&mut reader)?;
    let mut shorter = body.get(..body.len() - reader.rest.len())?.to_vec();
    let count_at = shorter.len();
    let count = reader.u16()?;
    let mut kept: u16 = 0;
    shorter.extend(kept.to_le_bytes());
    for _ in 0..count {
        let entry = reader.rest;
        let (member, _) = read_member_digest(&mut reader)?;
        if !left_out.contains(&member) {
            kept += 1;
            shorter.extend(entry.get(..entry.len() - reader.rest.len())?);
        }
    }
    shorter
        .get_mut(count_at..count_at + 2)?
        .copy_from_slice(&kept.to_le_bytes());
    shorter.extend(reader.rest);
    Some(shorter)
}

fn read_kind(reader: &mut Reader<'_>) -> Option<Kind> {
    if reader.u16()? != MAGIC || reader.u8()? != VERSION {
        return None;
    }
    Some(match reader.u8()? {
        0 => Kind::Syn,
        1 => Kind::SynAck,
        2 => Kind::Ack,
        3 => Kind::BadCluster,
        _ => return None,
    })
}

fn read_string<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = reader.u16()?;
    str::from_utf8(reader.take(length.into())?).ok()
}

fn read_counter(reader: &mut Reader<'_>) -> Option<u64> {
    reader.u64().filter(|&counter| counter < MAX_COUNTER)
}

fn read_member(reader: &mut Reader<'_>) -> Option<ChitchatId> {
    let name = read_string(reader).filter(|name| name.len() <= MAX_NAME)?;
    Some(ChitchatId::new(name, reader.u64()?, reader.address()?))
}

fn read_digest(reader: &mut Reader<'_>) -> Result<Vec<(ChitchatId, u64)>, Refusal> {
    let count = reader.u16().ok_or(Refusal::Malformed)?.into();
    if count > MAX_MEMBERS {
        return Err(Refusal::TooManyMembers);
    }
    let before = reader.rest.len();
    let mut digest: Vec<(ChitchatId, u64)> = Vec::with_capacity(count);
    for _ in 0..count {
        let (member, version) = read_member_digest(reader).ok_or(Refusal::Malformed)?;
        // chitchat writes them in order, each once.
        if digest.last().is_some_and(|(last, _)| *last >= member) {
            return Err(Refusal::Malformed);
        }
        digest.push((member, version));
    }
    if 2 + before - reader.rest.len() > MAX_DIGEST {
        return Err(Refusal::TooManyMembers);
    }
    Ok(digest)
}

fn read_member_digest(reader: &mut Reader<'_>) -> Option<(ChitchatId, u64)> {
    let member = read_member(reader)?;
    let _heartbeat = read_counter(reader)?;
    let _last_collected = read_counter(reader)?;
    Some((member, read_counter(reader)?))
}

/// Replaces versions in the digest of a message that chitchat has written, where `version` says so.
pub(super) fn overwrite_versions(message: &mut [u8], version: impl Fn(&ChitchatId) -> Option<u64>) {
    for (place, version) in versions_to_overwrite(message, version).unwrap_or_default() {
        if let Some(place) = message.get_mut(place) {
            place.copy_from_slice(&version.to_le_bytes());
        }
    }
}

/// Where which versions go; `None` for a message that has no digest.
fn versions_to_overwrite(
    message: &[u8],
    version: impl Fn(&ChitchatId) -> Option<u64>,
) -> Option<Vec<(Range<usize>, u64)>> {
    let mut reader = Reader::new(message);
    if !matches!(read_kind(&mut reader)?, Kind::Syn | Kind::SynAck) {
        return None;
    }
    let mut places = Vec::new();
    for _ in 0..reader.u16()? {
        let (member, _) = read_member_digest(&mut reader)?;
        if let Some(version) = version(&member) {
            let end = message.len() - reader.rest.len();
            places.push((end - size_of::<u64>()..end, version));
        }
    }
    Some(places)
}

/// The decompressed content of all blocks.
fn read_blocks(reader: &mut Reader<'_>) -> Result<Vec<u8>, Refusal> {
    let mut content = Vec::new();
    let mut decompressor = None;
    loop {
        let kind = reader.u8().ok_or(Refusal::Malformed)?;
        if kind == 0 {
            return Ok(content);
        }
        let length = reader.u16().ok_or(Refusal::Malformed)?;
        let block = reader.take(length.into()).ok_or(Refusal::Malformed)?;
        match kind {
            1 => decompress(block, &mut decompressor, &mut content)?,
            2 => content.extend_from_slice(block),
            _ => return Err(Refusal::Malformed),
        }
        if content.len() > MAX_DELTA {
            return Err(Refusal::TooLarge);
        }
    }
}

/// Appends a decompressed block; makes the decompressor if this is the first one.
fn decompress(
    block: &[u8],
    decompressor: &mut Option<Decompressor<'static>>,
    content: &mut Vec<u8>,
) -> Result<(), Refusal> {
    if !is_one_zstd_frame(block) {
        return Err(Refusal::Compression);
    }
    let decompressor = match decompressor {
        Some(decompressor) => decompressor,
        None => decompressor.insert(Decompressor::new().map_err(|_| Refusal::Compression)?),
    };
    let before = content.len();
    content.resize(before + MAX_BLOCK, 0);
    let (_, room) = content.split_at_mut(before);
    let written = decompressor
        .decompress_to_buffer(block, room)
        .map_err(|_| Refusal::Compression)?;
    content.truncate(before + written);
    Ok(())
}

/// What a delta is about; and, while it is read, how far.
#[derive(Default)]
struct Delta {
    members: Vec<(ChitchatId, u64)>,
    keys: Vec<String>,
    seen: AHashSet<ChitchatId>,
    /// Version of the last entry of the member that is read; 0 if it has had none.
    version: u64,
    /// Whether its maximal version was set: that is instead of entries.
    ended: bool,
}

impl Delta {
    fn read(content: &[u8], collect_keys: bool) -> Result<Self, Refusal> {
        let mut delta = Self::default();
        let mut reader = Reader::new(content);
        while let Some(operation) = reader.u8() {
            match operation {
                0 => delta.read_member(&mut reader)?,
                1 => {
                    let key = delta.read_entry(&mut reader).ok_or(Refusal::Malformed)?;
                    if collect_keys {
                        delta.keys.push(key.to_owned());
                    }
                }
                2 => delta.read_end(&mut reader).ok_or(Refusal::Malformed)?,
                _ => return Err(Refusal::Malformed),
            }
        }
        Ok(delta)
    }

    fn read_member(&mut self, reader: &mut Reader<'_>) -> Result<(), Refusal> {
        let member = read_member(reader).ok_or(Refusal::Malformed)?;
        let last_collected = read_counter(reader).ok_or(Refusal::Malformed)?;
        let from = read_counter(reader).ok_or(Refusal::Malformed)?;
        if self.members.len() == MAX_MEMBERS {
            return Err(Refusal::TooManyMembers);
        }
        if !self.seen.insert(member.clone()) {
            return Err(Refusal::Malformed);
        }
        self.members.push((member, last_collected.max(from)));
        (self.version, self.ended) = (0, false);
        Ok(())
    }

    fn read_entry<'a>(&mut self, reader: &mut Reader<'a>) -> Option<&'a str> {
        let before = reader.rest.len();
        let key = read_string(reader)?;
        let _value = read_string(reader)?;
        let version = read_counter(reader)?;
        let _status = reader.u8().filter(|&status| status <= 2)?;
        let size = 1 + before - reader.rest.len();
        let fine = !self.members.is_empty()
            && !self.ended
            && version > self.version
            && size <= MAX_ENTRY
            && KEY_STARTS.contains(key.as_bytes().first()?);
        self.version = version;
        self.speaks_of(version);
        fine.then_some(key)
    }

    fn read_end(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let version = read_counter(reader)?;
        let fine = !self.members.is_empty() && self.version == 0 && !self.ended;
        self.ended = true;
        self.speaks_of(version);
        fine.then_some(())
    }

    fn speaks_of(&mut self, version: u64) {
        if let Some((_, highest)) = self.members.last_mut() {
            *highest = version.max(*highest);
        }
    }
}

#[cfg(test)]
mod tests;
