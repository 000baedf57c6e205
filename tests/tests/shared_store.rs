//! Several distributors on one etcd or one Consul: one election for all of them, whatever happens
//! to a distributor or to the store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::pairs::{Desc, REPLICAS, pair_series, send_to_any};
use common::{assert_text, elected, ha_config, now_ms};
use e2e::{Answer, Consul, Distributor, Etcd, HaTracker, LONG, Series, Sink, Version, wait_for};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

const TENANT: &str = "t1";
const CLUSTERS: [&str; 3] = ["c0", "c1", "c2"];
/// Longer than [`limits`]'s failover timeout.
const OUTAGE: Duration = Duration::from_secs(8);
/// Longer than a distributor waits after an outage before it fails over.
const AFTERWARDS: Duration = Duration::from_secs(8);

fn limits() -> Value {
    json!({
        "ha_tracker_update_timeout": "1s",
        "ha_tracker_update_timeout_jitter_max": "100ms",
        "ha_tracker_failover_timeout": "6s",
    })
}

/// Both servers behind one face.
enum Server {
    Etcd(Etcd),
    Consul(Consul),
}

impl Server {
    fn kvstore(&self) -> Value {
        match self {
            Self::Etcd(etcd) => json!({
                "store": "etcd",
                "etcd": {"endpoints": [etcd.endpoint()], "dial_timeout": "1s"},
            }),
            Self::Consul(consul) => json!({
                "store": "consul",
                "consul": {
                    "host": consul.host(),
                    "http_client_timeout": "2s",
                    "watch_rate_limit": 5,
                    "cas_retry_delay": "50ms",
                },
            }),
        }
    }

    fn process(&mut self) -> &mut e2e::Process {
        match self {
            Self::Etcd(etcd) => &mut etcd.process,
            Self::Consul(consul) => &mut consul.process,
        }
    }

    async fn restart(&mut self) {
        match self {
            Self::Etcd(etcd) => etcd.restart().await,
            Self::Consul(consul) => consul.restart().await,
        }
    }

    /// As another program reads it: the replica and its time.
    async fn stored(&self, cluster: &str) -> Option<(String, i64)> {
        let key = format!("ha-tracker/{TENANT}/{cluster}");
        let raw = match self {
            Self::Etcd(etcd) => etcd.get_raw(&key).await,
            Self::Consul(consul) => consul.get_raw(&key).await,
        };
        let desc = Desc::read(&raw.ok()??);
        Some((desc.replica, desc.received_at))
    }

    async fn keys(&self) -> BTreeSet<String> {
        let keys = match self {
            Self::Etcd(etcd) => etcd.keys("").await,
            Self::Consul(consul) => consul.keys("").await,
        };
        keys.unwrap().into_iter().collect()
    }
}

/// Three distributors, and an HA pair per cluster that takes them in turn.
struct Fleet {
    distributors: Vec<Distributor>,
    sink: Sink,
    round: i64,
    first_ms: i64,
    /// Each replica has one distributor, as over a connection that is kept alive, so that the
    /// others do not see it. Otherwise they take turns.
    pinned: bool,
    /// Who has the right to be stored.
    elected: BTreeMap<&'static str, usize>,
}

impl Fleet {
    async fn start(server: &Server) -> Self {
        let sink = Sink::start().await;
        let more = json!({
            "distributor": {"ha_tracker": {"kvstore": server.kvstore()}},
            "limits": limits(),
        });
        let config = ha_config(&sink, &more);
        let names = ["d0", "d1", "d2"];
        let distributors = join_all(names.map(|name| Distributor::start(name, &config))).await;
        Self {
            distributors,
            sink,
            round: 0,
            first_ms: now_ms(),
            pinned: false,
            elected: BTreeMap::new(),
        }
    }

    /// Sends as a load balancer would: to the next distributor if one cannot be reached.
    async fn send(&self, first: usize, series: &Series) -> Answer {
        let count = self.distributors.len();
        let turns = (first..first + count).map(|turn| turn % count);
        let senders = turns.map(|at| self.distributors[at].sender(TENANT));
        match send_to_any(senders, series).await {
            Ok(answer) => answer,
            Err(error) => panic!("no distributor answers: {error}"),
        }
    }

    /// A sample that tells by its value who sent it; all of a round have one time.
    fn series(&self, cluster: &str, replica: usize) -> Series {
        pair_series(cluster, replica, self.first_ms + self.round)
    }

