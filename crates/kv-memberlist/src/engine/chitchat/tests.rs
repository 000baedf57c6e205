//! Members that have no room for each other.
#![allow(clippy::unwrap_used, reason = "a failed check panics")]

use std::net::SocketAddr;
use std::time::Duration;

use kv_core::conformance::{CODEC, Counter};
use prometheus_client::registry::Registry;
use settings::Secret;
use tokio::time::{sleep, timeout};

use super::snapshot::message::{Message, Word, read};
use crate::seal::keyring::Keyring;
use crate::seal::packet::Sealer;
use crate::simulated::{Faults, SimulatedNetwork, Stranger};
use crate::{Memberlist, MemberlistConfig, MemberlistStore};

const SECOND: Duration = Duration::from_secs(1);

fn address(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 7946).into()
}

/// With keys, a sender that has them is believed to be where it says.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn sealer() -> Sealer {
    let keys = Keyring::parse(&[KEY]).unwrap();
    Sealer::new(keys, String::new(), true, false)
}

async fn start(
    network: &SimulatedNetwork,
    number: u8,
    join: &[u8],
) -> (MemberlistStore<Counter>, Memberlist) {
    let config = MemberlistConfig {
        node_name: "member".to_owned(),
        join_members: join.iter().map(|at| address(*at).to_string()).collect(),
        encryption_keys: vec![Secret::new(KEY)],
        ..MemberlistConfig::default()
    };
    let mut registry = Registry::default();
    let started = network.start(address(number), config, CODEC, &mut registry);
    started.await.unwrap()
}

/// Answers a member, whatever it says, that there is no room.
async fn full(mut stranger: Stranger, own: SocketAddr, member: SocketAddr) {
    let packet = sealer().seal(own, &Message::Word(Word::Full).encode());
    loop {
        for _ in stranger.heard() {
            stranger.send(own, member, &packet);
        }
        sleep(SECOND / 100).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_joiner_that_others_have_no_room_for_is_not_alone_and_tries_again() {
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let full = tokio::spawn(full(network.stranger(address(1)), address(1), address(2)));
    let (_store, joiner) = start(&network, 2, &[1]).await;
    for _ in 0..30 {
        sleep(4 * SECOND).await;
        let waiting = joiner.inspector().waiting_for().unwrap();
        assert!(
            waiting.contains("its table of members is full"),
            "{waiting}"
        );
        assert!(waiting.contains("10.0.0.1:7946"), "{waiting}");
    }
    full.abort();
    let (_other_store, other) = start(&network, 1, &[]).await;
    timeout(30 * SECOND, joiner.ready()).await.unwrap();
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn whom_a_member_has_no_room_for_is_told_so() {
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let (_store, _member) = start(&network, 1, &[]).await;
    let mut stranger = network.stranger(address(2));
    // chitchat's first message, with a digest of 65,535 members.
    let packet = sealer().seal(address(2), &[0x53, 0xb0, 0, 0, 0xff, 0xff]);
    stranger.send(address(2), address(1), &packet);
    sleep(SECOND).await;
    let heard = stranger.heard();
    assert_eq!(heard.len(), 1);
    let opened = sealer().open(&heard[0]).unwrap();
    assert_eq!(read(&opened.body), Some(Ok(Message::Word(Word::Full))));
}
