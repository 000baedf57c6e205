//! A mesh under load, and what has to be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use e2e::{
    Account, Cluster, Distributor, GossipMesh, HaTracker, LONG, Ledger, Load, MembersPage, SHORT,
    Sink, wait_for,
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::{ha_config, merge};

pub(crate) const TENANT: &str = "t1";
/// Time between two scrapes of one replica.
pub(crate) const SCRAPE: Duration = Duration::from_millis(100);
/// A sender tries another distributor when one is silent for this long.
const TRY_TIMEOUT: Duration = Duration::from_secs(1);
pub(crate) const FAILOVER: Duration = Duration::from_secs(3);
const UPDATE: Duration = Duration::from_millis(500);
const JITTER: Duration = Duration::from_millis(100);

/// The longest that a cluster may be without an elected replica that sends: its silence is noticed
/// after the failover timeout, and after a disturbance (a call of more than a second, as on a busy
/// machine) entries are given another 5 s, an update's jitter, a poll and 1 s to be refreshed. Then
/// reading the entry may take as long as a store may take before it counts as unavailable. The last
/// second is for scrapes in between.
pub(crate) const SILENCE_AT_MOST: Duration = Duration::from_millis(3_000 + 6_200 + 5_000 + 1_000);

/// The tracker's settings in these tests.
pub(crate) fn limits() -> Value {
    json!({
        "ha_tracker_update_timeout": humantime::format_duration(UPDATE).to_string(),
        "ha_tracker_update_timeout_jitter_max": humantime::format_duration(JITTER).to_string(),
        "ha_tracker_failover_timeout": humantime::format_duration(FAILOVER).to_string(),
    })
}

/// The configuration of every member of a mesh, with `more` in its `memberlist` section.
pub(crate) fn mesh_config(
    sink: &Sink,
    more: Value,
) -> impl Fn(usize, Value) -> String + Send + Sync + 'static {
    let base = json!({
        "limits": limits(),
        "distributor": {"remote_timeout": "2s"},
    });
    let base = ha_config(sink, &base);
    let base: Value = serde_json::from_str(&base).unwrap();
    move |_, mut section| {
        merge(&mut section, &more);
        let mut config = base.clone();
        merge(&mut config, &json!({ "memberlist": section }));
        config.to_string()
    }
}

/// What every node's pages say about the elections.
pub(crate) type Elected = BTreeMap<String, String>;

/// Distributors, a sink behind them, and a load on them.
pub(crate) struct Fleet {
    pub(crate) mesh: GossipMesh,
    pub(crate) sink: Sink,
    pub(crate) load: Load,
    ledger: Ledger,
    /// Where the scrapes begin that no step has looked at.
    from: u64,
    began: Instant,
    steps: Vec<(String, Range<u64>, Bounds)>,
}

/// What may become of the scrapes of a step. By default none is lost, and none is doubled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// How many scrapes of one cluster may be lost.
    pub(crate) lost: usize,
    /// Scrapes before this one are not looked at: the distributors did not agree yet. Which of them
    /// a sample reaches then decides whether it is stored, so that a scrape can be lost or doubled.
    pub(crate) agreed_at: u64,
}

/// How many scrapes there are in this time.
pub(crate) fn scrapes_in(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / SCRAPE.as_millis()).unwrap()
}

impl Fleet {
    pub(crate) fn new(mesh: GossipMesh, sink: Sink) -> Self {
        let push_urls = mesh.distributors.iter().map(Distributor::push_url);
        let load = Load::new(SCRAPE, TRY_TIMEOUT, push_urls.collect());
        Self {
            from: load.now(),
            mesh,
            sink,
            load,
            ledger: Ledger::default(),
            began: Instant::now(),
            steps: Vec::new(),
        }
    }

    /// The pages of those that run are right within [`LONG`].
    pub(crate) async fn settled(&self, running: &[usize]) -> Vec<MembersPage> {
        wait_for("the members' pages to be right", LONG, || {
            self.mesh.settled(running)
        })
        .await
    }

    /// Who is elected, if these members say the same of exactly these clusters, in both of their
    /// pages.
    pub(crate) async fn agreement(
        &self,
        among: &[usize],
        clusters: &BTreeSet<String>,
    ) -> Result<Elected, String> {
        let mut all = BTreeMap::new();
        for number in among {
            let distributor = &self.mesh.distributors[*number];
            let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
            let rows = page.elected.into_iter();
            let elected: Elected = rows.map(|row| (row.cluster, row.replica)).collect();
            let known: BTreeSet<String> = elected.keys().cloned().collect();
            if known != *clusters {
                return Err(format!("d{number} tracks {known:?}"));
            }
            let keys = self.mesh.page(*number).await?.keys;
            let wanted: BTreeSet<String> = clusters.iter().map(|name| key(name)).collect();
            if keys != wanted {
                return Err(format!("d{number} stores {keys:?}"));
            }
            all.insert(*number, elected);
        }
        let mut different = all.values();
        let first = different.next().cloned().unwrap_or_default();
        if different.all(|elected| *elected == first) {
            Ok(first)
        } else {
            Err(format!("they differ: {all:?}"))
        }
    }

