//! Five distributors, and all that happens to a fleet in a year.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::{GossipMesh, LONG, MemberState, Sink, wait_for};
use serde_json::json;
use tokio::time::Instant;

use crate::common::pairs::REPLICAS;
use crate::fleet::{Bounds, Elected, Fleet, SILENCE_AT_MOST, mesh_config, scrapes_in, values};

const ALL: [usize; 5] = [0, 1, 2, 3, 4];
const BUSY: [&str; 4] = ["c0", "c1", "c2", "c3"];
/// Clusters that send once and never again: only gossip keeps them.
const IDLE: usize = 20;
/// All members agree within this time from when they can.
const CONVERGED: Duration = Duration::from_secs(5);

/// For things that need no wait: shorter than the time after which a silent member is considered
/// dead.
const AT_ONCE: Duration = Duration::from_secs(3);

fn without(gone: &[usize]) -> Vec<usize> {
    ALL.into_iter().filter(|at| !gone.contains(at)).collect()
}

/// These are shown as gone by those that run, within a time.
async fn wait_gone(
    fleet: &Fleet,
    running: &[usize],
    within: Duration,
    state: MemberState,
    names: &[String],
) {
    wait_for(&format!("{names:?} to be {state:?}"), within, || async {
        for number in running {
            let page = fleet.mesh.page(*number).await?;
            for name in names {
                let row = page.members.get(name);
                if row.is_none_or(|row| row.state != state) {
                    return Err(format!("d{number} shows {row:?}"));
                }
            }
        }
        Ok(())
    })
    .await;
}

async fn own_name(fleet: &Fleet, number: usize) -> String {
    fleet.mesh.page(number).await.unwrap().own_name
}

/// Push requests that a distributor has been sent, answered or not.
async fn pushes(fleet: &Fleet, number: usize) -> Result<f64, String> {
    let metrics = fleet.mesh.distributors[number].metrics().await?;
    Ok(metrics.sum("cortex_distributor_requests_in_total", &[]))
}

/// All five start, with senders that wait for them already: until all agree, a cluster can have two
/// elected replicas, each at the distributors that heard of it first.
async fn begin(fleet: &mut Fleet, clusters: &BTreeSet<String>, name: &str) -> Elected {
    fleet.mesh.wait_ready().await;
    let ready = Instant::now();
    let elected = fleet.agreed(CONVERGED, &ALL, clusters).await;
    let agreed_at = fleet.load.now();
    println!("all agree {:?} after the last was ready", ready.elapsed());
    let bounds = Bounds {
        agreed_at,
        ..Bounds::default()
    };
    fleet.step(name, bounds).await;
    fleet.settled(&ALL).await;
    elected
}

#[tokio::test(flavor = "multi_thread")]
async fn one_election_for_five_whatever_happens_to_them() {
    let sink = Sink::start().await;
    let mesh = GossipMesh::launch(5, mesh_config(&sink, json!({})));
    let mut fleet = Fleet::new(mesh, sink);
    for cluster in BUSY {
        for replica in 0..REPLICAS.len() {
            fleet.begin(cluster, replica, &ALL);
        }
    }
    let mut clusters: BTreeSet<String> = BUSY.map(str::to_owned).into();
    let busy = clusters.clone();
    begin(&mut fleet, &clusters, "all start").await;

    for number in 0..IDLE {
        let cluster = format!("idle{number}");
        fleet.begin_and_end(&cluster, number % 2, number % 5);
        clusters.insert(cluster);
    }
    let elected = fleet.all_right(&ALL, &clusters).await;
    fleet.step("calm", Bounds::default()).await;

    for number in ALL {
        let name = own_name(&fleet, number).await;
        fleet.mesh.stop(number).await;
        // A member that leaves announces it to all others first.
        wait_gone(
            &fleet,
            &without(&[number]),
            AT_ONCE,
            MemberState::Left,
            &[name],
        )
        .await;
        fleet.mesh.restart(number).await;
        assert_eq!(fleet.all_right(&ALL, &clusters).await, elected);
    }
    fleet.step("rolling restart", Bounds::default()).await;

    for killed in [&[1][..], &[2, 4]] {
        let rest = without(killed);
        let mut names = Vec::new();
        for number in killed {
            names.push(own_name(&fleet, *number).await);
        }
        let began = Instant::now();
        for number in killed {
            fleet.mesh.distributors[*number].process.sigkill();
        }
        assert_eq!(fleet.all_right(&rest, &clusters).await, elected);
        println!("all see {} dead after {:?}", killed.len(), began.elapsed());
        wait_gone(&fleet, &rest, AT_ONCE, MemberState::Dead, &names).await;
        for number in killed {
            fleet.mesh.relaunch(*number);
        }
        fleet.mesh.wait_ready().await;
        assert_eq!(fleet.all_right(&ALL, &clusters).await, elected);
        fleet
            .step(&format!("{killed:?} killed"), Bounds::default())
            .await;
    }

    let name = own_name(&fleet, 3).await;
    fleet.mesh.distributors[3].process.sigstop();
    let rest = without(&[3]);
    fleet.settled(&rest).await;
    wait_gone(
        &fleet,
        &rest,
        AT_ONCE,
        MemberState::Dead,
        std::slice::from_ref(&name),
    )
    .await;
    fleet.mesh.distributors[3].process.sigcont();
    let back = Instant::now();
    assert_eq!(fleet.all_right(&ALL, &clusters).await, elected);
    println!("all are right {:?} after SIGCONT", back.elapsed());
    assert_eq!(own_name(&fleet, 3).await, name);
    fleet.step("one hangs", Bounds::default()).await;

    let elected = fail_over(&mut fleet, &elected, &clusters).await;
    // Those that were elected before are back, and stay in the background.
    for cluster in BUSY {
        for replica in 0..REPLICAS.len() {
            fleet.silence(cluster, replica, false);
        }
    }
    fleet.pass(10).await;
    assert_eq!(fleet.all_right(&ALL, &clusters).await, elected);
    fleet.step("after failover", Bounds::default()).await;

    // Entries that no member has are gone: all elections are held again, as in a new fleet.
    for distributor in &fleet.mesh.distributors {
        distributor.process.sigterm();
    }
    for distributor in &mut fleet.mesh.distributors {
        let status = distributor.process.wait_exit(LONG).await;
        assert!(status.success(), "{status}");
    }
    fleet.mesh.move_all();
    for number in ALL {
        fleet.mesh.relaunch(number);
    }
    begin(&mut fleet, &busy, "all at once, elsewhere").await;
    fleet.pass(10).await;
    fleet.step("at the end", Bounds::default()).await;
    fleet.check_again();
}

