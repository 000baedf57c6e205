//! Hosts that reach the port of a cluster without keys and are not members.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use kv_memberlist::simulated::{Faults, SimulatedNetwork, Stranger};
use support::{Node, address, cluster, config, counter, eventually, start, within};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

/// A member of a digest: its name, and where it is.
type Named = (String, SocketAddr);

fn header(reply_to: SocketAddr, flags: u8) -> Vec<u8> {
    let SocketAddr::V4(reply_to) = reply_to else {
        panic!("an IPv4 address");
    };
    let mut packet = b"kg\x01\x00\x00\x04".to_vec();
    packet.extend(reply_to.ip().octets());
    packet.extend(reply_to.port().to_le_bytes());
    packet.push(flags);
    packet
}

/// What asks for everything that is not in a digest of these members.
fn question(members: &[Named], heartbeat: u64) -> Vec<u8> {
    let mut body = 45_139_u16.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend((members.len() as u16).to_le_bytes());
    for (name, address) in members {
        body.extend((name.len() as u16).to_le_bytes());
        body.extend(name.as_bytes());
        body.extend(1_u64.to_le_bytes());
        body.extend(&header(*address, 0)[5..12]);
        for number in [heartbeat, 0, 1] {
            body.extend(number.to_le_bytes());
        }
    }
    body.extend(b"\x0d\0kv-memberlist");
    body
}

/// One that says to come from an address, and proves nothing.
fn forged(reply_to: SocketAddr) -> Vec<u8> {
    [header(reply_to, 0), question(&[], 1)].concat()
}

/// A host that receives packets and returns the cookies in them.
struct Honest {
    stranger: Stranger,
    address: SocketAddr,
    to: SocketAddr,
    cookie: Vec<u8>,
}

impl Honest {
    fn at(network: &SimulatedNetwork, number: usize, to: SocketAddr) -> Self {
        let address = address(number);
        let mut stranger = network.stranger(address);
        stranger.send(address, to, &forged(address));
        let heard = stranger.heard();
        // Bare, with an offer.
        assert_eq!(heard[0][12], 4 | 8);
        Self {
            stranger,
            address,
            to,
            cookie: heard[0][13..21].to_vec(),
        }
    }

    fn ask(&self, members: &[Named], heartbeat: u64) {
        let with_proof = [header(self.address, 2), self.cookie.clone()].concat();
        let packet = [with_proof, question(members, heartbeat)].concat();
        self.stranger.send(self.address, self.to, &packet);
    }
}

/// Invented members, in order.
fn invented(count: usize) -> Vec<Named> {
    (0..count)
        .map(|number| (format!("invented-{number:04}"), address(2_000 + number)))
        .collect()
}

