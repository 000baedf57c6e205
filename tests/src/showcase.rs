//! [`Showcase`]: a distributor with clusters in every state, for pictures of its pages and for tests
//! of them in a browser.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Distributor, LONG, Series, Sink, Version, merge, now_ms, wait_for};

/// How often replicas send.
const EVERY: Duration = Duration::from_millis(250);
/// Requests are of this many series at most.
const BATCH: usize = 5_000;

/// Tenant, cluster, and the number of replicas.
const CLUSTERS: [(&str, &str, usize); 10] = [
    ("infra", "eu-west-1-prod", 2),
    ("infra", "eu-west-1-staging", 2),
    ("infra", "us-east-1-prod", 2),
    ("infra", "ap-south-1-prod", 2),
    ("payments", "payments-prod", 2),
    ("payments", "payments-batch", 1),
    ("payments", "ledger", 2),
    ("web", "web-prod", 2),
    ("web", "web-canary", 2),
    ("web", "web-old", 2),
];

/// The cluster that has failed over.
pub const FAILED_OVER: (&str, &str) = ("infra", "eu-west-1-prod");
/// The one whose election was handed over.
pub const HANDED_OVER: (&str, &str) = ("web", "web-canary");
/// The one that is silent.
pub const SILENT: (&str, &str) = ("web", "web-old");

/// The name of a replica.
pub fn replica(cluster: &str, number: usize) -> String {
    format!("prometheus-{cluster}-{number}")
}

/// A distributor, and the senders that keep its clusters as they are.
pub struct Showcase {
    /// The one whose pages are shown.
    pub distributor: Distributor,
    senders: Senders,
    task: JoinHandle<()>,
    _sink: Sink,
}

#[derive(Clone, Default)]
struct Senders {
    /// Cluster and number of the replicas that do not send.
    silent: Arc<Mutex<HashSet<(String, usize)>>>,
}

impl Showcase {
    /// Starts it, and waits until there was a failover, an election by hand, and a cluster is silent.
    pub async fn start(name: &str, more: &Value) -> Self {
        let sink = Sink::start().await;
        let distributor = Distributor::start(name, &configuration(&sink, more)).await;
        let senders = Senders::default();
        let task = tokio::spawn(send_all_the_time(distributor.push_url(), senders.clone()));
        let showcase = Self {
            distributor,
            senders,
            task,
            _sink: sink,
        };
        showcase.set_up().await;
        showcase
    }

