//! `protocol: auto`, over real sockets: which rings members end in.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use futures::future::join_all;
use kv_core::conformance::{CODEC, Counter};
use kv_core::{CasUpdate, Store};
use kv_memberlist::{
    Chosen, Inspector, Memberlist, MemberlistConfig, MemberlistStore, Protocol, start,
};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Longer than any of these waits on a busy machine.
const LONG: Duration = Duration::from_secs(60);

struct Node {
    store: MemberlistStore<Counter>,
    memberlist: Memberlist,
}

/// A port that no member has had.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

async fn launch(protocol: Protocol, address: SocketAddr, join: &[SocketAddr]) -> Node {
    let config = MemberlistConfig {
        protocol,
        bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        bind_port: address.port(),
        node_name: format!("{}-{}", protocol.as_str(), address.port()),
        randomize_node_name: false,
        join_members: join.iter().map(SocketAddr::to_string).collect(),
        min_join_backoff: SECOND / 5,
        max_join_backoff: SECOND,
        probe_interval: SECOND / 2,
        ..MemberlistConfig::default()
    };
    let (store, memberlist) = start(config, CODEC, &mut Registry::default())
        .await
        .unwrap();
    Node { store, memberlist }
}

async fn ready(node: &Node) {
    let ready = tokio::time::timeout(LONG, node.memberlist.ready()).await;
    assert!(ready.is_ok(), "{:?}", node.inspector().waiting_for());
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Node {
    fn inspector(&self) -> Inspector {
        self.memberlist.inspector()
    }

    fn protocol(&self) -> Protocol {
        self.inspector().protocol().protocol
    }

    async fn put(&self, key: &str) {
        let writer = "test".to_owned();
        let mut put = |_: Option<&Counter>| {
            CasUpdate::Put(Counter {
                value: 1,
                writer: writer.clone(),
            })
        };
        self.store.cas(key, &mut put).await.unwrap();
    }

    async fn has(&self, key: &str) -> bool {
        // A member that changes its protocol does not answer meanwhile.
        matches!(self.store.get(key).await, Ok(Some(_)))
    }
}

/// All of them are one ring that speaks this, and share what any of them writes.
async fn are_one_ring(nodes: &[Node], protocol: Protocol) {
    for node in nodes {
        let name = node.inspector().address().to_string();
        eventually(&format!("{name} in one ring"), async || {
            node.protocol() == protocol && node.inspector().other_members() + 1 == nodes.len()
        })
        .await;
        ready(node).await;
    }
    for (number, writer) in nodes.iter().enumerate() {
        let key = format!("of-{number}");
        writer.put(&key).await;
        for node in nodes {
            eventually(&key, async || node.has(&key).await).await;
        }
    }
}

async fn autos(addresses: &[SocketAddr], join: &[SocketAddr]) -> Vec<Node> {
    let all = addresses.iter();
    join_all(all.map(|address| launch(Protocol::Auto, *address, join))).await
}

#[tokio::test]
async fn what_the_members_speak_that_answer_is_spoken() {
    let first = launch(Protocol::Memberlist, free(), &[]).await;
    ready(&first).await;
    let there = first.inspector().address();
    let second = launch(Protocol::Auto, free(), &[there]).await;
    ready(&second).await;
    let in_use = second.inspector().protocol();
    assert_eq!(in_use.chosen, Chosen::Answered(there));
    are_one_ring(&[first, second], Protocol::Memberlist).await;

    let first = launch(Protocol::Chitchat, free(), &[]).await;
    ready(&first).await;
    let there = first.inspector().address();
    let second = launch(Protocol::Auto, free(), &[there]).await;
    ready(&second).await;
    let in_use = second.inspector().protocol();
    assert_eq!(in_use.chosen, Chosen::NoneAnswered);
    are_one_ring(&[first, second], Protocol::Chitchat).await;
}

#[tokio::test]
async fn six_that_start_at_once_are_one_ring_beside_memberlist_or_alone() {
    let with_memberlist = async {
        let addresses: Vec<SocketAddr> = (0..7).map(|_| free()).collect();
        let (first, mut nodes) = tokio::join!(
            launch(Protocol::Memberlist, addresses[0], &[]),
            autos(&addresses[1..], &addresses)
        );
        nodes.push(first);
        are_one_ring(&nodes, Protocol::Memberlist).await;
    };
    let alone = async {
        let addresses: Vec<SocketAddr> = (0..6).map(|_| free()).collect();
        are_one_ring(&autos(&addresses, &addresses).await, Protocol::Chitchat).await;
    };
    tokio::join!(with_memberlist, alone);
}

#[tokio::test]
async fn a_ring_that_was_left_the_choice_follows_a_member_of_memberlist_that_comes_later() {
    let (last, addresses) = (free(), [free(), free(), free()]);
    let join: Vec<SocketAddr> = addresses.into_iter().chain([last]).collect();
    // The last of them does not even know where memberlist will be.
    let (mut nodes, third) = tokio::join!(
        autos(&addresses[..2], &join),
        launch(Protocol::Auto, addresses[2], &addresses)
    );
    nodes.push(third);
    are_one_ring(&nodes, Protocol::Chitchat).await;
    nodes[0].put("before").await;
    eventually("all know it", async || nodes[2].has("before").await).await;
    nodes.push(launch(Protocol::Memberlist, last, &[]).await);
    are_one_ring(&nodes, Protocol::Memberlist).await;
    for node in &nodes {
        eventually("all know it", async || node.has("before").await).await;
    }
}

#[tokio::test]
async fn no_half_of_a_ring_that_disagrees_is_joined() {
    let (memberlist, chitchat) = tokio::join!(
        launch(Protocol::Memberlist, free(), &[]),
        launch(Protocol::Chitchat, free(), &[])
    );
    tokio::join!(ready(&memberlist), ready(&chitchat));
    let (there, other) = (
        memberlist.inspector().address(),
        chitchat.inspector().address(),
    );
    let node = launch(Protocol::Auto, free(), &[there, other]).await;
    let inspector = node.inspector();
    let mut waiting = String::new();
    eventually("what it waits for", async || {
        waiting = inspector.waiting_for().unwrap_or_default();
        waiting.contains("different protocols")
    })
    .await;
    assert!(waiting.contains(&format!("spoken by {there}")), "{waiting}");
    assert!(waiting.contains(&other.to_string()), "{waiting}");
    assert_eq!(inspector.disagreement(), Some(waiting));
    assert_eq!(node.protocol(), Protocol::Chitchat);
    assert_eq!(memberlist.inspector().other_members(), 0);

    // When the one that does not change is gone, the rest agrees.
    chitchat.memberlist.leave().await;
    drop(chitchat.store);
    are_one_ring(&[memberlist, node], Protocol::Memberlist).await;
    assert_eq!(inspector.disagreement(), None);
}

#[tokio::test]
async fn a_member_whose_ring_does_not_follow_stays_and_says_so() {
    let (last, first) = (free(), free());
    let chitchat = launch(Protocol::Chitchat, first, &[]).await;
    let node = launch(Protocol::Auto, free(), &[first, last]).await;
    let ring = [chitchat, node];
    are_one_ring(&ring, Protocol::Chitchat).await;
    let memberlist = launch(Protocol::Memberlist, last, &[first]).await;
    let node = &ring[1];
    eventually("a disagreement", async || {
        node.inspector().disagreement().is_some()
    })
    .await;
    let text = node.inspector().disagreement().unwrap();
    assert!(
        text.contains(&format!("chitchat-{}", first.port())),
        "{text}"
    );
    assert!(node.inspector().waiting_for().is_none());
    are_one_ring(&ring, Protocol::Chitchat).await;
    // The other side is told by the member that it joins, and notices what speaks chitchat to it.
    assert_eq!(memberlist.inspector().other_members(), 0);
    let foreigner = ring[0].inspector().last_foreigner().unwrap();
    assert_eq!(foreigner.protocol.as_str(), "dskit");
}
