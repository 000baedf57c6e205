//! The store contract on a ring of HashiCorp's memberlist that is disturbed: connections break,
//! members are cut off from each other, and members die and come back.
#![allow(clippy::unwrap_used, reason = "a failed check panics")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kv_core::conformance::{
    Backend, CODEC, Counter, a_watch_survives, acknowledged_increments_survive, run,
};
use kv_core::{CasUpdate, Store};
use kv_memberlist::{Memberlist, MemberlistConfig, MemberlistStore, Protocol, start};
use peers::{LONG, Port, Proxy, wait_for};
use prometheus_client::registry::Registry;

/// Often enough that a test sees several rounds of all that a ring does.
const INTERVAL: Duration = Duration::from_millis(200);

/// A member, which others reach through a network of its own.
struct Node {
    store: MemberlistStore<Counter>,
    memberlist: Memberlist,
}

#[async_trait]
impl Backend for Node {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(self.store.clone())
    }
}

/// Where a member listens, and where it is reached.
struct Seat {
    name: &'static str,
    port: Port,
    network: Proxy,
}

impl Seat {
    async fn new(name: &'static str) -> Self {
        let port = Port::reserve();
        Self {
            name,
            network: Proxy::start(port.address()).await,
            port,
        }
    }

    fn config(&self, join: &[SocketAddr]) -> MemberlistConfig {
        let advertised = self.network.address();
        MemberlistConfig {
            protocol: Protocol::Memberlist,
            bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            bind_port: self.port.number(),
            advertise_addr: Some(advertised.ip()),
            advertise_port: advertised.port(),
            node_name: self.name.to_owned(),
            randomize_node_name: false,
            join_members: join.iter().map(SocketAddr::to_string).collect(),
            probe_interval: INTERVAL,
            pull_push_interval: INTERVAL * 5,
            rejoin_interval: INTERVAL * 5,
            ..MemberlistConfig::default()
        }
    }
}

/// Three members, and the networks between them.
struct Ring {
    seats: [Seat; 3],
    nodes: Vec<Node>,
}

impl Ring {
    async fn start() -> Self {
        let seats = [
            Seat::new("a").await,
            Seat::new("b").await,
            Seat::new("c").await,
        ];
        let mut this = Self {
            seats,
            nodes: Vec::new(),
        };
        for number in 0..3 {
            let node = this.open(number).await;
            this.nodes.push(node);
        }
        this.wait_for_members().await;
        this
    }

    /// Starts a member, which joins all that there are.
    async fn open(&self, number: usize) -> Node {
        let join: Vec<_> = (0..3)
            .filter(|other| *other != number)
            .map(|other| self.seats[other].network.address())
            .collect();
        let config = self.seats[number].config(&join);
        let started = start(config, CODEC, &mut Registry::default()).await;
        let (store, memberlist) = started.unwrap();
        tokio::time::timeout(LONG, memberlist.ready())
            .await
            .unwrap();
        Node { store, memberlist }
    }

    async fn wait_for_members(&self) {
        wait_for("all to see all", LONG, || async {
            let seen: Vec<usize> = self
                .nodes
                .iter()
                .map(|node| node.memberlist.inspector().other_members())
                .collect();
            match seen == [2, 2, 2] {
                true => Ok(()),
                false => Err(format!("{seen:?}")),
            }
        })
        .await;
    }

    async fn wait_until_alone(&self) {
        wait_for("each to be alone", LONG, || async {
            let seen: Vec<usize> = self
                .nodes
                .iter()
                .map(|node| node.memberlist.inspector().other_members())
                .collect();
            match seen == [0, 0, 0] {
                true => Ok(()),
                false => Err(format!("{seen:?}")),
            }
        })
        .await;
    }

    /// Each member is cut off from all others until all believe each other dead; then they are one
    /// ring again.
    async fn part_and_heal(&self) {
        self.refuse(true);
        self.wait_until_alone().await;
        self.refuse(false);
        self.wait_for_members().await;
    }

    fn refuse(&self, on: bool) {
        for seat in &self.seats {
            seat.network.refuse(on);
            seat.network.cut();
        }
    }

    /// All members have this value under the key.
    async fn wait_for_value(&self, key: &str, value: i64) {
        wait_for("the same value everywhere", LONG, || async {
            let mut held = Vec::new();
            for node in &self.nodes {
                held.push(node.store.get(key).await.unwrap().map(|held| held.value));
            }
            match held == [Some(value); 3] {
                true => Ok(()),
                false => Err(format!("{held:?}, not {value}")),
            }
        })
        .await;
    }
}