    async fn set_up(&self) {
        let (_, cluster) = FAILED_OVER;
        self.wait_elected(FAILED_OVER, 0).await;
        self.silence(cluster, 0);
        let (_, silent) = SILENT;
        self.wait_elected(SILENT, 0).await;
        for number in 0..2 {
            self.silence(silent, number);
        }
        self.wait_elected(FAILED_OVER, 1).await;
        self.speak(cluster, 0);
        let (tenant, cluster) = HANDED_OVER;
        let form = [
            ("tenant", tenant.to_owned()),
            ("cluster", cluster.to_owned()),
            ("replica", replica(cluster, 1)),
        ];
        let form: Vec<String> = form.map(|(key, value)| format!("{key}={value}")).into();
        let url = self.distributor.url("/distributor/ha_tracker/handover");
        let request = crate::http_client()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.join("&"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{answer:?}");
        self.wait_state(SILENT, "silent").await;
        self.wait_state(FAILED_OVER, "fine").await;
    }

    /// This replica sends nothing from now on.
    pub fn silence(&self, cluster: &str, number: usize) {
        let mut silent = self.senders.silent.lock().unwrap();
        silent.insert((cluster.to_owned(), number));
    }

    /// It sends again.
    pub fn speak(&self, cluster: &str, number: usize) {
        let mut silent = self.senders.silent.lock().unwrap();
        silent.remove(&(cluster.to_owned(), number));
    }

    /// Waits until this replica is elected.
    pub async fn wait_elected(&self, cluster: (&str, &str), number: usize) {
        let expected = replica(cluster.1, number);
        wait_for(&format!("{expected} to be elected"), LONG, || async {
            let row = self.row(cluster).await?;
            match row["replica"] == expected.as_str() {
                true => Ok(()),
                false => Err(row.to_string()),
            }
        })
        .await;
    }

    /// Waits until a cluster has this state.
    pub async fn wait_state(&self, cluster: (&str, &str), state: &str) {
        wait_for(&format!("{cluster:?} to be {state}"), LONG, || async {
            let row = self.row(cluster).await?;
            match row["state"] == state {
                true => Ok(()),
                false => Err(row.to_string()),
            }
        })
        .await;
    }

    async fn row(&self, (tenant, cluster): (&str, &str)) -> Result<Value, String> {
        let path = format!("/distributor/ha_tracker?tenant={tenant}&cluster={cluster}");
        let page = self.distributor.get_json(&path).await?;
        let rows = page["elected"].as_array().cloned().unwrap_or_default();
        let row = rows.into_iter().find(|row| row["cluster"] == cluster);
        row.ok_or_else(|| format!("{cluster} is not known yet"))
    }
}

impl Drop for Showcase {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A configuration in which each series is judged by itself, and replicas fail over within seconds.
fn configuration(sink: &Sink, more: &Value) -> String {
    let mut config = json!({
        "distributor": {
            "downstream": [{"url": sink.url(), "name": "mimir"}],
            "ha_tracker": {"enable_ha_tracker": true, "enable_handover": true},
        },
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": 0},
        "limits": {
            "accept_ha_samples": true,
            "ha_max_clusters": 0,
            "ha_tracker_per_sample_dedupe": true,
            "ha_tracker_update_timeout": "1s",
            "ha_tracker_update_timeout_jitter_max": "100ms",
            "ha_tracker_failover_timeout": "3s",
        },
    });
    merge(&mut config, more);
    config.to_string()
}

async fn send_all_the_time(url: String, senders: Senders) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for tenant in ["infra", "payments", "web"] {
            let series = senders.series(tenant);
            let sender = crate::Sender::new(&url).tenant(tenant);
            // A distributor that is stopped does not answer.
            let _ = sender.try_send(Version::V1, &series).await;
        }
    }
}

impl Senders {
    fn series(&self, tenant: &str) -> Vec<Series> {
        let silent = self.silent.lock().unwrap();
        let mut series = Vec::new();
        for (_, cluster, replicas) in CLUSTERS.iter().filter(|(of, ..)| *of == tenant) {
            for number in 0..*replicas {
                if !silent.contains(&((*cluster).to_owned(), number)) {
                    series.push(one(cluster, &replica(cluster, number)));
                }
            }
        }
        series
    }
}

fn one(cluster: &str, replica: &str) -> Series {
    let labels = [
        ("__name__", "up"),
        ("__replica__", replica),
        ("cluster", cluster),
    ];
    Series::floats(&labels, &[(now_ms(), 1.0)])
}

/// Has a distributor track this many more clusters of the tenant `many`, each with two replicas.
pub async fn add_clusters(distributor: &Distributor, clusters: usize) {
    let sender = distributor.sender("many").timeout(LONG);
    let names: Vec<String> = (0..clusters)
        .map(|number| format!("cluster-{number:06}"))
        .collect();
    for batch in names.chunks(BATCH / 2) {
        let series: Vec<Series> = batch
            .iter()
            .flat_map(|cluster| [0, 1].map(|number| one(cluster, &replica(cluster, number))))
            .collect();
        // As a sender does, it repeats what is refused for now.
        wait_for("clusters to be tracked", LONG, || async {
            let answer = sender.try_send(Version::V1, &series).await?;
            match answer.status {
                200 | 202 => Ok(()),
                _ => Err(format!("{answer:?}")),
            }
        })
        .await;
    }
}
