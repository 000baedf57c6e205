//! Two distributors at half a core of load, while elected replicas fall silent, limits are loaded again,
//! the store is killed and certificates change: nothing grows, and nothing fails but what is disturbed.
//!
//! CI runs it for a minute; `cargo xtask soak` runs it for half an hour (`SOAK_SECONDS`), with a release
//! build.

mod bulk;
mod log;
mod usage;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use e2e::{
    Cluster, Distributor, Etcd, HaTracker, LONG, Ledger, Load, Metrics, REPLICAS, Sink, merge,
    wait_for,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::common::ha_config;
use crate::common::tls::Authority;
use bulk::Bulk;
use log::Injected;
use usage::Recorder;

/// Seconds without `SOAK_SECONDS`.
const SHORT_RUN: u64 = 45;
/// HA pairs whose every sample is accounted for.
const CLUSTERS: usize = 8;
/// Between two samples of a replica.
const INTERVAL: Duration = Duration::from_millis(200);
/// A sender tries the other distributor when one is silent for this long.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that none of the two may give to a push.
const FAILURES: [&str; 8] = ["400", "401", "413", "429", "499", "500", "502", "503"];
/// Counters that stay at zero.
const NEVER: [&str; 6] = [
    "cortex_discarded_requests_total",
    "cortex_discarded_samples_total",
    "cortex_distributor_instance_rejected_requests_total",
    "cortex_distributor_log_lines_dropped_total",
    "cortex_distributor_mixed_requests_total",
    "cortex_ha_tracker_replica_desc_failed_type_assertions_total",
];

struct Soak {
    distributors: [Distributor; 2],
    etcd: Etcd,
    sink: Sink,
    load: Load,
    ledger: Ledger,
    /// Certificate and key of the gRPC listeners.
    files: TempDir,
    injected: Vec<Injected>,
    failovers: u64,
    reloads: u64,
    restarts: u64,
    certificates: u64,
    /// Lines about a store that answered late without having been disturbed.
    late: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_grows_and_nothing_fails_but_what_is_disturbed() {
    let seconds = std::env::var("SOAK_SECONDS");
    let seconds = seconds.map_or(SHORT_RUN, |text| text.parse().unwrap());
    let mut soak = Soak::start().await;
    let processes = [0, 1].map(|number: usize| soak.distributors[number].process.id());
    let urls = [0, 1].map(|number: usize| soak.distributors[number].push_url());
    let bulk = Bulk::begin(&urls, processes);
    let recorder = Recorder::begin(processes);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut round = 0;
    while round == 0 || Instant::now() < end {
        soak.round(round).await;
        round += 1;
        // The ledger's books must not be what grows here.
        println!("{:4.0?} left, {round} rounds", end - Instant::now());
    }
    // After the last disturbance, all is as in the beginning.
    soak.load.pass(20).await.unwrap();
    let usage = recorder.end().await;
    let sent = bulk.end().await;
    println!("{}", usage.figures());
    soak.judge(&sent).await;
    println!("{}", soak.figures(seconds, &sent));
    usage.assert_flat();
}

impl Soak {
    async fn start() -> Self {
        let (etcd, sink) = (Etcd::start("etcd").await, Sink::start().await);
        sink.ignore(bulk::TENANT);
        let files = tempfile::tempdir().unwrap();
        put_certificate(&files, &Authority::new("first"));
        let mut config = json!({
            "distributor": {"ha_tracker": {"kvstore": {
                "store": "etcd", "etcd": {"endpoints": [etcd.endpoint()]},
            }}},
            "limits": {
                "ha_tracker_update_timeout": "1s",
                "ha_tracker_update_timeout_jitter_max": "100ms",
                "ha_tracker_failover_timeout": "6s",
            },
            "server": {"grpc_tls_config": {
                "cert_file": files.path().join("cert.pem"),
                "key_file": files.path().join("key.pem"),
            }},
        });
        let start = async |name: &str, config: &mut serde_json::Value| {
            let file = files.path().join(format!("{name}.yaml"));
            fs::write(&file, "overrides: {}\n").unwrap();
            let file = json!({"runtime_config": {"file": file, "period": "1s"}});
            merge(config, &file);
            Distributor::start(name, &ha_config(&sink, config)).await
        };
        let distributors = [
            start("d0", &mut config).await,
            start("d1", &mut config).await,
        ];
        let urls = distributors.iter().map(Distributor::push_url).collect();
        let mut load = Load::new(INTERVAL, TRY_TIMEOUT, urls);
        for number in 0..CLUSTERS {
            let cluster = Cluster::new("pairs", &format!("c{number}"));
            for replica in 0..REPLICAS.len() {
                load.begin(&cluster, replica, &[0, 1], None);
            }
        }
        load.pass(2).await.unwrap();
        Self {
            distributors,
            etcd,
            sink,
            load,
            ledger: Ledger::default(),
            files,
            injected: Vec::new(),
            failovers: 0,
            reloads: 0,
            restarts: 0,
            certificates: 0,
            late: 0,
        }
    }

