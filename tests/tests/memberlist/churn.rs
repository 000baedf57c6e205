//! Members of both kinds come and go while keys are written.

use std::fs;

use e2e::{LONG, Process};

use crate::{Either, Rust, TENANT, assert_no_complaints, go, wait_for_ring};

/// Two of each kind, of which one leaves or dies at a time and comes back: after each, all see all
/// members and all keys. `MEMBERLIST_CHURN_ROUNDS` makes it longer.
#[tokio::test]
async fn members_agree_after_each_that_comes_and_goes() {
    let rounds = std::env::var("MEMBERLIST_CHURN_ROUNDS").map_or(2, |text| text.parse().unwrap());
    let go_1 = go("go-1", &[]).await;
    let rust_1 = Rust::start("d1", &[go_1.gossip()]).await;
    let join = [go_1.gossip(), rust_1.address()];
    let mut go_2 = go("go-2", &join).await;
    let mut rust_2 = Rust::start("d2", &join).await;
    let mut before = None;
    for round in 0..rounds {
        for step in 0..4 {
            match step {
                0 => {
                    go_2.leave().await.unwrap();
                    go_2.restart_elsewhere().await;
                }
                1 => {
                    rust_2.distributor.process.sigterm();
                    let status = rust_2.distributor.process.wait_exit(LONG).await;
                    assert!(status.success(), "{status}");
                    rust_2 = Rust::start("d2", &join).await;
                }
                // At the same address, before its death is noticed.
                2 => go_2.restart().await,
                _ => rust_2.distributor.restart().await,
            }
            let members = [
                Either::Go(&go_1),
                Either::Go(&go_2),
                Either::Rust(&rust_1),
                Either::Rust(&rust_2),
            ];
            wait_for_ring(&members).await;
            for (number, writer) in members.iter().enumerate() {
                let cluster = format!("c-{round}-{step}-{number}");
                match writer {
                    Either::Rust(member) => assert_eq!(member.sample(&cluster, "a").await, 200),
                    Either::Go(member) => {
                        let verdict = member.sample(TENANT, &cluster, "a").await.unwrap();
                        assert!(verdict.accepted, "{verdict:?}");
                    }
                }
                for member in &members {
                    member.wait_for_elected(&cluster, "a").await;
                }
            }
            // Those that were there all the time, and those that came, have the same.
            let all = members[0].elected().await.unwrap();
            assert_eq!(all.len(), (round * 4 + step + 1) * 4);
            for member in &members {
                assert_eq!(member.elected().await.unwrap(), all, "{}", member.name());
            }
        }
        let now = [&go_1.process, &rust_1.distributor.process].map(resident_kib);
        println!("round {round}: {now:?} KiB resident");
        let before = *before.get_or_insert(now);
        // dskit has a queue of 1024 updates for each key that it has ever heard of.
        let keys = 16 * (round as u64 + 1);
        for ((now, before), per_key) in now.iter().zip(before).zip([160, 16]) {
            let most = before + 64 * 1024 + keys * per_key;
            assert!(*now < most, "from {before} KiB to {now} KiB");
        }
    }
    assert_no_complaints(&go_1, &rust_1);
}

fn resident_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.unwrap().split_whitespace().next();
    words.unwrap().parse().unwrap()
}
