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

use crate::seal::packet::{MAX_BODY, Reader, Refusal, is_one_zstd_frame};

/// Members in a digest, or in a delta, at most.
pub(crate) const MAX_MEMBERS: usize = 600;
/// Bytes of a digest at most. chitchat wants 100 bytes of 65,506 for a delta, and more is better.
pub(crate) const MAX_DIGEST: usize = 64_000;
/// Bytes of the name of a member at most.
pub(crate) const MAX_NAME: usize = 128;
/// Bytes of an entry (key, value and 14 more) at most: an otherwise empty message has room for it.
pub(crate) const MAX_ENTRY: usize = 65_000;
/// What a key of ours begins with.
pub(crate) const KEY_STARTS: [u8; 2] = *b"k~";

const MAGIC: u16 = 45_139;
const VERSION: u8 = 0;
/// Versions and heartbeats begin at 0 and grow by one: none gets here, and from here they can go on
/// growing for as long again.
pub(crate) const MAX_COUNTER: u64 = 1 << 62;
/// Bytes of a decompressed block at most, as in chitchat.
const MAX_BLOCK: usize = u16::MAX as usize;
/// Bytes of a decompressed delta at most. A delta of 64 KiB with thousands of similar entries has
/// decompressed to 0.3 MiB; one that is refused would be sent again and again.
const MAX_DELTA: usize = 4 << 20;

/// What a message is and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) kind: Kind,
    /// The members that the sender knows, and the version of each that it has.
    pub(crate) digest: Vec<(ChitchatId, u64)>,
    /// The members that the delta brings entries of, and the highest version that it speaks of.
    pub(crate) changed: Vec<(ChitchatId, u64)>,
    /// The keys of these entries, if they were asked for.
    pub(crate) keys: Vec<String>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Syn => "syn",
            Kind::SynAck => "syn-ack",
            Kind::Ack => "ack",
            Kind::BadCluster => "bad-cluster",
        }
    }
}