async fn elections(node: &Node, count: usize) {
    for number in 0..count {
        let key = format!("tenant/cluster-{number}");
        node.put(&key, counter(1, "replica")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_party_is_sent_no_more_than_was_sent_in_its_name() {
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let nodes = cluster(&network, 2).await;
    elections(&nodes[0], 1_000).await;
    let stranger = network.stranger(address(900));
    let mut victim = network.stranger(address(901));
    let question = forged(address(901));
    assert_eq!(question.len(), 34);
    let mut sent = 0;
    for _ in 0..1_000 {
        // Also from the address that it names, which a forged datagram can have.
        for from in [address(900), address(901)] {
            stranger.send(from, nodes[0].address, &question);
            sent += question.len();
        }
        sleep(Duration::from_millis(1)).await;
    }
    let heard = victim.heard();
    let bytes: usize = heard.iter().map(Vec::len).sum();
    assert!(bytes <= sent && !heard.is_empty(), "{bytes} for {sent}");
    assert_eq!(
        nodes[0].metric("memberlist_client_unproven_packets_total"),
        2_000.0
    );
    // Nor does it hear from a member that was only told of it.
    assert_eq!(nodes[0].active().await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_sent_little_in_the_name_of_another() {
    let network = SimulatedNetwork::new(2, Faults::NONE);
    let nodes = cluster(&network, 3).await;
    elections(&nodes[0], 1_000).await;
    sleep(5 * SECOND).await;
    let usual = traffic_of(&network, 5).await;
    let stranger = network.stranger(address(900));
    let before = network.traffic().1;
    let mut sent = 0;
    for _ in 0..1_000 {
        let question = forged(nodes[1].address);
        sent += question.len() as u64;
        stranger.send(nodes[1].address, nodes[0].address, &question);
        sleep(Duration::from_millis(5)).await;
    }
    let bytes = network.traffic().1 - before - sent - usual;
    // A challenge and what answers it.
    assert!(bytes < 3 * sent, "{bytes} for {sent}");
}

async fn traffic_of(network: &SimulatedNetwork, seconds: u32) -> u64 {
    let before = network.traffic().1;
    sleep(seconds * SECOND).await;
    network.traffic().1 - before
}

#[tokio::test(start_paused = true)]
async fn one_who_asks_without_end_is_answered_some_times_a_second() {
    let network = SimulatedNetwork::new(3, Faults::NONE);
    let nodes = cluster(&network, 2).await;
    elections(&nodes[0], 100).await;
    let mut honest = Honest::at(&network, 900, nodes[0].address);
    for _ in 0..10_000 {
        honest.ask(&[], 1);
        sleep(Duration::from_millis(1)).await;
    }
    let answers = honest.stranger.heard().len();
    // 20 a second, and 100 at the beginning.
    assert!((250..=310).contains(&answers), "{answers}");
    // Members are heard as ever.
    nodes[0].put("tenant/new", counter(7, "replica")).await;
    let took = eventually(SECOND, "the other knows", async || {
        nodes[1].get("tenant/new").await == Some(counter(7, "replica"))
    })
    .await;
    assert!(took <= Duration::from_millis(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn six_hundred_invented_members_keep_no_real_one_out() {
    let network = SimulatedNetwork::new(4, Faults::NONE);
    let mut nodes = cluster(&network, 2).await;
    elections(&nodes[0], 10).await;
    for node in &nodes {
        let honest = Honest::at(&network, 900, node.address);
        for heartbeat in 1..20 {
            honest.ask(&invented(600), heartbeat);
            sleep(Duration::from_millis(100)).await;
        }
    }
    let known = nodes[0].states().await.len();
    assert!((100..=102).contains(&known), "{known}");
    // One that knows all, and one that is told to ask one of them.
    for (number, join) in [(2, 0..2), (3, 0..1)] {
        let node = start(&network, number, config(join)).await;
        within(10 * SECOND, "it joins", node.memberlist.ready()).await;
        assert_eq!(node.picture().await.len(), 10);
        nodes.push(node);
    }
    for node in &nodes {
        eventually(20 * SECOND, "all know all", async || {
            let members = node.memberlist.inspector().members().await;
            let real = members
                .iter()
                .filter(|member| member.name.starts_with("member"));
            real.count() == 4
        })
        .await;
    }
    nodes[3].put("tenant/last", counter(7, "replica")).await;
    for node in &nodes {
        eventually(5 * SECOND, "it is heard by all", async || {
            node.get("tenant/last").await.is_some()
        })
        .await;
    }
    let reason = "memberlist_client_refused_packets_total{reason=\"unproven_members\"}";
    assert!(nodes[0].metric(reason) > 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_a_terminal_obeys_is_not_believed() {
    let network = SimulatedNetwork::new(5, Faults::NONE);
    let nodes = cluster(&network, 2).await;
    let honest = Honest::at(&network, 900, nodes[0].address);
    for heartbeat in 1..10 {
        let names = ["\x1b[31mred", "\u{9b}31mred", "\u{202e}der"];
        for name in names {
            honest.ask(&[(name.to_owned(), honest.address)], heartbeat);
        }
        sleep(Duration::from_millis(200)).await;
    }
    for node in &nodes {
        let members = node.memberlist.inspector().members().await;
        assert!(
            members
                .iter()
                .all(|member| member.name.starts_with("member"))
        );
    }
    let reason = "memberlist_client_refused_packets_total{reason=\"member_name\"}";
    assert!(nodes[0].metric(reason) > 0.0);
}
