//! Failover without loss, at the sink: what the downstream has of a pair of which the elected replica
//! dies, each series and timestamp accounted for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::lossless::{
    CLUSTER, FAILOVER, Pair, SERIES, TENANT, account, assert_lossless, fleet, longest_gap,
    lossless, wait_elected,
};
use common::{elected, ha_config};
use e2e::{
    Consul, Distributor, Etcd, Fault, GossipMesh, LONG, Prometheus, PrometheusConfig,
    PrometheusVersion, RemoteWrite, Sink, Target, Version, merge, wait_for,
};
use serde_json::{Value, json};

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
