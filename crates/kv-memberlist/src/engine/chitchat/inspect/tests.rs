//! What a hostile message could do to chitchat, and that it is refused before.

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
