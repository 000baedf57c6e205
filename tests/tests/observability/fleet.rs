//! Two distributors with an HA pair, on their way from etcd to memberlist, and the Prometheus that
//! scrapes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::{
    Etcd, GossipMesh, LONG, Prometheus, PrometheusConfig, PrometheusVersion, Sender, Sink, Version,
    merge, wait_for,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::common::ha_series;
use crate::rules::shipped;

pub(crate) const TENANT: &str = "t";
pub(crate) const JOB: &str = "ha-distributor";
pub(crate) const NAMESPACE: &str = "test";
const CLUSTERS: [&str; 2] = ["c1", "c2"];
const SIZE: usize = 2;

pub(crate) struct ObservedFleet {
    pub(crate) sink: Sink,
    pub(crate) prometheus: Prometheus,
    mesh: GossipMesh,
    etcd: Etcd,
    pair: Pair,
    runtime: TempDir,
}

impl ObservedFleet {
    /// At step 0: etcd alone.
    pub(crate) async fn start() -> Self {
        let etcd = Etcd::start("etcd").await;
        let sink = Sink::start().await;
        let runtime = tempfile::tempdir().unwrap();
        write_runtime(&runtime, &json!({}));
        let config = configuration(&sink, &etcd, &runtime);
        let mut mesh = GossipMesh::launch(SIZE, move |_, _| config(0, &Value::Null));
        mesh.wait_ready().await;
        let prometheus = Prometheus::start("scraper", &scraper(&mesh)).await;
        let pair = Pair::begin(&mesh);
        Self {
            sink,
            prometheus,
            mesh,
            etcd,
            pair,
            runtime,
        }
    }

    /// A sender of the tenant to the first distributor.
    pub(crate) fn sender(&self) -> Sender {
        self.mesh.distributors[0].sender(TENANT)
    }

    /// Takes all distributors to a step, one after the other, as the guide says.
    pub(crate) async fn take_step(&mut self, step: u8) {
        match step {
            2 => self.switch(&json!({"mirror_enabled": true})),
            3 => self.switch(&json!({"primary": "memberlist", "mirror_enabled": true})),
            4 => self.switch(&json!({"primary": "memberlist", "mirror_enabled": false})),
            _ => self.restart_all(step).await,
        }
        wait_for(&format!("all to show step {step}"), LONG, || async {
            let expected = format!("instance:ha_distributor_migration_step == {step}");
            match self.prometheus.query(&expected).await? {
                rows if rows.len() == SIZE => Ok(()),
                rows => Err(format!("{rows:?}")),
            }
        })
        .await;
    }

    fn switch(&self, multi: &Value) {
        write_runtime(&self.runtime, &json!({ "multi_kv_config": multi }));
    }

    async fn restart_all(&mut self, step: u8) {
        let config = configuration(&self.sink, &self.etcd, &self.runtime);
        self.mesh
            .reconfigure(move |_, section| config(step, &section));
        for number in 0..SIZE {
            self.pair.avoid(Some(number));
            self.mesh.stop(number).await;
            self.mesh.restart(number).await;
        }
        self.pair.avoid(None);
    }

    /// Silences the elected replica of the pair until the other one is elected.
    pub(crate) async fn fail_over(&mut self) {
        let elected = self.elected().await;
        let [before] = elected.iter().collect::<Vec<_>>()[..] else {
            panic!("one replica should be elected: {elected:?}");
        };
        self.pair.silence(before, true);
        wait_for("a failover", LONG, || async {
            let now = self.elected().await;
            match now.len() == 1 && !now.contains(before) {
                true => Ok(()),
                false => Err(format!("{now:?}")),
            }
        })
        .await;
        self.pair.silence(before, false);
    }

    /// The replicas that are elected anywhere, as Prometheus has it.
    async fn elected(&self) -> BTreeSet<String> {
        let rows = self
            .prometheus
            .query("cortex_ha_tracker_elected_replica_status == 1")
            .await
            .unwrap();
        let replica = |row: &Value| row["metric"]["replica"].as_str().unwrap().to_owned();
        rows.iter().map(replica).collect()
    }

    /// etcd is gone for good.
    pub(crate) fn stop_etcd(&mut self) {
        self.etcd.process.sigkill();
    }
}

