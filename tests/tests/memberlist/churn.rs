//! Members of both kinds come and go while keys are written.

use std::fs;
use std::time::Duration;

use e2e::{LONG, MemberlistGo, Process};
use tokio::time::Instant;

use crate::{Either, Rust, TENANT, assert_no_complaints, go, wait_for_ring};

/// Rounds in which there are new keys; later ones write to those.
const NEW_KEYS: usize = 4;

/// Rounds before memory is compared: caches and queues have their size by then.
const SETTLED: usize = NEW_KEYS + 2;

/// How much a member's memory may grow after that, KiB: what an allocator does by itself.
const GROWTH: u64 = 16 * 1024;

/// Two of each kind: the first of each stays, the second leaves or dies and comes back.
struct Ring {
    go: [MemberlistGo; 2],
    rust: [Rust; 2],
}

impl Ring {
    async fn start() -> Self {
        let go_1 = go("go-1", &[]).await;
        let rust_1 = Rust::start("d1", &[go_1.gossip()]).await;
        let join = [go_1.gossip(), rust_1.address()];
        let go_2 = go("go-2", &join).await;
        let rust_2 = Rust::start("d2", &join).await;
        Self {
            go: [go_1, go_2],
            rust: [rust_1, rust_2],
        }
    }

    fn members(&self) -> [Either<'_>; 4] {
        let [go_1, go_2] = &self.go;
        let [rust_1, rust_2] = &self.rust;
        [
            Either::Go(go_1),
            Either::Go(go_2),
            Either::Rust(rust_1),
            Either::Rust(rust_2),
        ]
    }

    /// The four ways to come and go.
    async fn step(&mut self, step: usize) {
        let join = [self.go[0].gossip(), self.rust[0].address()];
        match step {
            0 => {
                self.go[1].leave().await.unwrap();
                self.go[1].restart_elsewhere().await;
            }
            1 => {
                let process = &mut self.rust[1].distributor.process;
                process.sigterm();
                let status = process.wait_exit(LONG).await;
                assert!(status.success(), "{status}");
                assert_no_complaints(&self.go[1], &self.rust[1]);
                self.rust[1] = Rust::start("d2", &join).await;
            }
            // At the same address, before its death is noticed.
            2 => self.go[1].restart().await,
            _ => self.rust[1].distributor.restart().await,
        }
    }

    /// Each member writes a key, which all have then, and all have the same keys.
    async fn write(&self, round: usize, step: usize) {
        let members = self.members();
        for (number, writer) in members.iter().enumerate() {
            let cluster = format!("c-{}-{step}-{number}", round % NEW_KEYS);
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
        let rounds = (round + 1).min(NEW_KEYS);
        let keys = if round < NEW_KEYS {
            (round * 4 + step + 1) * 4
        } else {
            rounds * 16
        };
        assert_eq!(all.len(), keys);
        for member in &members {
            assert_eq!(member.elected().await.unwrap(), all, "{}", member.name());
        }
    }

    /// KiB of those that stay.
    fn memory(&self) -> [u64; 2] {
        [&self.go[0].process, &self.rust[0].distributor.process].map(resident_kib)
    }
}

/// After each that comes or goes, all see all members and all keys; in the end, no log has an error of
/// the protocol, and those that were there all the time have not grown. `MEMBERLIST_CHURN_SECONDS` makes
/// it longer: `cargo xtask churn`.
#[tokio::test]
async fn members_agree_after_each_that_comes_and_goes() {
    let seconds = std::env::var("MEMBERLIST_CHURN_SECONDS").map_or(0, |text| text.parse().unwrap());
    let (began, least) = (Instant::now(), Duration::from_secs(seconds));
    let mut ring = Ring::start().await;
    let (mut settled, mut round, mut comings) = (None, 0, 0);
    while round < 2 || began.elapsed() < least {
        for step in 0..4 {
            ring.step(step).await;
            wait_for_ring(&ring.members()).await;
            ring.write(round, step).await;
            comings += 1;
        }
        round += 1;
        let memory = ring.memory();
        if round <= SETTLED || round % 5 == 0 {
            println!(
                "{:5.0?} round {round}: {} KiB in Go, {} KiB in Rust",
                began.elapsed(),
                memory[0],
                memory[1]
            );
        }
        if round >= SETTLED {
            let before = *settled.get_or_insert(memory);
            for (now, before) in memory.iter().zip(before) {
                assert!(*now < before + GROWTH, "from {before} KiB to {now} KiB");
            }
        }
    }
    println!(
        "{comings} comings and goings in {:.0?}; memory from {settled:?} to {:?} KiB (Go, Rust)",
        began.elapsed(),
        ring.memory()
    );
    for (go, rust) in ring.go.iter().zip(&ring.rust) {
        assert_no_complaints(go, rust);
    }
}

fn resident_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.unwrap().split_whitespace().next();
    words.unwrap().parse().unwrap()
}