/// The suite, on a member whose connections break all the time and from which the others are cut off
/// again and again.
#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_while_connections_break() {
    let ring = Ring::start().await;
    let disturb = async {
        for round in 0_u64.. {
            for seat in &ring.seats {
                seat.network.cut();
                // A packet may be a round late.
                seat.network.delay(INTERVAL * u32::from(round % 4 == 1));
                seat.network.refuse(round % 8 == 3);
            }
            tokio::time::sleep(INTERVAL / 4).await;
        }
    };
    tokio::select! {
        () = run(&ring.nodes[1]) => {}
        () = disturb => {}
    }
    for seat in &ring.seats {
        seat.network.delay(Duration::ZERO);
        seat.network.refuse(false);
    }
    ring.wait_for_members().await;
    // What the suite left is the same on all members, byte for byte.
    wait_for("the same everywhere", LONG, || async {
        let picture = |node: &Node| {
            let inspector = node.memberlist.inspector();
            let entries = inspector.entries().into_iter();
            entries
                .filter(|entry| !entry.deleted)
                .map(|entry| inspector.raw(&entry.key).map(|raw| (entry.key, raw.bytes)))
                .collect::<Vec<_>>()
        };
        let pictures: Vec<_> = ring.nodes.iter().map(picture).collect();
        let is_same = pictures.iter().all(|other| *other == pictures[0]);
        match is_same && !pictures[0].is_empty() {
            true => Ok(()),
            false => Err(format!("{:?} keys", pictures.iter().map(Vec::len))),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_partitions() {
    let ring = Ring::start().await;
    let writing: Arc<dyn Store<Counter>> = Arc::new(ring.nodes[0].store.clone());
    let watched = &ring.nodes[2].store;
    a_watch_survives(writing, watched, "watched/", 2, async || {
        ring.part_and_heal().await;
    })
    .await;
}

/// The one that dies is the only one that the others have joined, and comes back with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_survives_members_that_die() {
    let mut ring = Ring::start().await;
    let writing: Arc<dyn Store<Counter>> = Arc::new(ring.nodes[0].store.clone());
    let watched = ring.nodes[2].store.clone();
    a_watch_survives(writing, &watched, "watched/", 3, async || {
        drop(ring.nodes.remove(1));
        let address = ring.seats[1].port.address();
        wait_for("its port to be free", LONG, || async {
            let bound = std::net::TcpListener::bind(address);
            bound.map(drop).map_err(|error| error.to_string())
        })
        .await;
        let back = ring.open(1).await;
        ring.nodes.insert(1, back);
        ring.wait_for_members().await;
    })
    .await;
}

/// Each side of a partition counts on a key of its own; no count is lost, and all have all in the end.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_partitions() {
    let ring = Ring::start().await;
    let keys = ["count/a", "count/b", "count/c"];
    let store = |number: usize| Arc::new(ring.nodes[number].store.clone());
    let is_healed = tokio::sync::watch::Sender::new(false);
    let healed = || async {
        let mut healed = is_healed.subscribe();
        healed.wait_for(|healed| *healed).await.unwrap();
    };
    tokio::join!(
        acknowledged_increments_survive(store(0), keys[0], async {
            ring.part_and_heal().await;
            is_healed.send_replace(true);
        }),
        acknowledged_increments_survive(store(1), keys[1], healed()),
        acknowledged_increments_survive(store(2), keys[2], healed()),
    );
    for (number, key) in keys.into_iter().enumerate() {
        let counted = ring.nodes[number].store.get(key).await.unwrap().unwrap();
        ring.wait_for_value(key, counted.value).await;
    }
}

/// Members that are apart write the same key: when they are one ring again, all have the same value, a
/// write after that wins, and a deletion reaches all.
#[tokio::test(flavor = "multi_thread")]
async fn sides_of_a_partition_agree_afterwards() {
    let ring = Ring::start().await;
    let put = async |number: usize, value: i64| {
        let value = Counter {
            value,
            writer: number.to_string(),
        };
        let mut put = |_: Option<&Counter>| CasUpdate::Put(value.clone());
        ring.nodes[number].store.cas("key", &mut put).await.unwrap();
    };
    put(0, 1).await;
    ring.wait_for_value("key", 1).await;
    ring.refuse(true);
    ring.wait_until_alone().await;
    for (number, value) in [(0, 5), (1, 7), (2, 6)] {
        put(number, value).await;
    }
    ring.refuse(false);
    ring.wait_for_members().await;
    ring.wait_for_value("key", 7).await;
    // Older by its own order.
    put(2, 3).await;
    ring.wait_for_value("key", 3).await;
    ring.nodes[1].store.delete("key").await.unwrap();
    wait_for("the deletion everywhere", LONG, || async {
        for node in &ring.nodes {
            if let Some(held) = node.store.get("key").await.unwrap() {
                return Err(format!("{held:?}"));
            }
        }
        Ok(())
    })
    .await;
}
