//! HA pairs send to distributors and to members in Go at once: one replica is elected everywhere, and
//! each scrape is stored once, whichever of them dies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use e2e::{
    Account, Cluster, LONG, Ledger, Load, MemberlistGo, Port, REPLICAS, SHORT, Sink, wait_for,
};
use serde_json::json;

use crate::{Either, Rust, TENANT, go_with, wait_for_ring};

/// Time between two scrapes of a replica.
const SCRAPE: Duration = Duration::from_millis(100);
/// A sender tries another receiver when one is silent for this long.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
/// Long enough that no death of a member makes a replica seem silent.
const FAILOVER: &str = "5s";
const CLUSTERS: usize = 6;

/// Three distributors and two members in Go, each of which receives all clusters; what they accept
/// goes to one sink.
struct Fleet {
    rust: Vec<Rust>,
    go: Vec<MemberlistGo>,
    /// Those of the members in Go, which keep them when they start again.
    _ports: [Port; 2],
    sink: Sink,
    load: Load,
    ledger: Ledger,
    /// Names of those that were killed.
    dead: BTreeSet<String>,
    from: u64,
    steps: Vec<(String, Range<u64>)>,
}

/// The elected replica of each cluster.
type Elected = BTreeMap<String, String>;

fn cluster(number: usize) -> Cluster {
    Cluster::new(TENANT, &format!("c{number}"))
}

impl Fleet {
    async fn start() -> Self {
        let sink = Sink::start().await;
        let ports = [Port::reserve(), Port::reserve()];
        let flags = ports.each_ref().map(|port| {
            [
                format!("-push.downstream={}", sink.url()),
                format!("-control.listen={}", port.address()),
                format!("-ha.failover-timeout={FAILOVER}"),
            ]
        });
        let flags = flags
            .each_ref()
            .map(|flags| flags.each_ref().map(String::as_str));
        let mut go = vec![go_with("go-1", &[], &flags[0]).await];
        let join = [go[0].gossip()];
        go.push(go_with("go-2", &join, &flags[1]).await);
        let join = [go[0].gossip(), go[1].gossip()];
        let more = json!({
            "limits": {"ha_tracker_failover_timeout": FAILOVER},
            "distributor": {"remote_timeout": "2s"},
        });
        let mut rust = Vec::new();
        for name in ["d1", "d2", "d3"] {
            rust.push(Rust::launch_before(&sink, name, &join, &more));
        }
        for member in &mut rust {
            member.distributor.wait_ready().await;
        }
        // From now on they know where to find the ring again.
        for member in &mut go {
            let found = rust.iter().map(Rust::address);
            let flags = found.map(|address| format!("-memberlist.join={address}").into());
            let arguments = &mut member.process.recipe_mut().arguments;
            arguments.splice(0..0, flags);
        }
        let urls = rust.iter().map(|member| member.distributor.push_url());
        let urls = urls.chain(go.iter().map(MemberlistGo::push_url));
        let load = Load::new(SCRAPE, TRY_TIMEOUT, urls.collect());
        let this = Self {
            from: load.now(),
            rust,
            go,
            _ports: ports,
            sink,
            load,
            ledger: Ledger::default(),
            dead: BTreeSet::new(),
            steps: Vec::new(),
        };
        wait_for_ring(&this.members()).await;
        this
    }