    /// One of everything; a second between them.
    async fn round(&mut self, round: usize) {
        let pause = self.load.ticks_in(Duration::from_secs(1));
        self.fail_over(round).await;
        self.load.pass(pause).await.unwrap();
        self.reload(round).await;
        self.load.pass(pause).await.unwrap();
        self.restart_store().await;
        self.load.pass(pause).await.unwrap();
        self.change_certificate(round).await;
        self.load.pass(pause).await.unwrap();
        self.load.record(&self.sink, &mut self.ledger);
    }

    /// The elected replica of a cluster is silent until both name the other one.
    async fn fail_over(&mut self, round: usize) {
        let cluster = Cluster::new("pairs", &format!("c{}", round % CLUSTERS));
        let elected = wait_for("agreement", LONG, || self.elected(&cluster)).await;
        // On a busy machine a replica is ticks behind: its silence begins with what it sends next.
        let from = self.load.settle().await.unwrap();
        self.load.silence(&cluster, elected, true);
        wait_for("the other replica", LONG, || async {
            match self.elected(&cluster).await? {
                now if now == 1 - elected => Ok(()),
                now => Err(format!("{} is elected", REPLICAS[now])),
            }
        })
        .await;
        let gap = from.saturating_sub(1)..self.load.now();
        self.ledger.excuse(&cluster, gap);
        self.load.silence(&cluster, elected, false);
        self.failovers += 1;
    }

    /// The number of the replica that both name.
    async fn elected(&self, cluster: &Cluster) -> Result<usize, String> {
        let mut found = Vec::new();
        for distributor in &self.distributors {
            let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
            let mut rows = page.elected.into_iter();
            let row = rows.find(|row| row.tenant == cluster.tenant && row.cluster == cluster.name);
            found.push(row.map(|row| row.replica));
        }
        let position = |name: &str| REPLICAS.iter().position(|replica| *replica == name);
        match found.as_slice() {
            [Some(first), Some(second)] if first == second => {
                position(first).ok_or_else(|| first.clone())
            }
            differ => Err(format!("{differ:?}")),
        }
    }

    /// Other limits, and in every third round, before them, a file with a mistake.
    async fn reload(&mut self, round: usize) {
        let wrong = (round % 3 == 2).then_some("overrides: {pairs: {ha_max_clusters: many}}\n");
        let limit = 100 + round;
        let right = format!("overrides: {{pairs: {{ha_max_clusters: {limit}}}}}\n");
        for (text, successful) in wrong
            .map(|text| (text, 0.0))
            .into_iter()
            .chain([(&*right, 1.0)])
        {
            let began = SystemTime::now();
            for (distributor, name) in self.distributors.iter().zip(["d0", "d1"]) {
                let hash = hash(&distributor.metrics().await.unwrap());
                replace(&self.files, &format!("{name}.yaml"), text);
                if round % 2 == 1 {
                    distributor.process.sighup();
                }
                wait_for("the runtime configuration", LONG, || async {
                    let metrics = distributor.metrics().await?;
                    let last = "cortex_runtime_config_last_reload_successful";
                    let is_read = metrics.get(last, &[]) == Some(successful)
                        && (successful == 0.0 || self::hash(&metrics) != hash);
                    match is_read {
                        true => Ok(()),
                        false => Err(distributor.process.log()),
                    }
                })
                .await;
                self.reloads += 1;
            }
            if successful == 0.0 {
                self.injected
                    .push(Injected::since(began, &["runtime configuration"]));
            }
        }
    }

    /// It is killed, and back when it serves; calls that began before end with an error.
    async fn restart_store(&mut self) {
        let began = SystemTime::now();
        self.etcd.restart().await;
        // A failover, and what follows in the next round, need it.
        self.load
            .pass(self.load.ticks_in(Duration::from_secs(2)))
            .await
            .unwrap();
        self.injected
            .push(Injected::since(began, &["store", "etcd"]));
        self.restarts += 1;
    }