/// Bytes of a digest of these members.
pub(crate) fn digest_size<'a>(members: impl IntoIterator<Item = &'a ChitchatId>) -> usize {
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
pub(crate) fn inspect(body: &[u8], collect_keys: bool) -> Result<Summary, Refusal> {
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
pub(crate) fn without(body: &[u8], left_out: &[ChitchatId]) -> Option<Vec<u8>> {
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
pub(crate) fn overwrite_versions(message: &mut [u8], version: impl Fn(&ChitchatId) -> Option<u64>) {
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
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::{BTreeSet, HashMap};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use chitchat::transport::{Socket, Transport};
    use chitchat::{
        ChitchatConfig, ChitchatHandle, ChitchatMessage, Deserializable, FailureDetectorConfig,
        Serializable, spawn_chitchat,
    };
    use tokio::sync::mpsc;

    use super::*;

    type Sent = (SocketAddr, Vec<u8>);

    /// A network in memory that remembers all messages.
    #[derive(Clone, Default)]
    struct Recorder {
        members: Arc<Mutex<HashMap<SocketAddr, mpsc::UnboundedSender<Sent>>>>,
        messages: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    struct Recorded {
        address: SocketAddr,
        network: Recorder,
        arrivals: mpsc::UnboundedReceiver<Sent>,
    }

    #[async_trait]
    impl Transport for Recorder {
        async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
            let (sender, arrivals) = mpsc::unbounded_channel();
            self.members.lock().unwrap().insert(address, sender);
            Ok(Box::new(Recorded {
                address,
                network: self.clone(),
                arrivals,
            }))
        }
    }

    #[async_trait]
    impl Socket for Recorded {
        async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
            let body = message.serialize_to_vec();
            self.network.messages.lock().unwrap().push(body.clone());
            self.network.deliver(self.address, to, body);
            Ok(())
        }

        async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
            let (from, body) = self.arrivals.recv().await.unwrap();
            Ok((from, ChitchatMessage::deserialize(&mut body.as_slice())?))
        }
    }

    impl Recorder {
        fn deliver(&self, from: SocketAddr, to: SocketAddr, body: Vec<u8>) {
            if let Some(member) = self.members.lock().unwrap().get(&to) {
                let _ = member.send((from, body));
            }
        }

        async fn start(&self, number: u16, cluster: &str, entries: usize) -> ChitchatHandle {
            let config = ChitchatConfig {
                chitchat_id: member(number),
                cluster_id: cluster.to_owned(),
                gossip_interval: Duration::from_millis(100),
                listen_addr: address(number),
                seed_nodes: vec![address(1).to_string()],
                failure_detector_config: FailureDetectorConfig::default(),
                marked_for_deletion_grace_period: Duration::from_secs(60),
                catchup_callback: None,
                extra_liveness_predicate: None,
            };
            let entries = (0..entries).map(|entry| (key(number, entry), value(entry)));
            spawn_chitchat(config, entries.collect(), self)
                .await
                .unwrap()
        }

        fn take(&self) -> Vec<Vec<u8>> {
            std::mem::take(&mut self.messages.lock().unwrap())
        }
    }

    fn address(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number).into()
    }

    fn member(number: u16) -> ChitchatId {
        ChitchatId::new(format!("member-{number}"), 1, address(number))
    }

    fn key(number: u16, entry: usize) -> String {
        format!("k{number}/tenant-{}/prometheus-{entry}", entry % 7)
    }

    /// Text of a size and a variety as in a store of replicas.
    fn value(entry: usize) -> String {
        let noise = (entry as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("CglyZXBsaWNhLT{noise:x}EMC0x7z8MxgA")
    }

    /// Waits until a member has all entries of another.
    async fn wait_for(at: &ChitchatHandle, of: u16, entries: usize) -> u64 {
        loop {
            let state = at
                .with_chitchat(|chitchat| {
                    let state = chitchat.node_state(&member(of))?;
                    (state.num_key_values() == entries).then(|| state.max_version())
                })
                .await;
            if let Some(version) = state {
                return version;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The messages of two members that exchange their entries, and of one of another cluster.
    async fn conversation(entries: usize) -> Vec<Vec<u8>> {
        let network = Recorder::default();
        let first = network.start(1, "ours", entries).await;
        let second = network.start(2, "ours", entries).await;
        let _stranger = network.start(3, "theirs", 1).await;
        first
            .with_chitchat(|chitchat| chitchat.self_node_state().delete(&key(1, 0)))
            .await;
        wait_for(&first, 2, entries).await;
        wait_for(&second, 1, entries - 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        network.take()
    }

    fn decodes(body: &[u8]) -> bool {
        let mut rest = body;
        ChitchatMessage::deserialize(&mut rest).is_ok() && rest.is_empty()
    }

    /// The same message, its delta in blocks that are not compressed: changes reach the content.
    fn uncompressed(body: &[u8]) -> Vec<u8> {
        let mut reader = Reader::new(body);
        let kind = read_kind(&mut reader).unwrap();
        if kind == Kind::SynAck {
            read_digest(&mut reader).unwrap();
        }
        if !matches!(kind, Kind::SynAck | Kind::Ack) {
            return body.to_vec();
        }
        let start = &body[..body.len() - reader.rest.len()];
        with_delta(start, &read_blocks(&mut reader).unwrap())
    }

    fn with_delta(start: &[u8], content: &[u8]) -> Vec<u8> {
        let mut body = start.to_vec();
        for block in content.chunks(1000) {
            body.push(2);
            body.extend((block.len() as u16).to_le_bytes());
            body.extend(block);
        }
        body.push(0);
        body
    }

    #[tokio::test(start_paused = true)]
    async fn chitchat_reads_a_message_without_some_members() {
        let mut shortened = 0;
        for message in conversation(20).await {
            let summary = inspect(&message, true).unwrap();
            if summary.digest.is_empty() {
                continue;
            }
            for (left_out, _) in &summary.digest {
                let shorter = without(&message, std::slice::from_ref(left_out)).unwrap();
                assert!(decodes(&shorter));
                let mut expected = summary.clone();
                expected.digest.retain(|(member, _)| member != left_out);
                assert_eq!(inspect(&shorter, true), Ok(expected));
                shortened += 1;
            }
            assert_eq!(without(&message, &[]).as_ref(), Some(&message));
        }
        assert!(shortened > 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_chitchat_says_is_accepted() {
        let messages = conversation(20).await;
        let summaries: Vec<Summary> = messages
            .iter()
            .map(|message| inspect(message, true).unwrap())
            .collect();
        let kinds: BTreeSet<&str> = summaries.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            ["ack", "bad-cluster", "syn", "syn-ack"]
        );
        let keys: BTreeSet<&String> = summaries.iter().flat_map(|one| &one.keys).collect();
        let expected: Vec<String> = (1..=2)
            .flat_map(|number| (0..20).map(move |entry| key(number, entry)))
            .collect();
        assert_eq!(keys, expected.iter().collect());
        let last = summaries.iter().rfind(|one| one.kind == Kind::SynAck);
        // 20 entries each; the first member has deleted one, which counts as well.
        let expected = vec![(member(1), 21), (member(2), 20)];
        assert_eq!(last.unwrap().digest, expected);
        let changed: BTreeSet<&(ChitchatId, u64)> =
            summaries.iter().flat_map(|one| &one.changed).collect();
        assert!(changed.contains(&(member(1), 21)), "{changed:?}");
        assert!(changed.contains(&(member(2), 20)), "{changed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_collected_only_if_asked_for() {
        for message in conversation(3).await {
            let summary = inspect(&message, false).unwrap();
            assert!(summary.keys.is_empty());
            let keys = inspect(&message, true).unwrap().keys;
            assert_eq!(keys.is_empty(), summary.changed.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_of_many_entries_are_accepted() {
        let messages = conversation(10_000).await;
        assert!(messages.iter().any(|message| message.len() > 50_000));
        for message in messages {
            let summary = inspect(&message, true);
            assert!(summary.is_ok(), "{summary:?} of {} bytes", message.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sizes_of_digests_are_those_of_chitchat() {
        for message in conversation(2).await {
            let summary = inspect(&message, false).unwrap();
            if summary.kind == Kind::Syn && summary.digest.len() == 2 {
                let members = summary.digest.iter().map(|(member, _)| member);
                // The header, and the name of the cluster.
                assert_eq!(4 + digest_size(members) + 2 + 4, message.len());
            }
        }
        let long = ChitchatId::new("x", 1, "[::1]:1".parse().unwrap());
        assert_eq!(digest_size([&long]), 2 + long.serialized_len() + 24);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_a_message_is_refused() {
        for message in conversation(5).await {
            for message in [uncompressed(&message), message] {
                assert!(inspect(&message, true).is_ok() && decodes(&message));
                for end in 0..message.len() {
                    assert!(inspect(&message[..end], true).is_err());
                }
                assert!(inspect(&[&message, &[0][..]].concat(), true).is_err());
            }
        }
    }

    /// A member that hostile messages are fed to.
    struct Target {
        network: Recorder,
        handle: ChitchatHandle,
        known: BTreeSet<ChitchatId>,
    }

    impl Target {
        async fn start() -> Self {
            let network = Recorder::default();
            let handle = network.start(1, "ours", 5).await;
            Self {
                network,
                handle,
                known: BTreeSet::from([member(1)]),
            }
        }

        /// As the caller of `inspect` must: unless the members known become too many.
        fn feed(&mut self, body: Vec<u8>, summary: &Summary) -> bool {
            let mut known = self.known.clone();
            known.extend(summary.digest.iter().map(|(member, _)| member.clone()));
            if digest_size(&known) > MAX_DIGEST {
                return false;
            }
            self.known = known;
            self.network.deliver(address(2), address(1), body);
            true
        }

        /// Lets it read and gossip, and checks that it still writes.
        async fn check(&self) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!self.network.take().is_empty());
            self.handle
                .with_chitchat(|chitchat| chitchat.self_node_state().set("k", "new"))
                .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!self.network.take().is_empty(), "chitchat has panicked");
        }
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "chitchat has panicked")]
    async fn unchecked_messages_do_hurt_chitchat() {
        let mut target = Target::start().await;
        let fine = syn(&[member(2)], 1);
        let summary = inspect(&fine, true).unwrap();
        target.feed(fine, &summary);
        let hostile = ack(&[node(1, 0, 0), entry("k", "", 9), end(8)]);
        assert!(decodes(&hostile));
        target.feed(hostile, &summary);
        target.check().await;
    }

    #[tokio::test(start_paused = true)]
    async fn changed_messages_never_hurt_chitchat() {
        let mut messages = conversation(5).await;
        messages.extend(messages.clone().iter().map(|message| uncompressed(message)));
        messages.sort_unstable();
        messages.dedup();
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % below
        };
        let mut target = Target::start().await;
        let mut accepted = 0;
        for round in 0..10_000 {
            let mut message = messages[random(messages.len())].clone();
            let at = random(message.len());
            message[at] = random(256) as u8;
            let Ok(summary) = inspect(&message, true) else {
                continue;
            };
            assert!(decodes(&message), "{message:?}");
            accepted += 1;
            if !target.feed(message, &summary) || round % 500 == 0 {
                target.check().await;
                target = Target::start().await;
            }
        }
        target.check().await;
        assert!((1000..9000).contains(&accepted), "{accepted}");
    }

    // Messages by hand.

    const ACK: [u8; 4] = [0x53, 0xb0, 0, 2];
    const SYN: [u8; 4] = [0x53, 0xb0, 0, 0];

    fn string(text: &str) -> Vec<u8> {
        text.serialize_to_vec()
    }

    fn node(number: u16, last_collected: u64, from: u64) -> Vec<u8> {
        let member = member(number).serialize_to_vec();
        let (last_collected, from) = (last_collected.to_le_bytes(), from.to_le_bytes());
        [&[0][..], &member, &last_collected, &from].concat()
    }

    fn entry(key: &str, value: &str, version: u64) -> Vec<u8> {
        let (key, value) = (string(key), string(value));
        [&[1][..], &key, &value, &version.to_le_bytes(), &[0]].concat()
    }

    fn end(version: u64) -> Vec<u8> {
        [&[2][..], &version.to_le_bytes()].concat()
    }

    fn ack(operations: &[Vec<u8>]) -> Vec<u8> {
        with_delta(&ACK, &operations.concat())
    }

    fn syn(members: &[ChitchatId], version: u64) -> Vec<u8> {
        let mut body = SYN.to_vec();
        body.extend((members.len() as u16).to_le_bytes());
        for member in members {
            body.extend(member.serialize_to_vec());
            for counter in [1, 1, version] {
                body.extend(counter.to_le_bytes());
            }
        }
        body.extend(string("ours"));
        body
    }

    fn reason(body: &[u8]) -> &'static str {
        inspect(body, true).map_or_else(Refusal::reason, |_| "accepted")
    }

    #[test]
    fn fine_deltas_are_accepted() {
        let large = "x".repeat(MAX_ENTRY - 15);
        for operations in [
            vec![],
            vec![node(1, 0, 0)],
            vec![node(1, 9, 0), end(9), node(2, 0, 0)],
            vec![node(1, 0, 3), entry("k", "", 4), entry("~", &large, 5)],
        ] {
            let body = ack(&operations);
            assert_eq!(reason(&body), "accepted");
            assert!(decodes(&body));
        }
    }

    #[test]
    fn deltas_that_would_hurt_are_refused() {
        let large = "x".repeat(MAX_ENTRY - 14);
        for operations in [
            // Not decodable, or with an order that chitchat does not write.
            vec![vec![3]],
            vec![entry("k", "", 1)],
            vec![end(1)],
            vec![node(1, 0, 0), node(1, 0, 0)],
            vec![node(1, 0, 0), end(1), end(1)],
            vec![node(1, 0, 0), end(1), entry("k", "", 2)],
            // Versions.
            vec![node(1, 0, 0), entry("k", "", 0)],
            vec![node(1, 0, 0), entry("k", "", 2), entry("k2", "", 2)],
            vec![node(1, 0, 0), entry("k", "", 2), end(1)],
            vec![node(1, 0, 0), entry("k", "", 2), end(2)],
            vec![node(1, 0, 0), entry("k", "", u64::MAX)],
            vec![node(1, 0, 0), end(u64::MAX)],
            vec![node(1, u64::MAX, 0)],
            vec![node(1, 0, u64::MAX)],
            // Keys and values.
            vec![node(1, 0, 0), entry("", "", 1)],
            vec![node(1, 0, 0), entry("äk", "", 1)],
            vec![node(1, 0, 0), entry("x", "", 1)],
            vec![node(1, 0, 0), entry("k", &large, 1)],
        ] {
            assert_eq!(reason(&ack(&operations)), "malformed", "{operations:?}");
        }
        let mut status = ack(&[node(1, 0, 0), entry("k", "", 1)]);
        let at = status.len() - 2;
        status[at] = 3;
        assert_eq!(reason(&status), "malformed");
        let members: Vec<Vec<u8>> = (0..=600).map(|number| node(number, 0, 0)).collect();
        assert_eq!(reason(&ack(&members[..600])), "accepted");
        assert_eq!(reason(&ack(&members)), "too_many_members");
    }

    #[test]
    fn digests_that_would_hurt_are_refused() {
        // In the order of names.
        let members = |count: u16, padding: &str| -> Vec<ChitchatId> {
            (0..count)
                .map(|number| ChitchatId::new(format!("{padding}{number:03}"), 1, address(number)))
                .collect()
        };
        let fine = members(600, "");
        assert_eq!(reason(&syn(&fine, 1)), "accepted");
        assert_eq!(reason(&syn(&members(601, ""), 1)), "too_many_members");
        let padding = "x".repeat(125);
        assert_eq!(reason(&syn(&members(378, &padding), 1)), "accepted");
        assert_eq!(reason(&syn(&members(379, &padding), 1)), "too_many_members");
        assert_eq!(reason(&syn(&members(1, &"x".repeat(126)), 1)), "malformed");
        assert_eq!(reason(&syn(&fine, u64::MAX)), "malformed");
        let twice = [member(1), member(1)];
        assert_eq!(reason(&syn(&twice, 1)), "malformed");
    }

    #[test]
    fn blocks_are_bounded() {
        let block = |content: &[u8]| {
            let mut block = vec![1];
            block.extend((content.len() as u16).to_le_bytes());
            block.extend(content);
            block
        };
        let body = |blocks: &[Vec<u8>]| [&ACK[..], &blocks.concat(), &[0]].concat();
        let zstd = |content: &[u8]| zstd::bulk::compress(content, 0).unwrap();
        let content = [node(1, 0, 0), entry("k", "v", 1)].concat();
        let (first, second) = content.split_at(20);
        let halves = [block(&zstd(first)), block(&zstd(second))];
        assert_eq!(inspect(&body(&halves), true).unwrap().keys, ["k"]);
        // Several frames in a block, and a skippable one: decodable, but not of chitchat's making.
        let frames = [zstd(first), zstd(second)].concat();
        assert_eq!(reason(&body(&[block(&frames)])), "compression");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        assert_eq!(reason(&body(&[block(&skippable)])), "compression");
        // Version 0.7 of the format.
        assert_eq!(
            reason(&body(&[block(&[0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0])])),
            "compression"
        );
        assert_eq!(reason(&body(&[block(&[])])), "compression");
        let bomb = block(&zstd(&vec![0; MAX_BLOCK + 1]));
        assert_eq!(reason(&body(&[bomb])), "compression");
        let bomb = block(&zstd(&vec![0; MAX_BLOCK]));
        assert_eq!(reason(&body(&vec![bomb; 65])), "too_large");
        assert_eq!(reason(&vec![0; MAX_BODY + 1]), "too_large");
    }
}