    fn members(&self) -> Vec<Either<'_>> {
        let rust = self.rust.iter().map(Either::Rust);
        rust.chain(self.go.iter().map(Either::Go)).collect()
    }

    fn kill_rust(&mut self, number: usize) {
        let member = &mut self.rust[number];
        self.dead.insert(member.name.to_owned());
        member.distributor.process.sigkill();
    }

    fn kill_go(&mut self, number: usize) {
        let member = &mut self.go[number];
        self.dead.insert(member.node().to_owned());
        member.process.sigkill();
    }

    /// Starts those that were killed again, at their addresses.
    async fn revive(&mut self) {
        for member in &mut self.rust {
            if self.dead.contains(member.name) {
                member.distributor.restart().await;
            }
        }
        for member in &mut self.go {
            if self.dead.contains(member.node()) {
                member.restart().await;
            }
        }
        self.dead.clear();
    }

    /// Both replicas of all clusters send to all; the first one is there a moment before the other, so
    /// that there is one election.
    async fn begin(&mut self) -> Elected {
        for replica in 0..REPLICAS.len() {
            for number in 0..CLUSTERS {
                self.load
                    .begin(&cluster(number), replica, &[0, 1, 2, 3, 4], None);
            }
            self.agreed().await;
        }
        let elected = self.agreed().await;
        let expected = (0..CLUSTERS).map(|number| (cluster(number).name, REPLICAS[0].to_owned()));
        assert_eq!(elected, expected.collect());
        elected
    }

    /// What all members that run say of all clusters.
    async fn agreement(&self) -> Result<Elected, String> {
        let mut all = BTreeMap::new();
        for member in self.members() {
            if self.dead.contains(member.name()) {
                continue;
            }
            let elected = member.elected().await?;
            if elected.len() != CLUSTERS {
                return Err(format!("{} knows {elected:?}", member.name()));
            }
            all.insert(member.name().to_owned(), elected);
        }
        let first = all.values().next().cloned().ok_or("none is there")?;
        match all.values().all(|elected| *elected == first) {
            true => Ok(first),
            false => Err(format!("{all:?}")),
        }
    }

    async fn agreed(&self) -> Elected {
        wait_for("all to agree", SHORT, || self.agreement()).await
    }

    /// Ends a step: each scrape since the last one is stored once.
    async fn step(&mut self, name: &str) {
        let until = self.load.settle().await.unwrap();
        let scrapes = self.from..until;
        let account = self.account(scrapes.clone());
        println!(
            "{name}: {} samples sent, {} accepted, {} deduplicated, {} sent again",
            account.sent, account.accepted, account.deduplicated, account.resent,
        );
        self.from = until;
        self.steps.push((name.to_owned(), scrapes));
        self.check(name, &account);
    }

    fn account(&mut self, scrapes: Range<u64>) -> Account {
        self.load.record(&self.sink, &mut self.ledger);
        self.ledger.account(scrapes)
    }

    fn check(&self, name: &str, account: &Account) {
        let wrong = (&account.lost, &account.doubled, &account.unstored);
        assert_eq!(wrong, (&vec![], &vec![], &vec![]), "{name}");
        assert_eq!(self.ledger.strangers(), [""; 0], "{name}");
    }

    async fn pass(&self, scrapes: u64) {
        self.load.pass(scrapes).await.unwrap();
    }

    /// The elected replicas of these clusters fall silent until all have elected the other one.
    async fn fail_over(&mut self, numbers: Range<usize>, elected: &mut Elected) {
        let from = self.load.now();
        for number in numbers.clone() {
            let name = cluster(number).name;
            let before = elected[&name].clone();
            let replica = REPLICAS.iter().position(|replica| *replica == before);
            let replica = replica.unwrap();
            self.load.silence(&cluster(number), replica, true);
            elected.insert(name, REPLICAS[1 - replica].to_owned());
        }
        wait_for("a failover everywhere", LONG, || async {
            match self.agreement().await? {
                agreed if agreed == *elected => Ok(()),
                agreed => Err(format!("{agreed:?}")),
            }
        })
        .await;
        let until = self.load.now();
        for number in numbers {
            for replica in 0..REPLICAS.len() {
                self.load.silence(&cluster(number), replica, false);
            }
            let silent = from.saturating_sub(1)..until;
            self.ledger.excuse(&cluster(number), silent);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_elect_under_load_through_deaths_on_both_sides() {
    let mut fleet = Fleet::start().await;
    let mut elected = fleet.begin().await;
    fleet.pass(10).await;
    fleet.step("begin").await;

    fleet.kill_rust(0);
    fleet.pass(20).await;
    assert_eq!(fleet.agreed().await, elected);
    fleet.revive().await;
    fleet.pass(10).await;
    fleet.step("a distributor killed, and back").await;

    fleet.kill_go(0);
    fleet.pass(20).await;
    assert_eq!(fleet.agreed().await, elected);
    fleet.revive().await;
    fleet.pass(10).await;
    assert_eq!(fleet.agreed().await, elected);
    fleet.step("one in Go killed, and back").await;

    fleet.fail_over(0..2, &mut elected).await;
    fleet.pass(10).await;
    fleet.step("failover").await;

    // With one of each kind dead, which the others do not know yet.
    fleet.kill_rust(1);
    fleet.kill_go(1);
    fleet.fail_over(2..4, &mut elected).await;
    fleet.revive().await;
    fleet.pass(10).await;
    assert_eq!(fleet.agreed().await, elected);
    fleet.step("failover with one of each dead").await;

    // All of one kind: the other kind has all elections.
    for number in 0..fleet.rust.len() {
        fleet.kill_rust(number);
    }
    fleet.pass(20).await;
    fleet.revive().await;
    fleet.pass(10).await;
    assert_eq!(fleet.agreed().await, elected);
    fleet.step("all distributors killed, and back").await;
    for number in 0..fleet.go.len() {
        fleet.kill_go(number);
    }
    fleet.pass(20).await;
    fleet.revive().await;
    fleet.pass(10).await;
    assert_eq!(fleet.agreed().await, elected);
    fleet.step("all in Go killed, and back").await;

    // Both kinds leave as in a rollout.
    fleet.rust[2].distributor.process.sigterm();
    let status = fleet.rust[2].distributor.process.wait_exit(LONG).await;
    assert!(status.success(), "{status}");
    fleet.go[1].process.sigterm();
    let status = fleet.go[1].process.wait_exit(LONG).await;
    assert!(status.success(), "{status}");
    fleet.pass(10).await;
    fleet.rust[2].distributor.restart().await;
    fleet.go[1].restart().await;
    fleet.pass(10).await;
    assert_eq!(fleet.agreed().await, elected);
    wait_for_ring(&fleet.members()).await;
    fleet.step("one of each restarted").await;

    // What arrived late has changed nothing.
    for (name, scrapes) in fleet.steps.clone() {
        let account = fleet.account(scrapes);
        fleet.check(&name, &account);
    }
}