    /// [`Fleet::agreement`] within a time.
    pub(crate) async fn agreed(
        &self,
        within: Duration,
        among: &[usize],
        clusters: &BTreeSet<String>,
    ) -> Elected {
        wait_for("all to agree", within, || self.agreement(among, clusters)).await
    }

    /// [`Fleet::settled`] and [`Fleet::agreed`].
    pub(crate) async fn all_right(
        &self,
        running: &[usize],
        clusters: &BTreeSet<String>,
    ) -> Elected {
        self.settled(running).await;
        self.agreed(SHORT, running, clusters).await
    }

    /// A replica of a cluster begins to send to these distributors, in turn.
    pub(crate) fn begin(&mut self, cluster: &str, replica: usize, to: &[usize]) {
        let cluster = Cluster::new(TENANT, cluster);
        self.load.begin(&cluster, replica, to, None);
    }

    /// A replica of a cluster sends one sample to this distributor, and never again.
    pub(crate) fn begin_and_end(&mut self, cluster: &str, replica: usize, to: usize) {
        let cluster = Cluster::new(TENANT, cluster);
        self.load.begin(&cluster, replica, &[to], Some(1));
    }

    /// A replica of a cluster falls silent, or is back.
    pub(crate) fn silence(&self, cluster: &str, replica: usize, silent: bool) {
        let cluster = Cluster::new(TENANT, cluster);
        self.load.silence(&cluster, replica, silent);
    }

    /// Waits until this many more scrapes have been answered; which they are.
    pub(crate) async fn pass(&self, more: u64) -> Range<u64> {
        self.load.pass(more).await.unwrap()
    }

    /// What became of these scrapes, all of which are answered.
    pub(crate) fn account(&mut self, scrapes: Range<u64>) -> Account {
        self.load.record(&self.sink, &mut self.ledger);
        let account = self.ledger.account(scrapes);
        assert_eq!(account.unstored, [], "accepted, and not stored");
        assert_eq!(self.ledger.strangers(), [""; 0]);
        account
    }

    /// Ends a step: all scrapes since the last one are within these bounds.
    pub(crate) async fn step(&mut self, name: &str, bounds: Bounds) {
        let until = self.load.settle().await.unwrap();
        let scrapes = self.from..until;
        let account = self.account(scrapes.clone());
        println!(
            "{:6.2?} {name}: {} scrapes, lost {:?}, doubled {:?}, sent again {}",
            self.began.elapsed(),
            scrapes.clone().count(),
            by_cluster(&account.lost),
            by_cluster(&account.doubled),
            account.resent,
        );
        self.from = until;
        bounds.check(name, &account);
        self.steps.push((name.to_owned(), scrapes, bounds));
    }

    /// All steps once more: what arrived late has changed nothing.
    pub(crate) fn check_again(&mut self) {
        for (name, scrapes, bounds) in self.steps.clone() {
            let account = self.account(scrapes);
            bounds.check(&name, &account);
        }
    }
}

impl Bounds {
    fn check(&self, name: &str, account: &Account) {
        let counted = |of: &[(u64, Cluster)]| {
            let late = |scrapes: &Vec<u64>| {
                let late = scrapes.iter().filter(|at| **at >= self.agreed_at);
                late.count()
            };
            by_cluster(of).values().map(late).max().unwrap_or(0)
        };
        assert_eq!(
            counted(&account.doubled),
            0,
            "{name}: {self:?}: {account:?}"
        );
        assert!(
            counted(&account.lost) <= self.lost,
            "{name}: {self:?}: {account:?}"
        );
    }
}

/// The scrapes of each cluster.
pub(crate) fn by_cluster(all: &[(u64, Cluster)]) -> BTreeMap<&str, Vec<u64>> {
    let mut scrapes = BTreeMap::<&str, Vec<u64>>::new();
    for (scrape, cluster) in all {
        scrapes.entry(&cluster.name).or_default().push(*scrape);
    }
    scrapes
}

/// The store's key of a cluster.
pub(crate) fn key(cluster: &str) -> String {
    format!("ha-tracker/{TENANT}/{cluster}")
}

/// The value of a key, as the page of each of these members shows it.
pub(crate) async fn values(mesh: &GossipMesh, among: &[usize], cluster: &str) -> Vec<Value> {
    let path = format!("/memberlist?viewKey={}&format=json", key(cluster));
    join_all(among.iter().map(|number| {
        let path = path.clone();
        async move { mesh.distributors[*number].get_json(&path).await.unwrap() }
    }))
    .await
}
