//! Makes a snapshot: the maps of all members, as messages of chitchat's kind.

use std::ops::Range;

use chitchat::{Chitchat, ChitchatId, DeletionStatus, NodeState, Serializable};
use zstd::bulk::Compressor;

use super::message::{Head, Message};

/// Bytes of a part's content at most, before compression: what cannot be compressed must fit into a
/// packet as it is.
pub(super) const MAX_PART: usize = 112 * 1024;
/// Bytes of a block's content; chitchat decompresses 65,535 at most.
const BLOCK: usize = 56 * 1024;
const COMPRESSION_LEVEL: i32 = 3;

/// What a message of chitchat begins with that brings a delta only.
const ACK: [u8; 4] = [0x53, 0xb0, 0, 2];
const COMPRESSED_BLOCK: u8 = 1;
const PLAIN_BLOCK: u8 = 2;
const NO_MORE_BLOCKS: u8 = 0;
const MEMBER: u8 = 0;
const ENTRY: u8 = 1;
const MAX_VERSION: u8 = 2;

/// The maps of all members at one moment. Collecting them is what has to be done under chitchat's
/// lock, and is kept short: the entries are copied one after the other into one piece of memory per
/// member.
pub(crate) struct Maps(Vec<Map>);

struct Map {
    member: ChitchatId,
    last_collected: u64,
    max_version: u64,
    /// Version of each entry, and where it is.
    entries: Vec<(u64, Range<usize>)>,
    bytes: Vec<u8>,
}

/// A snapshot, ready to be sent to any number of joiners.
pub(crate) struct Snapshot {
    /// Never 0.
    id: u64,
    entries: u64,
    /// Messages of chitchat's kind.
    parts: Vec<Vec<u8>>,
}

impl Maps {
    /// Those that chitchat tells others of.
    pub(crate) fn of(chitchat: &Chitchat) -> Self {
        let forgotten: Vec<&ChitchatId> = chitchat.scheduled_for_deletion_nodes().collect();
        let told = chitchat
            .node_states()
            .iter()
            .filter(|(id, _)| !forgotten.contains(id));
        Self(told.map(|(id, state)| Map::of(id, state)).collect())
    }

    /// Takes about as long as compressing all entries.
    pub(super) fn into_snapshot(mut self) -> Snapshot {
        // Who takes part is known first, from the maps of those that hold little.
        self.0.sort_by_key(|map| map.entries.len());
        let mut writer = Writer::new();
        let mut entries = 0;
        for map in self.0 {
            entries += map.entries.len() as u64;
            writer.write(map);
        }
        writer.flush();
        Snapshot {
            id: rand::random_range(1..=u64::MAX),
            entries,
            parts: writer.parts,
        }
    }
}

impl Map {
    fn of(member: &ChitchatId, state: &NodeState) -> Self {
        let mut map = Self {
            member: member.clone(),
            last_collected: state.last_gc_version(),
            max_version: state.max_version(),
            entries: Vec::new(),
            bytes: Vec::new(),
        };
        for (key, value) in state.key_values_including_deleted() {
            let from = map.bytes.len();
            map.bytes.push(ENTRY);
            write_text(key, &mut map.bytes);
            write_text(&value.value, &mut map.bytes);
            map.bytes.extend(value.version.to_le_bytes());
            map.bytes.push(match value.status {
                DeletionStatus::Set => 0,
                DeletionStatus::Deleted(_) => 1,
                DeletionStatus::DeleteAfterTtl(_) => 2,
            });
            map.entries.push((value.version, from..map.bytes.len()));
        }
        map
    }

    /// What precedes entries of this map whose versions come after `after`.
    fn write_head(&self, after: u64, to: &mut Vec<u8>) {
        to.push(MEMBER);
        self.member.serialize(to);
        to.extend(self.last_collected.to_le_bytes());
        to.extend(after.to_le_bytes());
    }
}