/// A distributor that does not run for longer than the failover timeout, as on a machine that is
/// suspended, and that sees the other replica only: it must not take the time that it has slept
/// through for the silence of the elected one.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_slept_elects_nobody() {
    let sink = Sink::start().await;
    let mesh = GossipMesh::launch_apart(3, mesh_config(&sink, json!({}))).await;
    let mut fleet = Fleet::new(mesh, sink);
    fleet.mesh.wait_ready().await;
    let clusters: BTreeSet<String> = (0..8).map(|number| format!("c{number}")).collect();
    for cluster in &clusters {
        fleet.begin(cluster, 0, &[0, 1]);
    }
    let elected = fleet.all_right(&[0, 1, 2], &clusters).await;
    for cluster in &clusters {
        fleet.begin(cluster, 1, &[2]);
    }
    // After its start a distributor waits before it fails over, as after an outage of its store.
    fleet.pass(scrapes_in(SILENCE_AT_MOST)).await;
    for _ in 0..2 {
        fleet.mesh.distributors[2].process.sigstop();
        fleet.mesh.partition(&[&[0, 1]]);
        fleet.settled(&[0, 1]).await;
        // Its senders are back before the others are, and nothing that those said waits in its
        // sockets.
        fleet.mesh.distributors[2].process.sigcont();
        let more = pushes(&fleet, 2).await.unwrap() + clusters.len() as f64;
        wait_for("senders to be back", LONG, || async {
            match pushes(&fleet, 2).await? {
                now if now >= more => Ok(()),
                now => Err(format!("{now} of {more} pushes")),
            }
        })
        .await;
        fleet.mesh.heal();
        assert_eq!(fleet.all_right(&[0, 1, 2], &clusters).await, elected);
        fleet.pass(10).await;
        assert_eq!(fleet.all_right(&[0, 1, 2], &clusters).await, elected);
        fleet.step("one slept", Bounds::default()).await;
    }
    fleet.check_again();
}

/// The elected replicas of the busy clusters fall silent: the others take over everywhere.
async fn fail_over(fleet: &mut Fleet, before: &Elected, clusters: &BTreeSet<String>) -> Elected {
    let mut expected = before.clone();
    for cluster in BUSY {
        let old = REPLICAS.iter().position(|name| *name == before[cluster]);
        let old = old.unwrap();
        fleet.silence(cluster, old, true);
        expected.insert(cluster.to_owned(), REPLICAS[1 - old].to_owned());
    }
    let began = Instant::now();
    wait_for("a failover everywhere", LONG, || async {
        let elected = fleet.agreement(&ALL, clusters).await?;
        if elected == expected {
            Ok(())
        } else {
            Err(format!("{elected:?}"))
        }
    })
    .await;
    println!("all have failed over after {:?}", began.elapsed());
    for cluster in BUSY {
        for value in values(&fleet.mesh, &ALL, cluster).await {
            assert_eq!(value["elected_changes"], 1, "{cluster}: {value}");
        }
    }
    let lost = usize::try_from(scrapes_in(SILENCE_AT_MOST)).unwrap();
    let bounds = Bounds {
        lost,
        ..Bounds::default()
    };
    fleet.step("failover", bounds).await;
    expected
}
