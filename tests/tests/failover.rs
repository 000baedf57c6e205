//! Failover without loss, at the sink: what the downstream has of a pair of which the elected replica
//! dies, each series and timestamp accounted for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{elected, ha_config};
use e2e::{
    Consul, Distributor, Etcd, Fault, GossipMesh, LONG, Labels, Prometheus, PrometheusConfig,
    PrometheusVersion, RemoteWrite, Replica, ReplicaConfig, Sample, Sink, Target, Version,
    http_client, merge, wait_for,
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const TENANT: &str = "t";
const CLUSTER: &str = "c";
const SERIES: usize = 20;
const INTERVAL: Duration = Duration::from_millis(500);
const GUARD: Duration = Duration::from_millis(100);
const FAILOVER: Duration = Duration::from_secs(5);

fn lossless(more: &Value) -> Value {
    let mut limits = json!({
        "ha_failover_mode": "lossless",
        "ha_failover_guard": "100ms",
        "ha_failover_slice": "400ms",
        "ha_tracker_update_timeout": "1s",
        "ha_tracker_update_timeout_jitter_max": "100ms",
        "ha_tracker_failover_timeout": "5s",
        // A replica that is killed leaves a request without an answer, which could be one that waits.
        "ha_tracker_sender_backoff": "1s",
    });
    merge(&mut limits, more);
    json!({"limits": limits})
}

/// The pair: "a" scrapes early in each interval, "b" late.
struct Pair {
    a: Replica,
    b: Replica,
    _problems: mpsc::Receiver<String>,
}

impl Pair {
    /// Each replica sends its requests to the distributors in turn, as over a balancer.
    fn new(distributors: &[Distributor]) -> Self {
        let (problems, receiver) = mpsc::channel(1);
        let client = http_client();
        let replica = |name, version, part| {
            let config = ReplicaConfig {
                name,
                cluster: CLUSTER,
                series: SERIES,
                version,
                interval: INTERVAL,
                offset: INTERVAL.mul_f64(part),
                urls: distributors.iter().map(Distributor::push_url).collect(),
                receiver: "distributor",
                tenant: TENANT,
            };
            Replica::new(config, &client, problems.clone())
        };
        Self {
            a: replica("a", Version::V1, 0.1),
            b: replica("b", Version::V2, 0.6),
            _problems: receiver,
        }
    }

    /// Starts both, one after the other, so that "a" is elected; returns when both have sent for a
    /// while.
    async fn start(&mut self) {
        self.a.start();
        let a = &self.a;
        wait_for("the first samples to be stored", LONG, || async {
            let stored = a.counts().accepted;
            (stored > 0).then_some(()).ok_or(format!("{stored}"))
        })
        .await;
        self.b.start();
        let (a, b) = (&self.a, &self.b);
        wait_for("both replicas to be known", LONG, || async {
            let counts = (a.counts().accepted, b.counts().deduplicated);
            let enough = 4 * SERIES as u64;
            (counts.0 > enough && counts.1 > enough)
                .then_some(())
                .ok_or(format!("{counts:?}"))
        })
        .await;
    }

    /// Until samples of "b" are accepted, and some more of them.
    async fn wait_for_b(&self) {
        let b = &self.b;
        wait_for("the other replica to be accepted", LONG, || async {
            let accepted = b.counts().accepted;
            (accepted > 4 * SERIES as u64)
                .then_some(())
                .ok_or(format!("{accepted}"))
        })
        .await;
    }
}

/// What the downstream has of each series, in the order of arrival.
fn account(sink: &Sink) -> BTreeMap<Labels, Vec<Sample>> {
    let samples = sink.samples();
    assert_eq!(samples.len(), SERIES);
    for (labels, samples) in &samples {
        assert!(!labels.contains_key("__replica__"), "{labels:?}");
        let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp).collect();
        let backwards = times.windows(2).find(|pair| pair[1] <= pair[0]);
        assert_eq!(backwards, None, "in {times:?} of {labels:?}");
    }
    samples
}

/// The longest time without a sample, of any series, ms.
fn longest_gap(samples: &BTreeMap<Labels, Vec<Sample>>) -> i64 {
    let of_series = |samples: &Vec<Sample>| {
        let pairs = samples.windows(2);
        pairs
            .map(|pair| pair[1].timestamp - pair[0].timestamp)
            .max()
    };
    samples.values().filter_map(of_series).max().unwrap()
}

/// Nothing doubled, nothing out of order, and at most one scrape and the guard missing.
fn assert_lossless(sink: &Sink) {
    let samples = account(sink);
    let most = (2 * INTERVAL + GUARD).as_millis() as i64;
    let longest = longest_gap(&samples);
    assert!(
        longest <= most,
        "{longest} ms without a sample: {samples:?}"
    );
}

