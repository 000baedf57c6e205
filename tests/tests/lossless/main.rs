//! Failover without loss where several things happen at once, at the sink: each series and timestamp
//! is accounted for, nothing is stored twice, and no series goes back in time or value.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod by_hand;
mod distributor_dies;
mod full;
mod future;
mod many;
mod queue;

use common::ha_config;
use common::lossless::lossless;
use e2e::{Distributor, Etcd, Sink, merge};
use serde_json::{Value, json};

/// One distributor in lossless mode, and `more`.
async fn alone(name: &str, sink: &Sink, more: &Value) -> Distributor {
    let mut config = lossless(&json!({}));
    let inmemory = json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}});
    merge(&mut config, &inmemory);
    merge(&mut config, more);
    Distributor::start(name, &ha_config(sink, &config)).await
}

/// Three on etcd, and `more`.
async fn three(etcd: &Etcd, sink: &Sink, more: &Value) -> Vec<Distributor> {
    let endpoints = json!({"endpoints": [etcd.endpoint()], "dial_timeout": "1s"});
    let kvstore = json!({"store": "etcd", "etcd": endpoints});
    let mut config = lossless(&json!({}));
    let tracker = json!({"distributor": {"ha_tracker": {"kvstore": kvstore}}});
    merge(&mut config, &tracker);
    merge(&mut config, more);
    let config = ha_config(sink, &config);
    let names = ["d0", "d1", "d2"];
    futures::future::join_all(names.map(|name| Distributor::start(name, &config))).await
}

/// The sum over distributors that answer.
async fn sum(fleet: &[Distributor], name: &str, labels: &[(&str, &str)]) -> f64 {
    let mut total = 0.0;
    for distributor in fleet {
        if let Ok(metrics) = distributor.metrics().await {
            total += metrics.sum(name, labels);
        }
    }
    total
}
