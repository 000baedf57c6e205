//! What one that is no member sends to members of both kinds.

use std::net::SocketAddr;

use bytes::Bytes;
use e2e::{LONG, wait_for};
use memberlist_protocol::codec::{PacketOptions, Wire, message, packet, packet_frame};
use memberlist_protocol::message::{Accusation, Addr, Alive, Message, Vsn};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::{Either, Rust, go, wait_for_ring};

/// Sends a message as a packet, as members do.
pub(crate) async fn send(to: SocketAddr, message: &[u8]) {
    let payload = packet(message, &Wire::default(), PacketOptions::default()).unwrap();
    let frame = packet_frame("127.0.0.1:1", &payload).unwrap();
    send_raw(to, &frame).await;
}

/// Sends bytes over a connection of their own.
pub(crate) async fn send_raw(to: SocketAddr, bytes: &[u8]) {
    let mut connection = TcpStream::connect(to).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    connection.shutdown().await.unwrap();
}

pub(crate) fn accusation(of: &str) -> Accusation {
    Accusation {
        // Whatever the accused has said of itself, this is newer.
        incarnation: 100,
        node: of.to_owned(),
        from: "liar".to_owned(),
    }
}

#[tokio::test]
async fn both_refute_what_is_wrong() {
    let go = go("go-1", &[]).await;
    let rust = Rust::start("d1", &[go.gossip()]).await;
    let both = [Either::Go(&go), Either::Rust(&rust)];
    wait_for_ring(&both).await;
    for accuse in [Message::Suspect, Message::Dead] {
        send(go.gossip(), &message(&accuse(accusation("d1")))).await;
        send(rust.address(), &message(&accuse(accusation("go-1")))).await;
        // Also what the accused hears itself.
        send(go.gossip(), &message(&accuse(accusation("go-1")))).await;
        send(rust.address(), &message(&accuse(accusation("d1")))).await;
    }
    wait_for("both to say that they are alive", LONG, || async {
        let refuted = [
            (go.process.log(), "Refuting a"),
            (rust.distributor.process.log(), "were wrong about this one"),
        ];
        match refuted.iter().find(|(log, line)| !log.contains(line)) {
            Some((_, line)) => Err(format!("{line:?} is not logged")),
            None => Ok(()),
        }
    })
    .await;
    wait_for_ring(&both).await;
    // The lies are still in the queues for some rounds of gossip, and change nothing any more.
    assert_eq!(rust.sample("c1", "a").await, 200);
    Either::Go(&go).wait_for_elected("c1", "a").await;
    wait_for_ring(&both).await;
}

/// Versions of 1 to 5 bytes crash members in Go, and a node without them stops all their exchanges of
/// states: distributors do not pass either on.
#[tokio::test]
async fn what_would_harm_members_in_go_ends_at_a_distributor() {
    let mut first = go("go-1", &[]).await;
    let rust = Rust::start("d1", &[first.gossip()]).await;
    wait_for_ring(&[Either::Go(&first), Either::Rust(&rust)]).await;
    let ghost = message(&Message::Alive(Alive {
        incarnation: 1,
        node: "ghost".to_owned(),
        addr: Addr::V4([127, 0, 0, 1]),
        port: 1,
        meta: Bytes::new(),
        vsn: Vsn::OURS,
    }));
    let (before, versions) = ghost.split_at(ghost.len() - 7);
    assert_eq!(versions, b"\xa6\x01\x05\x02\0\0\0");
    for versions in [&b"\xa3\x01\x05\x02"[..], b"\xa0", b"\xc0"] {
        send(rust.address(), &[before, versions].concat()).await;
    }
    // A joiner exchanges states with the distributor, and everything goes on.
    let second = go("go-2", &[rust.address()]).await;
    wait_for_ring(&[Either::Go(&first), Either::Go(&second), Either::Rust(&rust)]).await;
    assert_eq!(rust.sample("c1", "a").await, 200);
    Either::Go(&second).wait_for_elected("c1", "a").await;
    assert!(first.process.exit_status().is_none());
}
