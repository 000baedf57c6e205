//! A fleet of distributors changes the protocol of its gossip, all members at once.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::{GossipMesh, LONG, Sink};
use serde_json::json;
use tokio::time::Instant;

use crate::common::pairs::REPLICAS;
use crate::fleet::{Bounds, Fleet, by_cluster, mesh_config};

const ALL: [usize; 3] = [0, 1, 2];
const CLUSTERS: [&str; 4] = ["c0", "c1", "c2", "c3"];

/// All members agree within this time from when they can.
const CONVERGED: Duration = Duration::from_secs(5);

/// How many scrapes of a cluster may be lost or doubled when its election is forgotten: those between
/// the first election and the time when all members know it.
const AT_MOST: usize = 10;

/// All start, with senders that wait for them; returns when all agree. How many scrapes were lost, and
/// how many doubled, until then.
async fn begin(fleet: &mut Fleet, name: &str) -> (usize, usize) {
    let clusters: BTreeSet<String> = CLUSTERS.map(str::to_owned).into();
    let from = fleet.load.now();
    fleet.mesh.wait_ready().await;
    let ready = Instant::now();
    fleet.agreed(CONVERGED, &ALL, &clusters).await;
    let agreed_at = fleet.load.now();
    println!(
        "{name}: all agree {:?} after the last was ready",
        ready.elapsed()
    );
    let until = fleet.load.settle().await.unwrap();
    let account = fleet.account(from.saturating_sub(1)..until);
    for of in [&account.lost, &account.doubled] {
        for (cluster, scrapes) in by_cluster(of) {
            assert!(scrapes.len() <= AT_MOST, "{name}: {cluster}: {scrapes:?}");
        }
    }
    let bounds = Bounds {
        agreed_at,
        ..Bounds::default()
    };
    fleet.step(name, bounds).await;
    (account.lost.len(), account.doubled.len())
}

/// All elections are forgotten, and held again: from then on, none is lost and none is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_changes_its_protocol_all_at_once() {
    let sink = Sink::start().await;
    let mesh = GossipMesh::launch(3, mesh_config(&sink, json!({"protocol": "chitchat"})));
    let mut fleet = Fleet::new(mesh, sink);
    for cluster in CLUSTERS {
        for replica in 0..REPLICAS.len() {
            fleet.begin(cluster, replica, &ALL);
        }
    }
    begin(&mut fleet, "chitchat").await;
    fleet.pass(10).await;
    fleet.step("calm", Bounds::default()).await;
    for protocol in ["memberlist", "chitchat"] {
        for distributor in &fleet.mesh.distributors {
            distributor.process.sigterm();
        }
        for distributor in &mut fleet.mesh.distributors {
            let status = distributor.process.wait_exit(LONG).await;
            assert!(status.success(), "{status}");
        }
        let config = mesh_config(&fleet.sink, json!({"protocol": protocol}));
        fleet.mesh.reconfigure(config);
        for number in ALL {
            fleet.mesh.relaunch(number);
        }
        let (lost, doubled) = begin(&mut fleet, &format!("all at once to {protocol}")).await;
        println!(
            "to {protocol}: {lost} scrapes of {} clusters lost, {doubled} doubled",
            CLUSTERS.len()
        );
        fleet.settled(&ALL).await;
        fleet.pass(10).await;
        fleet.step("calm", Bounds::default()).await;
    }
    fleet.check_again();
}
