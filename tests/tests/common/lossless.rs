//! A pair whose failovers are to lose nothing, and what a downstream must have of it.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{
    Distributor, LONG, Labels, Replica, ReplicaConfig, Sample, Sink, Version, http_client, merge,
    wait_for,
};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{elected, ha_config};

pub const TENANT: &str = "t";
pub const CLUSTER: &str = "c";
pub const SERIES: usize = 20;
pub const INTERVAL: Duration = Duration::from_millis(500);
pub const GUARD: Duration = Duration::from_millis(100);
pub const FAILOVER: Duration = Duration::from_secs(5);

pub fn lossless(more: &Value) -> Value {
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
pub struct Pair {
    pub a: Replica,
    pub b: Replica,
    _problems: mpsc::Receiver<String>,
}

impl Pair {
    /// Each replica sends its requests to the distributors in turn, as over a balancer.
    pub fn new(distributors: &[Distributor]) -> Self {
        Self::of(distributors, distributors)
    }

    /// The elected replica and the other one send to these.
    pub fn of(of_a: &[Distributor], of_b: &[Distributor]) -> Self {
        let (problems, receiver) = mpsc::channel(1);
        let client = http_client();
        let replica = |name, version, part, distributors: &[Distributor]| {
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
            a: replica("a", Version::V1, 0.1, of_a),
            b: replica("b", Version::V2, 0.6, of_b),
            _problems: receiver,
        }
    }

    /// Starts both, one after the other, so that "a" is elected; returns when both have sent for a
    /// while.
    pub async fn start(&mut self) {
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
    pub async fn wait_for_b(&self) {
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

/// What the downstream has of each series of the pair, in the order of arrival.
pub fn account(sink: &Sink) -> BTreeMap<Labels, Vec<Sample>> {
    let mut samples = sink.samples();
    samples.retain(|labels, _| labels.get("cluster").is_some_and(|name| name == CLUSTER));
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
pub fn longest_gap(samples: &BTreeMap<Labels, Vec<Sample>>) -> i64 {
    let of_series = |samples: &Vec<Sample>| {
        let pairs = samples.windows(2);
        pairs
            .map(|pair| pair[1].timestamp - pair[0].timestamp)
            .max()
    };
    samples.values().filter_map(of_series).max().unwrap()
}

/// Nothing doubled, nothing out of order, and at most one scrape and the guard missing.
pub fn assert_lossless(sink: &Sink) {
    let samples = account(sink);
    let most = (2 * INTERVAL + GUARD).as_millis() as i64;
    let longest = longest_gap(&samples);
    assert!(
        longest <= most,
        "{longest} ms without a sample: {samples:?}"
    );
}

pub async fn fleet(sink: &Sink, kvstore: &Value) -> Vec<Distributor> {
    let mut more = lossless(&json!({}));
    merge(
        &mut more,
        &json!({"distributor": {"ha_tracker": {"kvstore": kvstore}}}),
    );
    let config = ha_config(sink, &more);
    let names = ["d0", "d1", "d2"];
    join_all(names.map(|name| Distributor::start(name, &config))).await
}

pub async fn wait_elected(distributor: &Distributor, replica: &str) {
    wait_for("the election", LONG, || async {
        let row = elected(distributor, TENANT, CLUSTER).await;
        let is_elected = row.as_ref().is_some_and(|row| row["replica"] == replica);
        is_elected.then_some(()).ok_or(format!("{row:?}"))
    })
    .await;
}
