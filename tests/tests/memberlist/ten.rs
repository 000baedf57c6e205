//! Rings of ten members, of which one is of the other kind: all know all, share keys, and see each that
//! is accused, leaves, dies, hangs and comes back.

use std::net::SocketAddr;

use e2e::{LONG, MemberlistGo, Process, wait_for};
use futures::future::join_all;
use memberlist_protocol::codec::message;
use memberlist_protocol::message::Message;
use serde_json::json;

use crate::hostile::{accusation, send};
use crate::sharing::share_keys;
use crate::{Either, Rust, TENANT, assert_no_complaints, go_with, wait_for_ring};

/// The majority, in the order in which they start; the first is the one that all others join.
const NAMES: [&str; 9] = ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];

/// The other one.
const ALONE: &str = "alone";

/// The first of the majority is never disturbed.
struct Ten {
    go: Vec<MemberlistGo>,
    rust: Vec<Rust>,
}

/// A name is free soon after its member is believed dead, so that it can come back elsewhere.
async fn in_go(name: &str, join: &[SocketAddr]) -> MemberlistGo {
    go_with(name, join, &["-memberlist.dead-node-reclaim-time=1s"]).await
}

async fn in_rust(name: &'static str, join: &[SocketAddr]) -> Rust {
    Rust::start_with(name, join, json!({"dead_node_reclaim_time": "1s"})).await
}

impl Ten {
    async fn nine_in_go() -> Self {
        let first = in_go(NAMES[0], &[]).await;
        let join = [first.gossip()];
        let others = join_all(NAMES[1..].iter().map(|name| in_go(name, &join))).await;
        Self {
            rust: vec![in_rust(ALONE, &join).await],
            go: [first].into_iter().chain(others).collect(),
        }
    }

    async fn nine_in_rust() -> Self {
        let first = in_rust(NAMES[0], &[]).await;
        let join = [first.address()];
        let others = join_all(NAMES[1..].iter().map(|name| in_rust(name, &join))).await;
        Self {
            go: vec![in_go(ALONE, &join).await],
            rust: [first].into_iter().chain(others).collect(),
        }
    }

