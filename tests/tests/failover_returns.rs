//! Failover without loss, where the elected replica comes back soon, or dies with a request open.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{elected, ha_config};
use e2e::{
    Distributor, Fault, LONG, Replica, ReplicaConfig, Sink, Version, http_client, merge, wait_for,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

const TENANT: &str = "t";
const CLUSTER: &str = "c";
const SERIES: usize = 20;
const INTERVAL: Duration = Duration::from_secs(1);
const GUARD: Duration = Duration::from_millis(100);
/// Scrapes after which a distributor relies on how often a replica sends: a minute, and some more.
const KNOWN_AFTER: u64 = 66;

async fn distributor(sink: &Sink, limits: &Value) -> Distributor {
    let mut more = json!({
        "limits": {
            "ha_failover_guard": "100ms",
            "ha_failover_slice": "400ms",
            "ha_tracker_update_timeout_jitter_max": "100ms",
        },
        "distributor": {
            "remote_timeout": "30s",
            "ha_tracker": {"kvstore": {"store": "inmemory"}},
        },
    });
    merge(&mut more, &json!({"limits": limits}));
    Distributor::start("one", &ha_config(sink, &more)).await
}

/// One of the pair; `part` is when in each interval it scrapes.
fn replica(name: &'static str, part: f64, to: &Distributor) -> Replica {
    let config = ReplicaConfig {
        name,
        cluster: CLUSTER,
        series: SERIES,
        version: Version::V1,
        interval: INTERVAL,
        offset: INTERVAL.mul_f64(part),
        urls: vec![to.push_url()],
        receiver: "distributor",
        tenant: TENANT,
    };
    Replica::new(config, &http_client(), mpsc::channel(1).0)
}

/// Starts both, so that "a" is elected.
async fn start(a: &mut Replica, b: &mut Replica) {
    a.start();
    wait_until("samples of a to be stored", LONG, a, |a| {
        a.counts().accepted > 0
    })
    .await;
    b.start();
    wait_until("samples of b to be answered", LONG, b, |b| {
        b.counts().deduplicated > SERIES as u64
    })
    .await;
}

async fn wait_until(
    what: &str,
    most: Duration,
    replica: &Replica,
    is_so: impl Fn(&Replica) -> bool,
) {
    wait_for(what, most, || async {
        let counts = replica.counts();
        is_so(replica).then_some(()).ok_or(format!("{counts:?}"))
    })
    .await;
}

async fn wait_elected(distributor: &Distributor, replica: &str) {
    wait_for("the election", LONG, || async {
        let row = elected(distributor, TENANT, CLUSTER).await;
        let is_elected = row.as_ref().is_some_and(|row| row["replica"] == replica);
        is_elected.then_some(()).ok_or(format!("{row:?}"))
    })
    .await;
}

/// A restart that is much faster than the failover timeout of 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_three_intervals_leaves_no_hole() {
    let sink = Sink::start().await;
    let distributor = distributor(&sink, &json!({"ha_failover_mode": "lossless"})).await;
    let mut a = replica("a", 0.1, &distributor);
    let mut b = replica("b", 0.6, &distributor);
    start(&mut a, &mut b).await;
    let known = KNOWN_AFTER * SERIES as u64;
    let minutes = Duration::from_secs(180);
    wait_until("a to be known", minutes, &a, |a| {
        a.counts().accepted >= known
    })
    .await;

    let before = b.counts().deduplicated;
    a.kill();
    wait_until("b to have sent meanwhile", LONG, &b, |b| {
        b.counts().deduplicated >= before + 4 * SERIES as u64
    })
    .await;
    a.start();
    wait_elected(&distributor, "b").await;
    wait_until("samples of b to be stored", LONG, &b, |b| {
        b.counts().accepted > 4 * SERIES as u64
    })
    .await;
    a.finish().await;
    b.finish().await;

    let most_ms = (2 * INTERVAL + GUARD).as_millis() as i64;
    for (labels, samples) in sink.samples() {
        for pair in samples.windows(2) {
            let apart_ms = pair[1].timestamp - pair[0].timestamp;
            assert!(
                (1..=most_ms).contains(&apart_ms),
                "{apart_ms} ms between {pair:?} of {labels:?}"
            );
        }
    }
    let metrics = distributor.metrics().await.unwrap();
    let plans = |reason| metrics.sum("ha_failover_plans_total", &[("reason", reason)]);
    assert_eq!((plans("fixed"), plans("withdrawn")), (1.0, 0.0));
}

/// The connection of a replica that dies breaks: that is no refusal, after which senders may wait for
/// a minute.
async fn dies_with_a_request_open(mode: &str) {
    let sink = Sink::start().await;
    let limits = json!({
        "ha_failover_mode": mode,
        "ha_tracker_update_timeout": "1s",
        "ha_tracker_failover_timeout": "6s",
        "ha_tracker_sender_backoff": "10m",
    });
    let distributor = distributor(&sink, &limits).await;
    let mut a = replica("a", 0.1, &distributor);
    let mut b = replica("b", 0.6, &distributor);
    start(&mut a, &mut b).await;
    // From now on a request of it is always open.
    let before = a.counts().accepted;
    sink.fail(Fault::Delay(2 * INTERVAL));
    wait_until("slow answers", LONG, &a, |a| {
        a.counts().accepted > before + SERIES as u64
    })
    .await;
    let killed = Instant::now();
    a.kill();
    wait_elected(&distributor, "b").await;
    let took = killed.elapsed();
    sink.heal();
    b.finish().await;
    assert!(took < Duration::from_secs(60), "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_with_a_request_open_is_replaced_in_time() {
    tokio::join!(
        dies_with_a_request_open("lossless"),
        dies_with_a_request_open("classic")
    );
}