    /// Both replicas of every cluster send one sample: exactly one is stored, always of the same
    /// replica, and all distributors name it.
    async fn round(&mut self) {
        let requests = CLUSTERS.iter().enumerate().flat_map(|(index, cluster)| {
            let this = &*self;
            (0..REPLICAS.len()).map(move |replica| async move {
                let turn = index + replica + usize::try_from(this.round).unwrap();
                let at = if this.pinned { replica } else { turn };
                let answer = this.send(at, &this.series(cluster, replica)).await;
                (*cluster, replica, answer)
            })
        });
        for (cluster, replica, answer) in join_all(requests).await {
            match answer.status {
                200 => {
                    let elected = *self.elected.entry(cluster).or_insert(replica);
                    assert_eq!(elected, replica, "round {}: {cluster} has two", self.round);
                }
                202 => {}
                _ => panic!("round {}: {cluster}: {answer:?}", self.round),
            }
        }
        assert_eq!(self.elected.len(), CLUSTERS.len(), "round {}", self.round);
        self.round += 1;
    }

    /// Every distributor names the replica that is elected.
    async fn assert_agreed(&self) {
        let pages = self
            .distributors
            .iter()
            .map(|distributor| distributor.page::<HaTracker>("/distributor/ha_tracker"));
        for page in join_all(pages).await {
            let page = page.unwrap();
            for (cluster, replica) in &self.elected {
                let row = page.elected.iter().find(|row| row.cluster == *cluster);
                let row = row.unwrap_or_else(|| panic!("{cluster} is unknown: {page:?}"));
                assert_eq!(row.replica, REPLICAS[*replica], "{cluster}");
            }
        }
    }

    async fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round().await;
            self.assert_agreed().await;
        }
    }

    async fn rounds_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.rounds(1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Rounds until the store has elections later than `since`.
    async fn rounds_until_written(&mut self, server: &Server, since: i64) {
        let end = Instant::now() + LONG;
        for cluster in CLUSTERS {
            loop {
                self.rounds(1).await;
                let stored = server.stored(cluster).await;
                if stored.as_ref().is_some_and(|(_, at)| *at > since) {
                    break;
                }
                assert!(Instant::now() < end, "{cluster} is not written: {stored:?}");
            }
        }
    }

    /// Every round from `from` on is stored, from one replica. A request may have been stored
    /// twice only if `repeated`: its sender saw a distributor die and tried another.
    fn assert_each_once(&self, from: i64, repeated: bool) {
        let stored = self.sink.samples();
        assert_eq!(stored.len(), CLUSTERS.len(), "{:?}", stored.keys());
        for (labels, samples) in stored {
            let mut by_round = BTreeMap::<i64, Vec<f64>>::new();
            for sample in samples {
                by_round
                    .entry(sample.timestamp - self.first_ms)
                    .or_default()
                    .push(f64::from_bits(sample.bits));
            }
            for round in from..self.round {
                let values = by_round.get(&round).map_or(&[][..], Vec::as_slice);
                assert!(!values.is_empty(), "{labels:?}: round {round} is lost");
                let one = values.iter().all(|value| *value == values[0]);
                assert!(one, "{labels:?}: round {round} came from both: {values:?}");
                assert!(
                    values.len() == 1 || repeated,
                    "{labels:?}: round {round} is stored {} times",
                    values.len()
                );
            }
        }
    }

    /// The elected replicas fall silent: the others take over, on all distributors.
    async fn fail_over(&mut self) {
        let before = std::mem::take(&mut self.elected);
        for (cluster, old) in before {
            let new = 1 - old;
            for at in 0..self.distributors.len() {
                let sender = self.distributors[at].sender(TENANT);
                wait_for(
                    &format!("a failover of {cluster} at {at}"),
                    LONG,
                    || async {
                        let series = self.series(cluster, new);
                        let answer = sender.send(Version::V1, &[series]).await;
                        match answer.status {
                            200 => Ok(()),
                            status => Err(format!("{status}: {}", answer.body)),
                        }
                    },
                )
                .await;
            }
            self.elected.insert(cluster, new);
        }
        self.round += 1;
    }
}