    /// Both show a certificate of an authority that did not exist before; in every third round, after a
    /// file that is no certificate.
    async fn change_certificate(&mut self, round: usize) {
        let began = SystemTime::now();
        if round % 3 == 2 {
            replace(&self.files, "cert.pem", "no certificate");
            for distributor in &self.distributors {
                wait_for("a refused certificate", LONG, || async {
                    let metrics = distributor.metrics().await?;
                    let name = "cortex_distributor_file_reload_successful";
                    match metrics.sum(name, &[("files", "server.grpc_tls_config")]) {
                        0.0 => Ok(()),
                        _ => Err(distributor.process.log()),
                    }
                })
                .await;
            }
        }
        let authority = Authority::new(&format!("authority {round}"));
        put_certificate(&self.files, &authority);
        for distributor in &self.distributors {
            let address = distributor.grpc_address();
            wait_for("the new certificate", LONG, || {
                shakes_hands(&address, &authority)
            })
            .await;
            self.certificates += 1;
        }
        // Certificate and key are replaced one after the other, and between the two they do not fit.
        self.injected
            .push(Injected::since(began, &["grpc_tls_config"]));
    }

    /// What became of all samples, and what the distributors say of it.
    async fn judge(&mut self, sent: &bulk::Sent) {
        let until = self.load.settle().await.unwrap();
        self.load.record(&self.sink, &mut self.ledger);
        let account = self.ledger.account(0..until);
        assert_eq!(self.ledger.strangers(), [""; 0]);
        assert!(account.doubled.is_empty(), "doubled: {:?}", account.doubled);
        assert!(
            account.unstored.is_empty(),
            "accepted, and not stored: {:?}",
            account.unstored
        );
        let mut changes = 0.0;
        for distributor in &self.distributors {
            let metrics = distributor.metrics().await.unwrap();
            changes += metrics.sum("cortex_ha_tracker_failovers_total", &[]);
            assert_nothing_failed(&metrics, distributor);
            self.late += log::assert_only_injected(&distributor.process, &self.injected);
        }
        // On a machine that stops for seconds there may be others, whose gaps are not excused.
        if changes == self.failovers as f64 {
            assert!(account.lost.is_empty(), "lost: {:?}", account.lost);
        }
        assert!(sent.problems.is_empty(), "{:?}", sent.problems);
        assert_eq!(
            sent.accepted,
            self.sink.ignored(bulk::TENANT),
            "bulk requests"
        );
        assert!(sent.accepted > 0 && sent.deduplicated > 0, "{sent:?}");
    }

    fn figures(&self, seconds: u64, sent: &bulk::Sent) -> String {
        let account = self.ledger.account(0..self.load.now());
        format!(
            "{seconds} s: {} samples of pairs, {} stored, {} deduplicated, {} lost beside failovers, \
             {} doubled, {} resent; {} bulk requests of {} series, half of them stored; {} failovers, {} \
             reloads, {} restarts of the store, {} changes of a certificate; {} lines \
             about a late store",
            account.sent,
            account.accepted,
            account.deduplicated,
            account.lost.len(),
            account.doubled.len(),
            account.resent,
            sent.accepted + sent.deduplicated,
            bulk::SERIES,
            self.failovers,
            self.reloads,
            self.restarts,
            self.certificates,
            self.late,
        )
    }
}

fn assert_nothing_failed(metrics: &Metrics, distributor: &Distributor) {
    let name = distributor.process.name();
    for counter in NEVER {
        assert_eq!(metrics.sum(counter, &[]), 0.0, "{name}: {counter}");
    }
    for status in FAILURES {
        let requests = "cortex_request_duration_seconds_count";
        let labels = [("route", "api_v1_push"), ("status_code", status)];
        assert_eq!(
            metrics.sum(requests, &labels),
            0.0,
            "{name}: pushes answered with {status}"
        );
    }
    let downstream = "cortex_distributor_downstream_request_duration_seconds_count";
    let (all, good) = (
        metrics.sum(downstream, &[]),
        metrics.sum(downstream, &[("status_code", "200")]),
    );
    assert!(
        all == good && all > 0.0,
        "{name}: {good} of {all} answers of the downstream are good"
    );
}

/// The hash of the runtime configuration in effect.
fn hash(metrics: &Metrics) -> String {
    let mut series = metrics.iter();
    let found = series.find(|(name, _, _)| *name == "cortex_runtime_config_hash");
    found.map_or(String::new(), |(_, labels, _)| format!("{labels:?}"))
}

/// Atomically, as tools for certificates and Kubernetes do.
fn replace(files: &TempDir, name: &str, text: &str) {
    let temporary = files.path().join("new");
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, files.path().join(name)).unwrap();
}

fn put_certificate(files: &TempDir, authority: &Authority) {
    let identity = authority.sign("127.0.0.1");
    for (name, from) in [("cert.pem", &identity.cert), ("key.pem", &identity.key)] {
        replace(files, name, &fs::read_to_string(from).unwrap());
    }
}

/// Over a new connection, with a certificate of this authority.
async fn shakes_hands(address: &str, authority: &Authority) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = connector.connect(name, stream).await;
    shaken.map(drop).map_err(|error| error.to_string())
}
