//! Rings of HashiCorp's memberlist, over real sockets: the store contract, and who is there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kv_core::conformance::{Backend, CODEC, Counter, run, storm};
use kv_core::{CasUpdate, Store};
use kv_memberlist::{
    CompressionAlgorithm, MemberState, Memberlist, MemberlistConfig, MemberlistStore, Protocol,
    StartError, start,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// A member on the loopback interface.
struct Node {
    store: MemberlistStore<Counter>,
    memberlist: Memberlist,
    registry: Registry,
}

#[async_trait]
impl Backend for Node {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(self.store.clone())
    }
}

/// A member by this name, on a port of the kernel's choice, that finds another one in 5 probes a
/// second; `join` are the members that it joins.
fn config(name: &str, join: &[SocketAddr]) -> MemberlistConfig {
    MemberlistConfig {
        protocol: Protocol::Memberlist,
        bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        bind_port: 0,
        node_name: name.to_owned(),
        randomize_node_name: false,
        join_members: join.iter().map(SocketAddr::to_string).collect(),
        probe_interval: SECOND / 5,
        ..MemberlistConfig::default()
    }
}

async fn open(config: MemberlistConfig) -> Node {
    let mut registry = Registry::default();
    let (store, memberlist) = start(config, CODEC, &mut registry).await.unwrap();
    tokio::time::timeout(30 * SECOND, memberlist.ready())
        .await
        .unwrap();
    Node {
        store,
        memberlist,
        registry,
    }
}

/// Members by these names, each of which joins the first.
async fn ring(names: &[&str]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let join: Vec<SocketAddr> = nodes.iter().take(1).map(Node::address).collect();
        nodes.push(open(config(name, &join)).await);
    }
    let all = |nodes: &[Node]| nodes.iter().map(Node::clone_inspector).collect::<Vec<_>>();
    let inspectors = all(&nodes);
    eventually(10 * SECOND, "all know all", async || {
        inspectors
            .iter()
            .all(|inspector| inspector.other_members() + 1 == names.len())
    })
    .await;
    nodes
}

