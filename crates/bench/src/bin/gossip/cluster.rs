//! A cluster of the gossip store on a simulated network, and the changes that are made to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::StreamExt;
use ha_tracker::{CODEC, ReplicaDesc};
use kv_core::{CasUpdate, Store, WatchEvent};
use kv_memberlist::simulated::{Faults, SimulatedNetwork};
use kv_memberlist::{MemberState, Memberlist, MemberlistConfig, MemberlistStore, Protocol};
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::AbortHandle;
use tokio::time::{Instant, interval, sleep};

use crate::phases::Cluster;
use crate::spread::Spread;

/// What the network with faults does.
const FAULTS: Faults = Faults {
    loss: 0.05,
    duplication: 0.01,
    delay: (Duration::from_millis(1), Duration::from_millis(50)),
};

/// Keys of one tenant.
const PER_TENANT: usize = 100;

/// When the simulation begins, for the values: unix milliseconds.
const EPOCH: i64 = 1_760_000_000_000;

/// Time between two bursts of changes.
const BURST: Duration = Duration::from_millis(10);

pub(crate) struct Node {
    pub(crate) store: MemberlistStore<ReplicaDesc>,
    pub(crate) memberlist: Memberlist,
}

/// A running cluster.
pub(crate) struct Running {
    pub(crate) network: SimulatedNetwork,
    pub(crate) nodes: Vec<Node>,
    pub(crate) spread: Arc<Spread>,
    pub(crate) ledger: Arc<Ledger>,
    what: Cluster,
}

/// All changes that were made.
pub(crate) struct Ledger {
    state: Mutex<Written>,
}

struct Written {
    random: StdRng,
    last: i64,
    began: Instant,
    /// By number of the key.
    newest: Vec<i64>,
}

/// What a node lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lacks {
    /// Keys that it does not hold.
    pub(crate) missing: usize,
    /// Keys of which it holds an older value.
    pub(crate) stale: usize,
}

/// A key as the tracker has it, below its prefix.
pub(crate) fn key(number: usize) -> String {
    let (tenant, cluster) = (number / PER_TENANT, number % PER_TENANT);
    format!("ha-tracker/tenant-{tenant}/cluster-{cluster:04}")
}

