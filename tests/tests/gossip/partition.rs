//! A network that falls in two.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::{GossipMesh, LONG, MemberState, Sink, wait_for};
use serde_json::json;
use tokio::time::Instant;

use crate::common::pairs::REPLICAS;
use crate::fleet::{Bounds, Elected, FAILOVER, Fleet, by_cluster, mesh_config, scrapes_in, values};

const ALL: [usize; 5] = [0, 1, 2, 3, 4];
const LEFT: [usize; 2] = [0, 1];
const RIGHT: [usize; 3] = [2, 3, 4];
/// All agree within this time from when the network is whole again.
const CONVERGED: Duration = Duration::from_secs(5);

fn elections(of: &[(&str, usize)]) -> Elected {
    of.iter()
        .map(|(cluster, replica)| ((*cluster).to_owned(), REPLICAS[*replica].to_owned()))
        .collect()
}

async fn wait_elected(fleet: &Fleet, among: &[usize], expected: &Elected) {
    let clusters: BTreeSet<String> = expected.keys().cloned().collect();
    wait_for("this side to elect on its own", LONG, || async {
        let elected = fleet.agreement(among, &clusters).await?;
        if elected == *expected {
            Ok(())
        } else {
            Err(format!("{elected:?}"))
        }
    })
    .await;
}

/// Each side sees one replica only. Each elects on its own, and what both accept is doubled: no
/// store without a majority can know better. Once the network is whole, the later election wins.
#[tokio::test(flavor = "multi_thread")]
async fn each_side_of_a_partition_elects_and_the_later_election_wins() {
    let sink = Sink::start().await;
    let mesh = GossipMesh::launch_apart(5, mesh_config(&sink, json!({}))).await;
    let mut fleet = Fleet::new(mesh, sink);
    fleet.mesh.wait_ready().await;
    fleet.settled(&ALL).await;

    // The left side's replica is elected before the other one begins.
    fleet.begin("old", 0, &LEFT);
    wait_elected(&fleet, &ALL, &elections(&[("old", 0)])).await;
    fleet.begin("old", 1, &RIGHT);
    fleet.step("together", Bounds::default()).await;

    let began = Instant::now();
    fleet.mesh.partition(&[&LEFT, &RIGHT]);
    // A cluster that both sides see for the first time: first the right one, then the left one.
    fleet.begin("new", 1, &RIGHT);
    wait_elected(&fleet, &RIGHT, &elections(&[("old", 1), ("new", 1)])).await;
    println!("the right side has elected after {:?}", began.elapsed());
    fleet.begin("new", 0, &LEFT);
    wait_elected(&fleet, &LEFT, &elections(&[("old", 0), ("new", 0)])).await;
    for side in [&LEFT[..], &RIGHT] {
        for page in fleet.settled(side).await {
            assert_eq!(
                page.count(MemberState::Dead),
                ALL.len() - side.len(),
                "{page:?}"
            );
        }
    }
    // Both sides accept: of each cluster, everything from the later of the two elections on.
    let scrapes = fleet.pass(5).await;
    let apart = fleet.account(scrapes);
    let doubled = by_cluster(&apart.doubled);
    for cluster in ["old", "new"] {
        assert_eq!(doubled[cluster].len(), 5, "{apart:?}");
    }
    let left = values(&fleet.mesh, &LEFT, "old").await;
    let right = values(&fleet.mesh, &RIGHT, "old").await;
    assert!(left[0]["elected_at"].as_i64() < right[0]["elected_at"].as_i64());

    fleet.mesh.heal();
    let whole = Instant::now();
    let expected = elections(&[("old", 1), ("new", 0)]);
    let clusters: BTreeSet<String> = expected.keys().cloned().collect();
    let elected = fleet.agreed(CONVERGED, &ALL, &clusters).await;
    println!("all agree {:?} after the network is whole", whole.elapsed());
    assert_eq!(elected, expected);
    let bounds = Bounds {
        agreed_at: fleet.load.now(),
        ..Bounds::default()
    };
    fleet.step("apart", bounds).await;
    fleet.settled(&ALL).await;
    // For as long as it takes to fail over wrongly.
    fleet.pass(scrapes_in(FAILOVER)).await;
    assert_eq!(fleet.all_right(&ALL, &clusters).await, expected);
    fleet.step("together again", Bounds::default()).await;
    fleet.check_again();
}

/// Sides that have been apart for so long that they have forgotten each other meet again at
/// `join_members`, and each brings what it holds.
#[tokio::test(flavor = "multi_thread")]
async fn sides_that_have_forgotten_each_other_meet_again() {
    const ALL: [usize; 4] = [0, 1, 2, 3];
    const SIDES: [&[usize]; 2] = [&[0, 1], &[2, 3]];
    let sink = Sink::start().await;
    let more = json!({ "left_ingesters_timeout": "1s", "rejoin_interval": "1s" });
    let mesh = GossipMesh::launch_apart(4, mesh_config(&sink, more)).await;
    let mut fleet = Fleet::new(mesh, sink);
    fleet.mesh.wait_ready().await;
    fleet.settled(&ALL).await;
    fleet.mesh.partition(&SIDES);
    for (side, name) in SIDES.into_iter().zip(["left", "right"]) {
        for replica in 0..REPLICAS.len() {
            fleet.begin(name, replica, &side[..1]);
        }
        wait_for("the others to be forgotten", LONG, || async {
            let pages = fleet.mesh.settled(side).await?;
            if pages.iter().all(|page| page.members.len() == side.len()) {
                Ok(())
            } else {
                Err(format!("{pages:?}"))
            }
        })
        .await;
        fleet
            .agreed(LONG, side, &BTreeSet::from([name.to_owned()]))
            .await;
    }
    fleet.mesh.heal();
    let whole = Instant::now();
    let clusters = BTreeSet::from(["left".to_owned(), "right".to_owned()]);
    fleet.settled(&ALL).await;
    fleet.agreed(CONVERGED, &ALL, &clusters).await;
    println!(
        "all have met {:?} after the network is whole",
        whole.elapsed()
    );
    fleet.step("apart and together", Bounds::default()).await;
}