/// The elected replica dies: the other one continues where it ended.
async fn elected_dies(distributors: &[Distributor], sink: &Sink) {
    let mut pair = Pair::new(distributors);
    pair.start().await;
    pair.a.kill();
    pair.wait_for_b().await;
    let row = elected(&distributors[0], TENANT, CLUSTER).await.unwrap();
    assert_eq!(row["replica"], "b");
    pair.b.finish().await;
    assert_lossless(sink);
}

async fn fleet(sink: &Sink, kvstore: &Value) -> Vec<Distributor> {
    let mut more = lossless(&json!({}));
    merge(
        &mut more,
        &json!({"distributor": {"ha_tracker": {"kvstore": kvstore}}}),
    );
    let config = ha_config(sink, &more);
    let names = ["d0", "d1", "d2"];
    join_all(names.map(|name| Distributor::start(name, &config))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_distributor_nothing_is_lost() {
    let sink = Sink::start().await;
    let mut more = lossless(&json!({}));
    let inmemory = json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}});
    merge(&mut more, &inmemory);
    let distributor = Distributor::start("one", &ha_config(&sink, &more)).await;
    elected_dies(std::slice::from_ref(&distributor), &sink).await;
    let metrics = distributor.metrics().await.unwrap();
    let of = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    assert!(of("ha_failover_replayed_samples_total", &[]) > 0.0);
    assert!(of("ha_failover_held_requests_total", &[]) > 0.0);
    assert_eq!(of("ha_failover_plans_total", &[("reason", "fixed")]), 1.0);
    assert_eq!(
        of("ha_failover_released_requests_total", &[("reason", "lost")]),
        0.0
    );
}

/// What the mode is for: the same in classic mode loses the failover timeout.
#[tokio::test(flavor = "multi_thread")]
async fn in_classic_mode_the_failover_timeout_is_lost() {
    let sink = Sink::start().await;
    let mut more = lossless(&json!({"ha_failover_mode": "classic"}));
    let inmemory = json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}});
    merge(&mut more, &inmemory);
    let distributors = [Distributor::start("classic", &ha_config(&sink, &more)).await];
    let mut pair = Pair::new(&distributors);
    pair.start().await;
    pair.a.kill();
    pair.wait_for_b().await;
    pair.b.finish().await;
    assert!(longest_gap(&account(&sink)) >= FAILOVER.as_millis() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_distributors_on_etcd_nothing_is_lost() {
    let (etcd, sink) = (Etcd::start("etcd").await, Sink::start().await);
    let endpoints = json!({"endpoints": [etcd.endpoint()], "dial_timeout": "1s"});
    let fleet = fleet(&sink, &json!({"store": "etcd", "etcd": endpoints})).await;
    elected_dies(&fleet, &sink).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_distributors_on_consul_nothing_is_lost() {
    let (consul, sink) = (Consul::start("consul").await, Sink::start().await);
    let host = json!({
        "host": consul.host(),
        "http_client_timeout": "2s",
        "watch_rate_limit": 5,
        "cas_retry_delay": "50ms",
    });
    let fleet = fleet(&sink, &json!({"store": "consul", "consul": host})).await;
    elected_dies(&fleet, &sink).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_distributors_that_gossip_nothing_is_lost() {
    let sink = Sink::start().await;
    let base: Value = serde_json::from_str(&ha_config(&sink, &lossless(&json!({})))).unwrap();
    let mut mesh = GossipMesh::launch(3, move |_, section| {
        let mut config = base.clone();
        merge(&mut config, &json!({"memberlist": section}));
        config.to_string()
    });
    mesh.wait_ready().await;
    elected_dies(&mesh.distributors, &sink).await;
}

/// A slow downstream keeps requests in flight while the elected replica dies.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_downstream_is_slow_nothing_is_doubled_or_out_of_order() {
    let (etcd, sink) = (Etcd::start("etcd").await, Sink::start().await);
    let endpoints = json!({"endpoints": [etcd.endpoint()], "dial_timeout": "1s"});
    let fleet = fleet(&sink, &json!({"store": "etcd", "etcd": endpoints})).await;
    let mut pair = Pair::new(&fleet);
    pair.start().await;
    sink.fail(Fault::Delay(Duration::from_millis(300)));
    let accepted = pair.a.counts().accepted;
    let a = &pair.a;
    wait_for("some slow requests", LONG, || async {
        let now = a.counts().accepted;
        (now > accepted + 4 * SERIES as u64)
            .then_some(())
            .ok_or(format!("{now}"))
    })
    .await;
    pair.a.kill();
    pair.wait_for_b().await;
    sink.heal();
    pair.b.finish().await;
    assert_lossless(&sink);
}

/// The hold is bounded: with a bound below what the failover needs, the oldest is evicted, what is
/// left is in order, and other clusters do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_hold_evicts_the_oldest_and_counts_it() {
    let sink = Sink::start().await;
    let mut more = lossless(&json!({"ha_failover_hold_bytes": "4KiB"}));
    let inmemory = json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}});
    merge(&mut more, &inmemory);
    let distributors = [Distributor::start("full", &ha_config(&sink, &more)).await];
    let mut pair = Pair::new(&distributors);
    pair.start().await;
    pair.a.kill();
    pair.wait_for_b().await;
    pair.b.finish().await;
    account(&sink);
    let metrics = distributors[0].metrics().await.unwrap();
    let evicted = metrics.sum(
        "ha_failover_released_requests_total",
        &[("reason", "evicted")],
    );
    assert!(evicted > 0.0);
    assert!(metrics.sum("ha_failover_held_bytes", &[]) <= 4096.0);
}