    fn members(&self) -> Vec<Either<'_>> {
        let rust = self.rust.iter().map(Either::Rust);
        rust.chain(self.go.iter().map(Either::Go)).collect()
    }

    /// All that are not in this list see those that are not.
    async fn wait_without(&self, gone: &[&str]) {
        let mut members = self.members();
        members.retain(|member| !gone.contains(&member.name()));
        wait_for_ring(&members).await;
    }

    fn address(&self, name: &str) -> SocketAddr {
        let rust = self.rust.iter().find(|member| member.name == name);
        match rust {
            Some(member) => member.address(),
            None => self.go(name).gossip(),
        }
    }

    fn go(&self, name: &str) -> &MemberlistGo {
        self.go.iter().find(|member| member.node() == name).unwrap()
    }

    fn process(&self, name: &str) -> &Process {
        let rust = self.rust.iter().find(|member| member.name == name);
        match rust {
            Some(member) => &member.distributor.process,
            None => &self.go(name).process,
        }
    }

    /// Whether it has said that an accusation is wrong.
    fn has_refuted(&self, name: &str) -> bool {
        let log = self.process(name).log();
        log.contains("were wrong about this one") || log.contains("Refuting a")
    }

    /// One of each kind is said to be suspect, and to be dead, to one of the other.
    async fn refute(&self) {
        let accused = [ALONE, NAMES[4]];
        for accuse in [Message::Suspect, Message::Dead] {
            for (accused, told) in [(accused[0], NAMES[1]), (accused[1], ALONE)] {
                let lie = message(&accuse(accusation(accused)));
                send(self.address(told), &lie).await;
            }
        }
        wait_for("the accused to refute", LONG, || async {
            match accused.iter().find(|name| !self.has_refuted(name)) {
                Some(name) => Err(format!("{name} does not")),
                None => Ok(()),
            }
        })
        .await;
        self.wait_without(&[]).await;
    }

    /// Ends at once, or after it has said so.
    async fn end(&mut self, name: &str, by_leaving: bool) {
        if let Some(member) = self.go.iter_mut().find(|member| member.node() == name) {
            if by_leaving {
                member.leave().await.unwrap();
            }
            member.process.sigkill();
            return;
        }
        let member = self.rust.iter_mut().find(|member| member.name == name);
        let process = &mut member.unwrap().distributor.process;
        if by_leaving {
            process.sigterm();
            let status = process.wait_exit(LONG).await;
            assert!(status.success(), "{status}");
        } else {
            process.sigkill();
        }
    }

    /// Under its name, at another address.
    async fn start_elsewhere(&mut self, name: &'static str) {
        let before = self.address(name);
        let join = [self.address(NAMES[0])];
        if let Some(member) = self.go.iter_mut().find(|member| member.node() == name) {
            member.restart_elsewhere().await;
        } else {
            let new = in_rust(name, &join).await;
            let old = self.rust.iter_mut().find(|member| member.name == name);
            *old.unwrap() = new;
        }
        assert_ne!(self.address(name), before);
    }

    async fn leave_and_come_back(&mut self) {
        for name in [ALONE, NAMES[8]] {
            self.end(name, true).await;
            self.wait_without(&[name]).await;
            self.start_elsewhere(name).await;
        }
        self.wait_without(&[]).await;
    }

    /// These hang, and those are killed; all come back, the killed at other addresses.
    async fn vanish(&mut self, hanging: &[&'static str], killed: &[&'static str]) {
        for name in hanging {
            self.process(name).sigstop();
        }
        for name in killed {
            self.end(name, false).await;
        }
        self.wait_without(&[hanging, killed].concat()).await;
        for name in hanging {
            self.process(name).sigcont();
        }
        for name in killed {
            self.start_elsewhere(name).await;
        }
        self.wait_without(&[]).await;
    }

    /// A write of each kind is on all, and so is all that was written before.
    async fn share_again(&self) {
        let rust = self.rust.last().unwrap();
        assert_eq!(rust.sample("rust-again", "a").await, 200);
        let go = self.go.last().unwrap();
        let verdict = go.sample(TENANT, "go-again", "a").await.unwrap();
        assert!(verdict.accepted, "{verdict:?}");
        for member in self.members() {
            for cluster in ["rust-again", "go-again", "from-rust", "c1-0", "c1-9"] {
                member.wait_for_elected(cluster, "a").await;
            }
        }
    }
}

async fn live_through_all(mut ring: Ten, alone_hangs: bool) {
    ring.wait_without(&[]).await;
    assert_eq!(ring.rust[0].sample("from-rust", "a").await, 200);
    let verdict = ring.go[0].sample(TENANT, "from-go", "b").await.unwrap();
    assert!(verdict.accepted, "{verdict:?}");
    for member in ring.members() {
        member.wait_for_elected("from-rust", "a").await;
        member.wait_for_elected("from-go", "b").await;
    }
    share_keys(&ring.members(), 2).await;
    assert_no_complaints(&ring.go[0], &ring.rust[0]);
    ring.refute().await;
    ring.leave_and_come_back().await;
    // Both kinds hang and are killed, in one ring or the other as the one that is alone; in both with
    // `cargo xtask churn`, since a death takes half a minute to be noticed.
    let (hanging, killed) = match alone_hangs {
        true => ([ALONE, NAMES[6]], vec![NAMES[7]]),
        false => ([NAMES[5], NAMES[6]], vec![ALONE, NAMES[7]]),
    };
    ring.vanish(&hanging, &killed).await;
    if std::env::var_os("MEMBERLIST_CHURN_SECONDS").is_some() {
        let (hanging, killed) = match alone_hangs {
            true => (NAMES[2], ALONE),
            false => (ALONE, NAMES[2]),
        };
        ring.vanish(&[hanging], &[killed]).await;
    }
    ring.share_again().await;
}

#[tokio::test]
async fn a_distributor_among_nine_in_go() {
    live_through_all(Ten::nine_in_go().await, false).await;
}

#[tokio::test]
async fn one_in_go_among_nine_distributors() {
    live_through_all(Ten::nine_in_rust().await, true).await;
}
