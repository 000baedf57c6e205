//! A cluster of three members, of which some die.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::env;
use std::path::PathBuf;

use common::{AnyStore, Watched, Writers, put, store_at, stored, value_of};
use kv_core::StoreError;
use peers::{LONG, Port, Process, Recipe, wait_for};

struct Cluster {
    members: Vec<Process>,
    clients: Vec<Port>,
    _peers: Vec<Port>,
}

fn program() -> PathBuf {
    let target = env::current_exe().unwrap();
    let peers = env::var_os("PEERS_DIR").map_or_else(
        || target.ancestors().nth(3).unwrap().join("peers"),
        Into::into,
    );
    peers.join("etcd").join("etcd")
}

impl Cluster {
    async fn start() -> Self {
        let clients: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
        let peers: Vec<Port> = (0..3).map(|_| Port::reserve()).collect();
        let url = |port: &Port| format!("http://{}", port.address());
        let all: Vec<String> = (0..3)
            .map(|n| format!("etcd-{n}={}", url(&peers[n])))
            .collect();
        let members = (0..3).map(|n| {
            let arguments = [
                format!("--name=etcd-{n}"),
                "--data-dir=data".to_owned(),
                format!("--listen-client-urls={}", url(&clients[n])),
                format!("--advertise-client-urls={}", url(&clients[n])),
                format!("--listen-peer-urls={}", url(&peers[n])),
                format!("--initial-advertise-peer-urls={}", url(&peers[n])),
                format!("--initial-cluster={}", all.join(",")),
                "--unsafe-no-fsync".to_owned(),
                "--logger=zap".to_owned(),
            ];
            let name = format!("etcd-{n}");
            let recipe = Recipe {
                program: program(),
                arguments: arguments.into_iter().map(Into::into).collect(),
                environment: Vec::new(),
            };
            Process::start(&name, Process::folder_for(&name), recipe)
        });
        let this = Self {
            members: members.collect(),
            clients,
            _peers: peers,
        };
        serves(&this.store()).await;
        this
    }

    fn store(&self) -> AnyStore {
        store_at(self.clients.iter().map(Port::address))
    }
}

async fn serves(store: &AnyStore) {
    wait_for("the cluster to serve", LONG, || async {
        store.get("any").await.map_err(|error| error.to_string())
    })
    .await;
}

async fn sum(store: &AnyStore) -> i64 {
    stored(store, "run/").await.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_die_and_come_back() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    let mut watched = Watched::begin(&store, "run/").await;
    let writers = Writers::start(&store, &["run/a", "run/b"]);
    // These include the leader and the current member.
    for member in 0..3 {
        writers.more_acknowledged(50).await;
        cluster.members[member].sigkill();
        writers.more_acknowledged(50).await;
        cluster.members[member].restart();
        serves(&store_at([cluster.clients[member].address()])).await;
    }
    writers.finish(async || sum(&store).await).await;
    let all = stored(&store, "run/").await;
    watched.until(&all).await;

    // A single member does not answer by itself, and a watch on it does not stay silent.
    cluster.members[0].sigkill();
    cluster.members[1].sigkill();
    wait_for("the last to notice", LONG, || async {
        match store.get("run/a").await {
            Err(StoreError::Unavailable { source, .. }) => {
                let text = source.to_string();
                println!("{text}");
                text.contains("no leader").then_some(()).ok_or(text)
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cluster.members[0].restart();
    cluster.members[1].restart();
    serves(&store).await;
    put(&store, "run/after", 1).await;
    store.delete("run/a").await.unwrap();
    let all = stored(&store, "run/").await;
    watched.until(&all).await;
    assert_eq!(value_of(&store, "run/after").await, 1);
}