/// Counts up steadily, by this many per second.
const RATE: f64 = 1000.0;

async fn count_up(target: &Target) {
    let start = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let total = RATE * start.elapsed().as_secs_f64();
        target.set_counter("steady_total", &[], total, None);
    }
}

/// A real pair, and a real backend that takes nothing out of order.
#[tokio::test(flavor = "multi_thread")]
async fn between_real_prometheus_servers_nothing_is_out_of_order_and_rates_hold() {
    let target = Target::start().await;
    tokio::select! {
        () = count_up(&target) => {}
        () = real_pair(&target) => {}
    }
}

async fn real_pair(target: &Target) {
    let receiver = PrometheusConfig::receiver(PrometheusVersion::V3);
    let backend = Prometheus::start("backend", &receiver).await;
    let mut more = lossless(&json!({"ha_failover_guard": "200ms"}));
    let inmemory = json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}});
    merge(&mut more, &inmemory);
    let sink = Sink::start().await;
    let mut config: Value = serde_json::from_str(&ha_config(&sink, &more)).unwrap();
    config["distributor"]["downstream"][0]["url"] = backend.write_url().into();
    let distributor = Distributor::start("real", &config.to_string()).await;
    let sender = |replica| {
        let write = RemoteWrite::new(&distributor.push_url(), Version::V1, TENANT);
        let external = [("cluster", CLUSTER), ("__replica__", replica)];
        let version = PrometheusVersion::V3;
        PrometheusConfig::sender(version, &external, target.address(), write)
    };
    let mut a = Prometheus::start("a", &sender("a")).await;
    wait_elected(&distributor, "a").await;
    let b = Prometheus::start("b", &sender("b")).await;
    wait_for("some requests to be held", LONG, || async {
        let held = distributor.metrics().await?;
        let held = held.sum("ha_failover_held_requests_total", &[]);
        (held > 5.0).then_some(()).ok_or(format!("{held}"))
    })
    .await;
    let killed_s = e2e::now_ms() as f64 / 1000.0;
    a.process.sigkill();
    wait_elected(&distributor, "b").await;
    let until_s = e2e::now_ms() as f64 / 1000.0 + 5.0;
    let series = "timestamp(steady_total{cluster='c'})";
    wait_for("later samples at the backend", LONG, || async {
        let found = backend.query(series).await?;
        let at = found.first().ok_or("none")?["value"][1].as_str();
        let at: f64 = at.unwrap_or_default().parse().map_err(|_| "no number")?;
        (at > until_s).then_some(()).ok_or(format!("{at}"))
    })
    .await;

    let rate = "rate(steady_total{cluster='c'}[4s])";
    let found = backend.query_range(rate, killed_s, until_s, 0.5).await;
    let found = found.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let values = found[0]["values"].as_array().unwrap();
    // None is missing.
    assert!(
        values.len() as f64 >= (until_s - killed_s) / 0.5,
        "{values:?}"
    );
    for value in values {
        let rate: f64 = value[1].as_str().unwrap().parse().unwrap();
        assert!((rate / RATE - 1.0).abs() <= 0.1, "{value} in {values:?}");
    }
    let metrics = backend.metrics().await.unwrap();
    let out_of_order = "prometheus_tsdb_out_of_order_samples_total";
    assert_eq!(metrics.sum(out_of_order, &[]), 0.0);
    let metrics = b.metrics().await.unwrap();
    let failed = "prometheus_remote_storage_samples_failed_total";
    assert_eq!(metrics.sum(failed, &[]), 0.0);
    let metrics = distributor.metrics().await.unwrap();
    assert_eq!(metrics.sum("ha_failover_replays_refused_total", &[]), 0.0);
    assert!(metrics.sum("ha_failover_replayed_samples_total", &[]) > 0.0);
}

async fn wait_elected(distributor: &Distributor, replica: &str) {
    wait_for("the election", LONG, || async {
        let row = elected(distributor, TENANT, CLUSTER).await;
        let is_elected = row.as_ref().is_some_and(|row| row["replica"] == replica);
        is_elected.then_some(()).ok_or(format!("{row:?}"))
    })
    .await;
}