/// chitchat's texts: their length in 16 bits, which nothing that it holds exceeds.
fn write_text(text: &str, to: &mut Vec<u8>) {
    to.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

impl Snapshot {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of all parts, compressed.
    pub(super) fn size(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    /// The message that brings a part; `None` if there is none of this number.
    pub(super) fn part(&self, number: u32) -> Option<Vec<u8>> {
        let part = self.parts.get(usize::try_from(number).ok()?)?;
        let head = Head {
            snapshot: self.id,
            number,
            count: u32::try_from(self.parts.len()).unwrap_or(u32::MAX),
            entries: self.entries,
        };
        Some(Message::Part(head, part).encode())
    }
}

/// Cuts maps into parts.
struct Writer {
    parts: Vec<Vec<u8>>,
    content: Vec<u8>,
    compressor: Option<Compressor<'static>>,
}

impl Writer {
    fn new() -> Self {
        Self {
            parts: Vec::new(),
            content: Vec::new(),
            compressor: Compressor::new(COMPRESSION_LEVEL).ok(),
        }
    }

    fn write(&mut self, mut map: Map) {
        if map.max_version == 0 {
            return;
        }
        map.entries.sort_unstable_by_key(|(version, _)| *version);
        let mut after = 0;
        self.begin(&map, after);
        for (version, place) in &map.entries {
            let entry = map.bytes.get(place.clone()).unwrap_or_default();
            if self.content.len() + entry.len() > MAX_PART {
                self.flush();
                self.begin(&map, after);
            }
            self.content.extend_from_slice(entry);
            after = *version;
        }
        if after < map.max_version {
            // The newest entries were collected: that there is nothing more is said on its own, for
            // which a message that has entries of this map has no way.
            if after > 0 {
                self.flush();
                self.begin(&map, after);
            }
            self.content.push(MAX_VERSION);
            self.content.extend(map.max_version.to_le_bytes());
        }
    }

    /// Begins entries of a map; in the same part as the map before, if there is room.
    fn begin(&mut self, map: &Map, after: u64) {
        /// Bytes of a head at most, and of what may stand alone after it.
        const HEAD: usize = 256;
        if self.content.len() + HEAD > MAX_PART {
            self.flush();
        }
        map.write_head(after, &mut self.content);
    }

    /// Ends the part.
    fn flush(&mut self) {
        if self.content.is_empty() {
            return;
        }
        let mut part = Vec::with_capacity(ACK.len() + self.content.len() / 2);
        part.extend(ACK);
        for block in self.content.chunks(BLOCK) {
            match compress(self.compressor.as_mut(), block) {
                Some(compressed) => write_block(COMPRESSED_BLOCK, &compressed, &mut part),
                None => write_block(PLAIN_BLOCK, block, &mut part),
            }
        }
        part.push(NO_MORE_BLOCKS);
        part.shrink_to_fit();
        self.parts.push(part);
        self.content.clear();
    }
}

fn write_block(kind: u8, block: &[u8], to: &mut Vec<u8>) {
    to.push(kind);
    to.extend(u16::try_from(block.len()).unwrap_or(u16::MAX).to_le_bytes());
    to.extend_from_slice(block);
}

/// `None` if that makes it no smaller.
fn compress(compressor: Option<&mut Compressor<'static>>, block: &[u8]) -> Option<Vec<u8>> {
    let mut room = vec![0; block.len()];
    let size = compressor?
        .compress_to_buffer(block, room.as_mut_slice())
        .ok()?;
    room.truncate(size);
    Some(room)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use std::collections::{BTreeMap, HashSet};
    use std::time::Duration;

    use chitchat::{ChitchatConfig, ChitchatMessage, Deserializable, FailureDetectorConfig};
    use tokio::sync::watch;

    use super::*;
    use crate::engine::chitchat::inspect::{Kind, inspect};
    use crate::engine::chitchat::snapshot::message::read;
    use crate::seal::packet::MAX_BODY;

    fn chitchat() -> Chitchat {
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new("member", 1, ([10, 0, 0, 1], 7946).into()),
            cluster_id: String::new(),
            gossip_interval: Duration::from_secs(1),
            listen_addr: ([10, 0, 0, 1], 7946).into(),
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(60),
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        Chitchat::with_chitchat_id_and_seeds(config, watch::channel(HashSet::new()).1, Vec::new())
    }

    /// The member's versions that each part speaks of, and all keys of all parts.
    fn parts(chitchat: &Chitchat) -> (Vec<u64>, Vec<String>) {
        let snapshot = Maps::of(chitchat).into_snapshot();
        let (mut versions, mut keys) = (Vec::new(), Vec::new());
        for number in 0..u32::try_from(snapshot.parts()).unwrap() {
            let body = snapshot.part(number).unwrap();
            assert!(body.len() <= MAX_BODY);
            let Some(Ok(Message::Part(head, message))) = read(&body) else {
                unreachable!("it is a part");
            };
            assert_eq!((head.number, head.entries), (number, snapshot.entries()));
            let summary = inspect(message, true).unwrap();
            assert_eq!((summary.kind, summary.changed.len()), (Kind::Ack, 1));
            let mut rest = message;
            ChitchatMessage::deserialize(&mut rest).unwrap();
            assert!(rest.is_empty());
            versions.push(summary.changed[0].1);
            keys.extend(summary.keys);
        }
        assert_eq!(snapshot.part(u32::MAX), None);
        (versions, keys)
    }

    #[tokio::test]
    async fn every_entry_is_in_one_part_in_the_order_of_the_versions() {
        let mut chitchat = chitchat();
        assert_eq!(parts(&chitchat), (vec![], vec![]));
        let own = chitchat.self_node_state();
        let mut order = BTreeMap::new();
        for number in 0..6_000_u64 {
            let key = format!("k{}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            // Nothing that compression makes small, and some as large as can be.
            let length = if number % 1_000 == 0 { 3_000 } else { 2 };
            let value: String = (0..length)
                .map(|_| format!("{:020}", rand::random::<u64>()))
                .collect();
            own.set(&key, value);
            order.insert(number, key);
        }
        for number in (0..6_000).step_by(50) {
            own.delete(&order.remove(&number).unwrap());
        }
        let newest = own.max_version();
        let (versions, keys) = parts(&chitchat);
        assert!(versions.len() > 3 && versions.is_sorted(), "{versions:?}");
        assert_eq!(versions.last(), Some(&newest));
        assert_eq!(keys.len(), 6_000);
        let kept: Vec<&String> = order.values().collect();
        assert_eq!(keys.iter().take(kept.len()).collect::<Vec<_>>(), kept);
    }

    #[tokio::test(start_paused = true)]
    async fn a_map_whose_newest_entry_was_collected_is_known_to_end_there() {
        let mut chitchat = chitchat();
        let own = chitchat.self_node_state();
        own.set("ka", "1");
        own.set("kb", "2");
        own.set_max_version(7);
        assert_eq!(parts(&chitchat).0, [2, 7]);
    }
}