/// Waits for a condition; how long that took.
async fn eventually(
    most: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < most, "not within {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

fn counter(value: i64) -> Counter {
    Counter {
        value,
        writer: "test".to_owned(),
    }
}

impl Node {
    fn address(&self) -> SocketAddr {
        self.memberlist.inspector().address()
    }

    fn clone_inspector(&self) -> kv_memberlist::Inspector {
        self.memberlist.inspector()
    }

    async fn put(&self, key: &str, value: i64) {
        let mut put = |_: Option<&Counter>| CasUpdate::Put(counter(value));
        self.store.cas(key, &mut put).await.unwrap();
    }

    async fn get(&self, key: &str) -> Option<i64> {
        let value = self.store.get(key).await.unwrap();
        value.map(|value| value.value)
    }

    /// What this member takes another one for.
    async fn state(&self, name: &str) -> Option<MemberState> {
        let members = self.memberlist.inspector().members().await;
        let found = members.into_iter().find(|member| member.name == name);
        found.map(|member| member.state)
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// Whether each of them holds this under the key.
async fn all_hold(nodes: &[Node], key: &str, value: Option<i64>) -> bool {
    for node in nodes {
        if node.get(key).await != value {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone_keeps_the_contract() {
    let node = open(config("alone", &[])).await;
    run(&node).await;
    storm(&node, "storm/large", 16, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_ring_keeps_the_contract() {
    let nodes = ring(&["a", "b", "c"]).await;
    run(&nodes[1]).await;
    // What the suite left is the same on all members, byte for byte.
    eventually(10 * SECOND, "members agree", async || {
        let picture = |node: &Node| {
            let inspector = node.memberlist.inspector();
            let entries = inspector.entries().into_iter();
            entries
                .filter(|entry| !entry.deleted)
                .map(|entry| inspector.raw(&entry.key).map(|raw| (entry.key, raw.bytes)))
                .collect::<Vec<_>>()
        };
        let pictures: Vec<_> = nodes.iter().map(picture).collect();
        !pictures[0].is_empty() && pictures.iter().all(|other| *other == pictures[0])
    })
    .await;
    for node in nodes {
        node.memberlist.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_seen_everywhere_within_a_second() {
    let nodes = ring(&["a", "b", "c"]).await;
    let mut worst = Duration::ZERO;
    for (number, writer) in nodes.iter().cycle().take(12).enumerate() {
        let key = format!("key-{number}");
        writer.put(&key, 7).await;
        let took = eventually(SECOND, "all have the write", async || {
            all_hold(&nodes, &key, Some(7)).await
        });
        worst = worst.max(took.await);
    }
    println!("the slowest of 12 writes took {worst:?}");
    // Written over elsewhere, and deleted elsewhere again.
    nodes[1].put("key-0", 8).await;
    eventually(SECOND, "all have the new value", async || {
        all_hold(&nodes, "key-0", Some(8)).await
    })
    .await;
    nodes[2].store.delete("key-0").await.unwrap();
    eventually(SECOND, "all have the deletion", async || {
        all_hold(&nodes, "key-0", None).await
    })
    .await;
    // And created again, with a value that is older by its own order.
    nodes[0].put("key-0", 3).await;
    eventually(SECOND, "all have the new one", async || {
        all_hold(&nodes, "key-0", Some(3)).await
    })
    .await;
    let metrics = nodes[0].metrics();
    for name in [
        "memberlist_client_cluster_members_count 3",
        "memberlist_tcp_transport_packets_sent_total ",
        "memberlist_client_received_broadcasts_total ",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_agree() {
    let nodes = ring(&["a", "b", "c"]).await;
    for round in 1..=10 {
        let write = |node: &Node, writer: &str| {
            let (store, writer) = (node.store.clone(), writer.to_owned());
            async move {
                let value = Counter {
                    value: round,
                    writer,
                };
                let mut put = |_: Option<&Counter>| CasUpdate::Put(value.clone());
                store.cas("contended", &mut put).await.map(drop)
            }
        };
        let (a, b, c) = tokio::join!(
            write(&nodes[0], "a"),
            write(&nodes[1], "b"),
            write(&nodes[2], "c")
        );
        a.and(b).and(c).unwrap();
    }
    eventually(5 * SECOND, "all hold the same", async || {
        let first = nodes[0].store.get("contended").await.unwrap();
        let mut same = first.as_ref().is_some_and(|value| value.value == 10);
        for node in &nodes {
            same &= node.store.get("contended").await.unwrap() == first;
        }
        same
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_is_found_and_its_keys_stay() {
    let mut nodes = ring(&["a", "b", "c"]).await;
    let killed = nodes.pop().unwrap();
    killed.put("key", 5).await;
    eventually(SECOND, "told", async || {
        all_hold(&nodes, "key", Some(5)).await
    })
    .await;
    let address = killed.address();
    drop(killed);
    eventually(10 * SECOND, "both take it for dead", async || {
        nodes[0].state("c").await == Some(MemberState::Dead)
            && nodes[1].state("c").await == Some(MemberState::Dead)
    })
    .await;
    assert!(all_hold(&nodes, "key", Some(5)).await);
    // Back under its name and at its address, with nothing: it holds all when it is ready.
    let mut again = config("c", &[nodes[0].address()]);
    again.bind_port = address.port();
    let again = open(again).await;
    assert_eq!(again.get("key").await, Some(5));
    nodes.push(again);
    eventually(10 * SECOND, "all believe it", async || {
        nodes[0].state("c").await == Some(MemberState::Active)
            && nodes[1].state("c").await == Some(MemberState::Active)
    })
    .await;
    nodes[2].put("key", 6).await;
    eventually(SECOND, "told", async || {
        all_hold(&nodes, "key", Some(6)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_leaves_tells_what_it_wrote_last_and_can_come_back_elsewhere() {
    let mut nodes = ring(&["a", "b", "c"]).await;
    let leaver = nodes.pop().unwrap();
    leaver.put("key", 5).await;
    let began = Instant::now();
    leaver.memberlist.leave().await;
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    assert!(all_hold(&nodes, "key", Some(5)).await);
    eventually(2 * SECOND, "both know that it has left", async || {
        nodes[0].state("c").await == Some(MemberState::Left)
            && nodes[1].state("c").await == Some(MemberState::Left)
    })
    .await;
    let again = open(config("c", &[nodes[0].address()])).await;
    assert_eq!(again.get("key").await, Some(5));
    eventually(5 * SECOND, "both know that it is back", async || {
        nodes[0].state("c").await == Some(MemberState::Active)
            && nodes[1].state("c").await == Some(MemberState::Active)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_holds_what_the_ring_holds_when_it_is_ready() {
    let nodes = ring(&["a", "b"]).await;
    for number in 0..5000 {
        nodes[number % 2]
            .put(&format!("tenant/cluster-{number}"), 1)
            .await;
    }
    eventually(20 * SECOND, "both hold all", async || {
        nodes
            .iter()
            .all(|node| node.memberlist.inspector().entries().len() == 5000)
    })
    .await;
    let began = Instant::now();
    let joiner = open(config("c", &[nodes[0].address()])).await;
    assert_eq!(joiner.memberlist.inspector().entries().len(), 5000);
    println!("5000 keys after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_label_is_another_ring() {
    let first = open(config("a", &[])).await;
    let mut other = config("b", &[first.address()]);
    other.cluster_label = "other".to_owned();
    let (_store, memberlist) = start(other, CODEC, &mut Registry::default()).await.unwrap();
    let inspector = memberlist.inspector();
    eventually(10 * SECOND, "it says what is wrong", async || {
        let waiting = inspector.waiting_for().unwrap_or_default();
        waiting.contains("is cluster_label the same there?")
    })
    .await;
    assert_eq!(first.memberlist.inspector().other_members(), 0);
    // With the same label, they are one.
    let labelled = |name: &str, join: &[SocketAddr]| MemberlistConfig {
        cluster_label: "prod".to_owned(),
        ..config(name, join)
    };
    let first = open(labelled("a", &[])).await;
    let second = open(labelled("b", &[first.address()])).await;
    second.put("key", 1).await;
    let nodes = [first, second];
    eventually(2 * SECOND, "told", async || {
        all_hold(&nodes, "key", Some(1)).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_has_the_keys_of_messages() {
    let with_history = |name: &str, join: &[SocketAddr]| MemberlistConfig {
        message_history_buffer_bytes: 100_000,
        ..config(name, join)
    };
    let first = open(with_history("a", &[])).await;
    let second = open(with_history("b", &[first.address()])).await;
    first.put("key", 1).await;
    eventually(2 * SECOND, "both have it in their history", async || {
        let has = |messages: &[kv_memberlist::HistoryEntry]| {
            messages.iter().any(|message| message.keys == ["key"])
        };
        let sent = first.memberlist.inspector().history().unwrap().sent;
        let received = second.memberlist.inspector().history().unwrap().received;
        has(&sent) && has(&received)
    })
    .await;
}

#[tokio::test]
async fn as_many_members_as_required_are_reached_at_the_start_or_it_fails() {
    let first = open(config("a", &[])).await;
    let with = |name: &str, least| MemberlistConfig {
        abort_if_cluster_fast_join_fails: true,
        abort_if_cluster_fast_join_fails_min_nodes: least,
        ..config(name, &[first.address()])
    };
    drop(open(with("b", 2)).await);
    let mut registry = Registry::default();
    let started = start::<Counter, _>(with("c", 5), CODEC, &mut registry).await;
    let (_store, mut memberlist) = started.unwrap();
    let failed = memberlist.failed().await.to_string();
    assert!(
        failed.contains("abort_if_cluster_fast_join_fails_min_nodes is 5"),
        "{failed}"
    );
}

#[tokio::test]
async fn one_that_has_joined_contacts_the_seeds_to_rejoin() {
    // Two rings that know nothing of each other, but for the seeds of one.
    let (left, right) = (ring(&["a", "b"]).await, ring(&["c", "d"]).await);
    let node = open(MemberlistConfig {
        rejoin_seed_nodes: vec![right[0].address().to_string()],
        rejoin_interval: SECOND / 5,
        ..config("e", &[left[0].address()])
    })
    .await;
    // What gossip loses on a busy machine comes with the next exchange of states, after 30 s.
    eventually(60 * SECOND, "one ring", async || {
        node.clone_inspector().other_members() == 4 && right[1].state("a").await.is_some()
    })
    .await;
}

#[tokio::test]
async fn members_read_what_others_compress_whatever_they_use() {
    let with = |name: &str, join: &[SocketAddr], compression_algorithm| MemberlistConfig {
        compression_algorithm,
        ..config(name, join)
    };
    let first = open(with("a", &[], CompressionAlgorithm::Snappy)).await;
    let second = open(with("b", &[first.address()], CompressionAlgorithm::Lzw)).await;
    for number in 0..50 {
        first.put(&format!("of-a/{number}"), number).await;
        second.put(&format!("of-b/{number}"), number).await;
    }
    let nodes = [first, second];
    for number in 0..50 {
        for writer in ["a", "b"] {
            let key = format!("of-{writer}/{number}");
            eventually(10 * SECOND, &key, async || {
                all_hold(&nodes, &key, Some(number)).await
            })
            .await;
        }
    }
}

#[tokio::test]
async fn keys_of_chitchat_are_refused() {
    let keys = MemberlistConfig {
        encryption_keys: vec![settings::Secret::new(
            "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        )],
        ..config("a", &[])
    };
    let error = start::<Counter, _>(keys, CODEC, &mut Registry::default()).await;
    let error = error.err().unwrap();
    assert!(matches!(error, StartError::Settings(_)));
    assert!(
        error.to_string().contains("set that on all members"),
        "{error}"
    );
}