fn scraper(mesh: &GossipMesh) -> PrometheusConfig {
    let targets = mesh.distributors.iter();
    PrometheusConfig {
        targets: targets
            .map(|distributor| distributor.http_address().to_string())
            .collect(),
        job: JOB.to_owned(),
        // As in a cluster that names itself: the series of an election must keep their `cluster`.
        target_labels: vec![
            ("namespace".to_owned(), NAMESPACE.to_owned()),
            ("cluster".to_owned(), "kubernetes".to_owned()),
        ],
        honor_labels: true,
        rule_files: vec![fs::canonicalize(shipped("rules.yaml")).unwrap()],
        ..PrometheusConfig::receiver(PrometheusVersion::V3)
    }
}

/// From a step (0, 1 or 5; the ones between are taken at run time) and a `memberlist` section to a
/// configuration.
fn configuration(
    sink: &Sink,
    etcd: &Etcd,
    runtime: &TempDir,
) -> impl Fn(u8, &Value) -> String + Send + Sync + use<> {
    let etcd = json!({"endpoints": [etcd.endpoint()], "dial_timeout": "1s"});
    let base = json!({
        "limits": {
            "accept_ha_samples": true,
            "ha_max_clusters": CLUSTERS.len(),
            "ha_tracker_update_timeout": "500ms",
            "ha_tracker_update_timeout_jitter_max": "100ms",
            "ha_tracker_failover_timeout": "4s",
        },
        "distributor": {
            // Watched, as certificates and credentials are.
            "downstream": [{"url": sink.url(), "name": "sink", "bearer_token_file": token_file(runtime)}],
            "ha_tracker": {"enable_ha_tracker": true, "enable_elected_replica_metric": true, "enable_replica_metrics": true},
        },
        "runtime_config": {"file": runtime_file(runtime), "period": "200ms"},
    });
    move |step, section| {
        let mut config = base.clone();
        let kvstore = match step {
            0 => json!({"store": "etcd", "etcd": etcd}),
            1 => json!({
                "store": "multi",
                "multi": {"primary": "etcd", "secondary": "memberlist", "mirror_timeout": "1s"},
                "etcd": etcd,
            }),
            5 => json!({"store": "memberlist"}),
            other => panic!("step {other} is taken at run time"),
        };
        config["distributor"]["ha_tracker"]["kvstore"] = kvstore;
        if step > 0 {
            merge(&mut config, &json!({ "memberlist": section }));
        }
        config.to_string()
    }
}

fn token_file(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("token");
    fs::write(&file, "secret").unwrap();
    file
}

fn runtime_file(folder: &TempDir) -> PathBuf {
    folder.path().join("runtime.yaml")
}

/// Replaces the file as a whole.
fn write_runtime(folder: &TempDir, content: &Value) {
    let temporary = folder.path().join("new.yaml");
    fs::write(&temporary, content.to_string()).unwrap();
    fs::rename(temporary, runtime_file(folder)).unwrap();
}

/// An HA pair that sends all the time; each replica to all distributors, as through a load balancer.
struct Pair {
    state: Arc<PairState>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct PairState {
    silent: [AtomicBool; 2],
    avoided: Mutex<Option<usize>>,
}

const REPLICAS: [&str; 2] = ["a", "b"];

impl Pair {
    fn begin(mesh: &GossipMesh) -> Self {
        let state = Arc::new(PairState::default());
        let senders: Vec<Sender> = mesh
            .distributors
            .iter()
            .map(|distributor| distributor.sender(TENANT))
            .collect();
        let task = tokio::spawn(send_all_the_time(Arc::clone(&state), senders));
        Self { state, task }
    }

    /// A distributor that is about to stop gets nothing.
    fn avoid(&self, number: Option<usize>) {
        *self.state.avoided.lock().unwrap() = number;
    }

    fn silence(&self, replica: &str, silent: bool) {
        let index = REPLICAS.iter().position(|name| *name == replica).unwrap();
        self.state.silent[index].store(silent, Ordering::Relaxed);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send_all_the_time(state: Arc<PairState>, senders: Vec<Sender>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        for (replica, silent) in REPLICAS.iter().zip(&state.silent) {
            if silent.load(Ordering::Relaxed) {
                continue;
            }
            for (number, sender) in senders.iter().enumerate() {
                if *state.avoided.lock().unwrap() == Some(number) {
                    continue;
                }
                for cluster in CLUSTERS {
                    let series = [ha_series("m", cluster, replica)];
                    // A distributor that stops at this moment is no matter of the pair.
                    let _ = sender.try_send(Version::V2, &series).await;
                }
            }
        }
    }
}