async fn one_election_for_all(mut server: Server) {
    let mut fleet = Fleet::start(&server).await;
    fleet.round().await;
    wait_for("all to know all clusters", LONG, || async {
        for distributor in &fleet.distributors {
            let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
            if page.elected.len() < CLUSTERS.len() {
                return Err(format!("{page:?}"));
            }
        }
        Ok(())
    })
    .await;
    fleet.rounds(60).await;
    fleet.assert_each_once(0, false);

    // A distributor dies, in the middle of requests.
    let killed = fleet.round;
    let mut dead = fleet.distributors.remove(1);
    dead.process.sigkill();
    fleet.distributors.insert(1, dead);
    for _ in 0..20 {
        fleet.round().await;
    }
    fleet.assert_each_once(killed, true);
    fleet.distributors[1].restart().await;
    fleet.rounds(20).await;

    // The store hangs, then it is killed: each time for longer than the failover timeout, and with
    // distributors that see one replica each, which must not take the store's silence for the
    // other's.
    fleet.pinned = true;
    for kill in [false, true] {
        let before = fleet.round;
        if kill {
            server.process().sigkill();
        } else {
            server.process().sigstop();
        }
        fleet.rounds_for(OUTAGE).await;
        let unknown = format!("unknown-{kill}");
        let answer = fleet.send(0, &fleet.series(&unknown, 0)).await;
        assert_text(&answer, 503, &["store", "retry"]);
        if kill {
            server.restart().await;
        } else {
            server.process().sigcont();
        }
        let back = now_ms();
        fleet.rounds_until_written(&server, back).await;
        fleet.rounds_for(AFTERWARDS).await;
        fleet.assert_each_once(before, false);
        wait_for("the unknown cluster to be accepted", LONG, || async {
            let answer = fleet.send(1, &fleet.series(&unknown, 0)).await;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
        fleet.sink.take();
    }

    fleet.pinned = false;
    fleet.fail_over().await;
    let after = fleet.round;
    fleet.rounds(30).await;
    fleet.assert_each_once(after, false);
    for (cluster, replica) in &fleet.elected {
        let (stored, _) = server.stored(cluster).await.unwrap();
        assert_eq!(stored, REPLICAS[*replica], "{cluster}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_election_for_all_on_etcd() {
    one_election_for_all(Server::Etcd(Etcd::start("etcd").await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_election_for_all_on_consul() {
    one_election_for_all(Server::Consul(Consul::start("consul").await)).await;
}

/// Cluster labels that try to reach the entry of another tenant.
const HOSTILE: [&str; 14] = [
    "../t2/prod",
    "..",
    ".",
    "/",
    "//t2/prod",
    "x/../../t2/prod",
    "%2e%2e/t2/prod",
    "..%2ft2%2fprod",
    "\\..\\t2\\prod",
    "prod?recurse",
    "prod#",
    "a b+c&d=e;f",
    "new\nline",
    "\u{202e}dorp",
];

async fn no_label_reaches_another_key(server: Server) {
    let sink = Sink::start().await;
    let more = json!({"distributor": {"ha_tracker": {"kvstore": server.kvstore()}}});
    let distributor = Distributor::start("hostile", &ha_config(&sink, &more)).await;
    let series = |cluster: &str, replica: &str| {
        let labels = [
            ("__name__", "m"),
            ("__replica__", replica),
            ("cluster", cluster),
        ];
        Series::floats(&labels, &[(now_ms(), 1.0)])
    };
    let victim = distributor.sender("t2");
    let answer = victim.send(Version::V1, &[series("prod", "good")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let victims_key = "ha-tracker/t2/prod".to_owned();
    let mut expected = BTreeSet::from([victims_key.clone()]);
    let attacker = distributor.sender(TENANT);
    for cluster in HOSTILE {
        let answer = attacker.send(Version::V1, &[series(cluster, "evil")]).await;
        match answer.status {
            // Kept, under exactly this key.
            200 => {
                expected.insert(format!("ha-tracker/{TENANT}/{cluster}"));
                assert!(elected(&distributor, TENANT, cluster).await.is_some());
            }
            // Refused for good, with the reason.
            400 => assert_text(&answer, 400, &["cannot hold the key", "ha-tracker/t1/"]),
            _ => panic!("{cluster:?}: {answer:?}"),
        }
        let answer = victim.send(Version::V1, &[series("prod", "good")]).await;
        assert_eq!(answer.status, 200, "after {cluster:?}: {answer:?}");
    }
    assert_eq!(server.keys().await, expected);
    match &server {
        // etcd keeps any bytes.
        Server::Etcd(_) => assert_eq!(expected.len(), 1 + HOSTILE.len()),
        Server::Consul(_) => {
            assert_eq!(expected.len(), 1 + HOSTILE.len() - 8);
            let refused = distributor.metrics().await.unwrap().sum(
                "cortex_discarded_samples_total",
                &[("user", TENANT), ("reason", "ha_cluster_not_storable")],
            );
            assert_eq!(refused, 8.0);
        }
    }
    let row = elected(&distributor, "t2", "prod").await.unwrap();
    assert_eq!(row["replica"], "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_reaches_another_key_on_etcd() {
    no_label_reaches_another_key(Server::Etcd(Etcd::start("etcd").await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_reaches_another_key_on_consul() {
    no_label_reaches_another_key(Server::Consul(Consul::start("consul").await)).await;
}
