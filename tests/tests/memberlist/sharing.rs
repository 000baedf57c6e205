//! Members of both kinds see each other and the same keys.

use std::time::Duration;

use e2e::{LONG, MembersPage, SHORT, now_ms, wait_for};
use tokio::time::Instant;

use crate::{Either, Rust, TENANT, assert_no_complaints, go, go_with, wait_for_ring};

#[tokio::test]
async fn one_of_each_share_members_and_keys() {
    let go = go("go-1", &[]).await;
    let rust = Rust::start("d1", &[go.gossip()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    let seen = go.members().await.unwrap();
    assert_eq!(seen[0].address, rust.address().to_string());
    let page = MembersPage::of(&rust.distributor).await.unwrap();
    assert_eq!(page.members["go-1"].address, go.gossip().to_string());

    // What one side elects, the other knows, and judges samples by.
    go.cas("ha-tracker/t1/c1", "r1", now_ms()).await.unwrap();
    Either::Rust(&rust).wait_for_elected("c1", "r1").await;
    assert_eq!(rust.sample("c1", "r2").await, 202);
    assert_eq!(rust.sample("c1", "r1").await, 200);
    assert_eq!(rust.sample("c2", "a").await, 200);
    Either::Go(&go).wait_for_elected("c2", "a").await;
    let verdict = go.sample("t1", "c2", "b").await.unwrap();
    assert_eq!((verdict.accepted, &*verdict.elected), (false, "a"));
    let entry = go.keys().await.unwrap().remove("ha-tracker/t1/c2").unwrap();
    assert_eq!((&*entry.codec, entry.elected_changes), ("replicaDesc", 0));
    assert_eq!(entry.elected_at, entry.received_at);
    assert_no_complaints(&go, &rust);
}

#[tokio::test]
async fn keys_arrive_within_a_second() {
    let go = go("go-1", &[]).await;
    let rust = Rust::start("d1", &[go.gossip()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    let (mut to_go, mut to_rust) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let cluster = format!("r{number}");
        let written = now_ms();
        assert_eq!(rust.sample(&cluster, "a").await, 200);
        let key = format!("ha-tracker/t1/{cluster}");
        let arrived = wait_for("a key at the member in Go", SHORT, || async {
            let entry = go.keys().await?.remove(&key);
            entry
                .filter(|entry| entry.arrived_at > 0)
                .ok_or_else(|| "none".to_owned())
        })
        .await;
        to_go.push(Duration::from_millis(
            (arrived.arrived_at - written).max(0) as u64
        ));

        let cluster = format!("g{number}");
        let written = Instant::now();
        go.cas(&format!("ha-tracker/t1/{cluster}"), "a", now_ms())
            .await
            .unwrap();
        while !rust.elected().await.unwrap().contains_key(&cluster) {
            assert!(written.elapsed() < SHORT, "{cluster} does not arrive");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        to_rust.push(written.elapsed());
    }
    for (what, times) in [("to Go", &mut to_go), ("to Rust", &mut to_rust)] {
        times.sort_unstable();
        let (median, worst) = (times[20], times[39]);
        println!("{what}: median {median:?}, worst of 40 {worst:?}");
        // Gossip goes out every 200 ms; the rest is for a busy machine.
        assert!(median < Duration::from_secs(1), "{what}: {times:?}");
    }
    assert_no_complaints(&go, &rust);
}

#[tokio::test]
async fn three_of_each_are_one_ring() {
    let go_1 = go("go-1", &[]).await;
    let join = [go_1.gossip()];
    let (go_2, go_3) = tokio::join!(go("go-2", &join), go("go-3", &join));
    let (rust_1, rust_2, rust_3) = tokio::join!(
        Rust::start("d1", &join),
        Rust::start("d2", &join),
        Rust::start("d3", &join),
    );
    let members = [
        Either::Go(&go_1),
        Either::Go(&go_2),
        Either::Go(&go_3),
        Either::Rust(&rust_1),
        Either::Rust(&rust_2),
        Either::Rust(&rust_3),
    ];
    wait_for_ring(&members).await;
    share_keys(&members, 5).await;
    for (go, rust) in [(&go_1, &rust_1), (&go_2, &rust_2), (&go_3, &rust_3)] {
        assert_no_complaints(go, rust);
    }
}

/// Each member writes a key in each round: how long it takes until all have it.
pub(crate) async fn share_keys(members: &[Either<'_>], rounds: usize) {
    let mut times = Vec::new();
    for round in 0..rounds {
        for (number, writer) in members.iter().enumerate() {
            let cluster = format!("c{round}-{number}");
            let written = Instant::now();
            match writer {
                Either::Rust(member) => assert_eq!(member.sample(&cluster, "a").await, 200),
                Either::Go(member) => {
                    let verdict = member.sample(TENANT, &cluster, "a").await.unwrap();
                    assert!(verdict.accepted);
                }
            }
            for member in members {
                member.wait_for_elected(&cluster, "a").await;
            }
            times.push(written.elapsed());
        }
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{} writes on all of {}: {:?} (median), {:?} (99 %), {:?} (slowest)",
        times.len(),
        members.len(),
        at(50),
        at(99),
        at(100)
    );
    assert!(at(50) < Duration::from_secs(2), "{times:?}");
}

#[tokio::test]
async fn a_joiner_is_told_five_thousand_keys_at_once() {
    // Members in Go tell each other so as well, and lose what does not fit into the default of 1024.
    let queue = ["-memberlist.received-messages-queue-size=20000"];
    let first = go_with("go-1", &[], &queue).await;
    first.fill("ha-tracker/t1/many-", 5000, "a").await.unwrap();
    let rust = Rust::start("d1", &[first.gossip()]).await;
    // It is ready only when it knows them.
    assert_eq!(rust.elected().await.unwrap().len(), 5000);
    // And sends them to one that knows no other member.
    let second = go_with("go-2", &[rust.address()], &queue).await;
    assert_eq!(second.keys().await.unwrap().len(), 5000);
    assert_no_complaints(&first, &rust);
    assert_no_complaints(&second, &rust);
}

#[tokio::test]
async fn a_key_that_is_deleted_is_gone_on_both() {
    let go = go("go-1", &[]).await;
    let rust = Rust::start("d1", &[go.gossip()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    assert_eq!(rust.sample("c1", "a").await, 200);
    Either::Go(&go).wait_for_elected("c1", "a").await;
    go.delete("ha-tracker/t1/c1").await.unwrap();
    wait_for("the deletion", LONG, || async {
        match rust.elected().await?.get("c1") {
            None => Ok(()),
            Some(replica) => Err(replica.clone()),
        }
    })
    .await;
    assert_no_complaints(&go, &rust);
}
