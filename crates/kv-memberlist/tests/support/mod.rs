//! A cluster of members on a network in memory, in virtual time.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by several tests, each of which uses a part; a failed check panics"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use kv_core::conformance::{CODEC, Counter};
use kv_core::{CasUpdate, Store};
use kv_memberlist::simulated::{Faults, SimulatedNetwork};
use kv_memberlist::{MemberState, Memberlist, MemberlistConfig, MemberlistStore};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// One member of a cluster under test.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) store: MemberlistStore<Counter>,
    pub(crate) memberlist: Memberlist,
    registry: Registry,
}

/// The address of member number `number`.
pub(crate) fn address(number: usize) -> SocketAddr {
    (
        [
            10,
            0,
            u8::try_from(number / 250).unwrap(),
            u8::try_from(number % 250).unwrap(),
        ],
        7946,
    )
        .into()
}

/// The settings of a member that joins the members with these numbers.
pub(crate) fn config(join: impl IntoIterator<Item = usize>) -> MemberlistConfig {
    MemberlistConfig {
        node_name: "member".to_owned(),
        join_members: join
            .into_iter()
            .map(|number| address(number).to_string())
            .collect(),
        ..MemberlistConfig::default()
    }
}

pub(crate) async fn start(
    network: &SimulatedNetwork,
    number: usize,
    config: MemberlistConfig,
) -> Node {
    let mut registry = Registry::default();
    let address = address(number);
    let (store, memberlist) = network
        .start(address, config, CODEC, &mut registry)
        .await
        .unwrap();
    Node {
        address,
        store,
        memberlist,
        registry,
    }
}

/// Members 0 to `count`, each of which joins all; ready.
pub(crate) async fn cluster(network: &SimulatedNetwork, count: usize) -> Vec<Node> {
    cluster_with(network, count, |config| config).await
}

pub(crate) async fn cluster_with(
    network: &SimulatedNetwork,
    count: usize,
    adjust: impl Fn(MemberlistConfig) -> MemberlistConfig,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(start(network, number, adjust(config(0..count))).await);
    }
    for node in &nodes {
        within(Duration::from_secs(30), "ready", node.memberlist.ready()).await;
    }
    eventually(Duration::from_secs(30), "all know all", async || {
        for node in &nodes {
            if node.active().await != count {
                return false;
            }
        }
        true
    })
    .await;
    nodes
}

/// Waits for a future, in virtual time.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Waits for a condition, in virtual time; how long that took.
pub(crate) async fn eventually(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

pub(crate) fn counter(value: i64, writer: &str) -> Counter {
    Counter {
        value,
        writer: writer.to_owned(),
    }
}

impl Node {
    pub(crate) async fn put(&self, key: &str, value: Counter) {
        self.store
            .cas(key, &mut |_| CasUpdate::Put(value.clone()))
            .await
            .unwrap();
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Counter> {
        self.store.get(key).await.unwrap()
    }

    /// Every key and value.
    pub(crate) async fn picture(&self) -> BTreeMap<String, Counter> {
        let mut picture = BTreeMap::new();
        for key in self.store.list("").await.unwrap() {
            if let Some(value) = self.get(&key).await {
                picture.insert(key, value);
            }
        }
        picture
    }

    /// How many members this one knows to be active, itself included.
    pub(crate) async fn active(&self) -> usize {
        self.states()
            .await
            .into_iter()
            .filter(|state| *state == MemberState::Active)
            .count()
    }

    pub(crate) async fn states(&self) -> Vec<MemberState> {
        let members = self.memberlist.inspector().members().await;
        members.into_iter().map(|member| member.state).collect()
    }

    /// Copies that members publish, as this one sees it, those of the dead and gone excluded.
    pub(crate) async fn copies(&self) -> usize {
        let members = self.memberlist.inspector().members().await;
        members
            .into_iter()
            .filter(|member| member.state == MemberState::Active)
            .map(|member| member.entries)
            .sum()
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("no metric {name}"))
    }
}

/// Whether all members have the same picture; that picture.
pub(crate) async fn agreement(nodes: &[Node]) -> Option<BTreeMap<String, Counter>> {
    let first = nodes[0].picture().await;
    for node in &nodes[1..] {
        if node.picture().await != first {
            return None;
        }
    }
    Some(first)
}

/// A network that behaves as a bad day in a data centre.
pub(crate) fn bad_day() -> Faults {
    Faults {
        loss: 0.1,
        duplication: 0.05,
        delay: (Duration::from_millis(1), Duration::from_millis(150)),
    }
}