impl Running {
    /// All nodes, without keys, each knowing all others.
    pub(crate) async fn start(what: Cluster) -> Result<Self> {
        let faults = if what.faulty { FAULTS } else { Faults::NONE };
        let mut this = Self {
            network: SimulatedNetwork::new(what.seed, faults),
            nodes: Vec::new(),
            spread: Arc::new(Spread::default()),
            ledger: Arc::new(Ledger {
                state: Mutex::new(Written {
                    random: StdRng::seed_from_u64(what.seed),
                    last: EPOCH,
                    began: Instant::now(),
                    newest: vec![0; what.keys],
                }),
            }),
            what,
        };
        for _ in 0..what.nodes {
            this.add().await?;
        }
        for node in &this.nodes {
            node.memberlist.ready().await;
        }
        this.eventually("all nodes know all", async || {
            for node in &this.nodes {
                if active(node).await.0 != what.nodes {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
        Ok(this)
    }

    /// One more node, which is told of all that are there from the beginning.
    pub(crate) async fn add(&mut self) -> Result<&Node> {
        let number = self.nodes.len();
        let config = MemberlistConfig {
            protocol: match self.what.by_memberlist {
                true => Protocol::Memberlist,
                false => Protocol::Chitchat,
            },
            node_name: "distributor".to_owned(),
            join_members: (0..self.what.nodes)
                .map(|number| address(number).to_string())
                .collect(),
            ..MemberlistConfig::default()
        };
        let (store, memberlist) = self
            .network
            .start(address(number), config, CODEC, &mut Registry::default())
            .await?;
        tokio::spawn(follow(number, store.clone(), Arc::clone(&self.spread)));
        self.nodes.push(Node { store, memberlist });
        Ok(&self.nodes[number])
    }

    /// Writes all keys once, spread over the nodes, and waits until all nodes hold all.
    pub(crate) async fn fill(&self) -> Result<()> {
        for number in 0..self.what.keys {
            change(
                &self.nodes[number % self.what.nodes].store,
                &self.ledger,
                number,
                &self.spread,
            )
            .await?;
            // A thousand in a second.
            if number % 10 == 9 {
                sleep(BURST).await;
            }
        }
        self.all_hold_the_newest().await
    }

    /// Changes random keys on random nodes until it is aborted.
    pub(crate) fn keep_changing(&self, per_second: u32) -> AbortHandle {
        let stores: Vec<_> = self.nodes.iter().map(|node| node.store.clone()).collect();
        let (ledger, spread) = (Arc::clone(&self.ledger), Arc::clone(&self.spread));
        let mut bursts = interval(BURST);
        let in_a_burst = f64::from(per_second) * BURST.as_secs_f64();
        let load = async move {
            let mut due = 0.0;
            loop {
                bursts.tick().await;
                due += in_a_burst;
                while due >= 1.0 {
                    due -= 1.0;
                    let (node, key) = ledger.pick(stores.len());
                    if let Err(error) = change(&stores[node], &ledger, key, &spread).await {
                        eprintln!("a change failed: {error}");
                    }
                }
            }
        };
        tokio::spawn(load).abort_handle()
    }

    pub(crate) async fn all_hold_the_newest(&self) -> Result<()> {
        let newest = self.ledger.newest();
        let mut behind: Vec<&Node> = self.nodes.iter().collect();
        self.eventually("all nodes hold the newest values", async || {
            let mut still = Vec::new();
            for node in &behind {
                if node.lacks(&newest).await?.any() {
                    still.push(*node);
                }
            }
            behind = still;
            Ok(behind.is_empty())
        })
        .await
    }

    /// Copies that are published in the whole cluster, as the first node sees it, for each key.
    pub(crate) async fn copies(&self) -> f64 {
        active(&self.nodes[0]).await.1 as f64 / self.what.keys as f64
    }

    /// Waits in virtual time.
    pub(crate) async fn eventually(
        &self,
        what: &str,
        mut condition: impl AsyncFnMut() -> Result<bool>,
    ) -> Result<()> {
        let began = Instant::now();
        while !condition().await? {
            ensure!(
                began.elapsed() < Duration::from_secs(120),
                "not within two minutes: {what}"
            );
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}

impl Node {
    /// What it lacks of these values.
    pub(crate) async fn lacks(&self, newest: &[i64]) -> Result<Lacks> {
        let mut lacks = Lacks {
            missing: 0,
            stale: 0,
        };
        for (number, received_at) in newest.iter().enumerate() {
            match self.store.get(&key(number)).await? {
                None => lacks.missing += 1,
                Some(value) if value.received_at < *received_at => lacks.stale += 1,
                Some(_) => {}
            }
        }
        Ok(lacks)
    }
}

impl Lacks {
    pub(crate) fn any(self) -> bool {
        self.missing > 0 || self.stale > 0
    }
}

impl Ledger {
    /// The newest value of each key.
    pub(crate) fn newest(&self) -> Vec<i64> {
        self.lock().newest.clone()
    }

    /// A node and a key.
    fn pick(&self, nodes: usize) -> (usize, usize) {
        let mut written = self.lock();
        let keys = written.newest.len();
        (
            written.random.random_range(0..nodes),
            written.random.random_range(0..keys),
        )
    }

    /// The next value: each is later than all before.
    fn next(&self, number: usize) -> i64 {
        let mut written = self.lock();
        let now = EPOCH + i64::try_from(written.began.elapsed().as_millis()).unwrap_or(0);
        written.last = now.max(written.last + 1);
        written.newest[number] = written.last;
        written.last
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A replica was seen again, as the tracker says it.
async fn change(
    store: &MemberlistStore<ReplicaDesc>,
    ledger: &Ledger,
    number: usize,
    spread: &Spread,
) -> Result<()> {
    let key = key(number);
    let received_at = ledger.next(number);
    spread.made(&key, received_at);
    store
        .cas(&key, &mut |seen| {
            let mut next = seen.cloned().unwrap_or_else(|| ReplicaDesc {
                replica: format!("prometheus-k8s-{}", number % 2),
                elected_at: EPOCH,
                elected_changes: 1,
                ..ReplicaDesc::default()
            });
            next.received_at = received_at;
            CasUpdate::Put(next)
        })
        .await?;
    Ok(())
}

/// Tells what a node holds, for as long as it runs.
async fn follow(number: usize, store: MemberlistStore<ReplicaDesc>, spread: Arc<Spread>) {
    let mut events = store.watch_prefix("");
    drop(store);
    while let Some(event) = events.next().await {
        if let WatchEvent::Put(key, value) = event {
            spread.held(number, &key, value.received_at);
        }
    }
}

/// How many members a node knows to be active, and how many copies these publish.
async fn active(node: &Node) -> (usize, usize) {
    let members = node.memberlist.inspector().members().await;
    let active = members
        .iter()
        .filter(|member| member.state == MemberState::Active);
    active.fold((0, 0), |(count, copies), member| {
        (count + 1, copies + member.entries)
    })
}

fn address(number: usize) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    ([10, 0, high, low], 7946).into()
}
