//! Members of both kinds leave, die, hang and come back, and the other kind sees it.

use e2e::{LONG, MemberState, MembersPage, wait_for};

use crate::{Either, Rust, assert_no_complaints, go, wait_for_ring};

#[tokio::test]
async fn members_leave_and_come_back_on_another_address() {
    let rust = Rust::start("d1", &[]).await;
    let mut go = go("go-1", &[rust.address()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;

    let left = go.gossip();
    go.leave().await.unwrap();
    wait_for("a member that has left", LONG, || async {
        let page = MembersPage::of(&rust.distributor).await?;
        match page.members.get("go-1") {
            Some(row) if row.state != MemberState::Left => Err(format!("{row:?}")),
            _ => Ok(()),
        }
    })
    .await;
    go.restart_elsewhere().await;
    assert_ne!(go.gossip(), left);
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    let page = MembersPage::of(&rust.distributor).await.unwrap();
    assert_eq!(page.members["go-1"].address, go.gossip().to_string());
}

#[tokio::test]
async fn a_distributor_leaves_and_comes_back_under_its_name() {
    let go = go("go-1", &[]).await;
    let mut rust = Rust::start("d1", &[go.gossip()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    assert_eq!(rust.sample("c1", "a").await, 200);
    Either::Go(&go).wait_for_elected("c1", "a").await;

    rust.distributor.process.sigterm();
    let status = rust.distributor.process.wait_exit(LONG).await;
    assert!(status.success(), "{status}");
    // At once: it has said that it leaves.
    assert_eq!(go.member_names().await.unwrap(), ["go-1"]);
    let rust = Rust::start("d1", &[go.gossip()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    // What was elected is known again.
    assert_eq!(rust.elected().await.unwrap()["c1"], "a");
    assert_no_complaints(&go, &rust);
}

/// Each kind notices the death of the other, by probes that are not answered.
#[tokio::test]
async fn the_dead_are_noticed_by_both() {
    let (mut go_1, go_2) = {
        let first = go("go-1", &[]).await;
        let second = go("go-2", &[first.gossip()]).await;
        (first, second)
    };
    let join = [go_1.gossip(), go_2.gossip()];
    let mut rust_1 = Rust::start("d1", &join).await;
    let rust_2 = Rust::start("d2", &join).await;
    let all = [
        Either::Go(&go_1),
        Either::Go(&go_2),
        Either::Rust(&rust_1),
        Either::Rust(&rust_2),
    ];
    wait_for_ring(&all).await;

    go_1.process.sigkill();
    rust_1.distributor.process.sigkill();
    wait_for_ring(&[Either::Go(&go_2), Either::Rust(&rust_2)]).await;

    // At the same address, under the same name.
    rust_1.distributor.restart().await;
    let all = [
        Either::Go(&go_2),
        Either::Rust(&rust_1),
        Either::Rust(&rust_2),
    ];
    wait_for_ring(&all).await;
}

/// A member that hangs is believed dead, and says that it is not as soon as it can.
#[tokio::test]
async fn one_that_hung_refutes_its_death() {
    let go_1 = go("go-1", &[]).await;
    let go_2 = go("go-2", &[go_1.gossip()]).await;
    let rust_1 = Rust::start("d1", &[go_1.gossip()]).await;
    let rust_2 = Rust::start("d2", &[go_1.gossip()]).await;
    let all = [
        Either::Go(&go_1),
        Either::Go(&go_2),
        Either::Rust(&rust_1),
        Either::Rust(&rust_2),
    ];
    wait_for_ring(&all).await;
    go_2.process.sigstop();
    rust_2.distributor.process.sigstop();
    wait_for_ring(&[Either::Go(&go_1), Either::Rust(&rust_1)]).await;
    go_2.process.sigcont();
    rust_2.distributor.process.sigcont();
    wait_for_ring(&all).await;
}
