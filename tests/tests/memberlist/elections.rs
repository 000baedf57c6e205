//! One election, run by members of both kinds.

use e2e::{LONG, wait_for};

use crate::{Either, Rust, TENANT, go, wait_for_ring};

/// Replica `a` sends to one kind and `b` to the other; whichever is elected, all agree, also when the
/// elected one falls silent, and when the members that it sent to die.
#[tokio::test]
async fn both_kinds_elect_the_same_replica() {
    let go_1 = go("go-1", &[]).await;
    let mut go_2 = go("go-2", &[go_1.gossip()]).await;
    let join = [go_1.gossip(), go_2.gossip()];
    let mut rust_1 = Rust::start("d1", &join).await;
    let rust_2 = Rust::start("d2", &join).await;
    wait_for_ring(&[
        Either::Go(&go_1),
        Either::Go(&go_2),
        Either::Rust(&rust_1),
        Either::Rust(&rust_2),
    ])
    .await;

    assert_eq!(rust_1.sample("c", "a").await, 200);
    for member in [Either::Go(&go_1), Either::Go(&go_2), Either::Rust(&rust_2)] {
        member.wait_for_elected("c", "a").await;
    }
    let verdict = go_2.sample(TENANT, "c", "b").await.unwrap();
    assert_eq!((verdict.accepted, &*verdict.elected), (false, "a"));

    // Replica a falls silent: members in Go elect b.
    wait_for("a failover in Go", LONG, || async {
        match go_2.sample(TENANT, "c", "b").await? {
            verdict if verdict.accepted => Ok(()),
            verdict => Err(format!("{verdict:?}")),
        }
    })
    .await;
    for member in [
        Either::Go(&go_1),
        Either::Rust(&rust_1),
        Either::Rust(&rust_2),
    ] {
        member.wait_for_elected("c", "b").await;
    }
    assert_eq!(rust_1.sample("c", "a").await, 202);

    // Replica b falls silent with the members that it was sent to: distributors elect a.
    go_2.process.sigkill();
    rust_1.distributor.process.sigkill();
    wait_for("a failover in Rust", LONG, || async {
        match rust_2.sample("c", "a").await {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    Either::Go(&go_1).wait_for_elected("c", "a").await;
    let entry = go_1
        .keys()
        .await
        .unwrap()
        .remove("ha-tracker/t1/c")
        .unwrap();
    assert_eq!(entry.elected_changes, 2);
    let verdict = go_1.sample(TENANT, "c", "b").await.unwrap();
    assert_eq!((verdict.accepted, &*verdict.elected), (false, "a"));
}
