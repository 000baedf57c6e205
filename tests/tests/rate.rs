//! What counts towards a tenant's rate, and what the rate is of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{BOTH, assert_stored, assert_text, config, ha_config, metrics, plain_series};
use e2e::{Distributor, Exemplar, Series, Sink, Version, labels, v1};
use serde_json::json;

const UNKNOWN_FLEET: &str = "limits.ingestion_rate limits each instance, not the fleet";

fn with_exemplars(count: usize) -> Series {
    let mut series = plain_series("m");
    let exemplar = Exemplar {
        labels: labels(&[("trace_id", "abc")]),
        value: 1.0,
        timestamp: 1,
    };
    series.exemplars = vec![exemplar; count];
    series
}

fn metadata(count: usize) -> v1::WriteRequest {
    let one = |number| v1::MetricMetadata {
        metric_family_name: format!("m{number}"),
        ..Default::default()
    };
    v1::WriteRequest {
        timeseries: Vec::new(),
        metadata: (0..count).map(one).collect(),
    }
}

/// Mimir: `totalN := validatedSamples + validatedExemplars + validatedMetadata` in
/// `prePushValidationMiddleware` of pkg/distributor/distributor.go.
#[tokio::test]
async fn exemplars_and_metadata_count_as_in_mimir() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {"ingestion_rate": 0.001, "ingestion_burst_size": 10}});
    let distributor = Distributor::start("counted", &config(&sink, &limits)).await;
    for version in BOTH {
        let tenant = format!("exemplars-{version:?}");
        let sender = distributor.sender(&tenant);
        // A sample and 8 exemplars leave one.
        let answer = sender.send(version, &[with_exemplars(8)]).await;
        assert_stored(&answer, version);
        let answer = sender.send(version, &[with_exemplars(1)]).await;
        assert_text(&answer, 429, &["limits.ingestion_rate"]);
        let answer = sender.send(version, &[plain_series("m")]).await;
        assert_stored(&answer, version);
        let counted = metrics(&distributor).await;
        let labels = [("user", tenant.as_str()), ("reason", "rate_limited")];
        let of = |name| counted.get(name, &labels);
        assert_eq!(of("cortex_discarded_samples_total"), Some(1.0));
        assert_eq!(of("cortex_discarded_exemplars_total"), Some(1.0));
    }
    let sender = distributor.sender("metadata");
    assert_stored(&sender.send_v1(&metadata(9)).await, Version::V1);
    let answer = sender.send_v1(&metadata(2)).await;
    assert_text(&answer, 429, &["limits.ingestion_rate"]);
    let answer = sender.send(Version::V1, &[with_exemplars(1)]).await;
    assert_text(&answer, 429, &["limits.ingestion_rate"]);
    assert_stored(&sender.send_v1(&metadata(1)).await, Version::V1);
}

/// What a replica that is not elected sends costs nothing, its metadata included.
#[tokio::test]
async fn what_is_deduplicated_does_not_count() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {"ingestion_rate": 0.001, "ingestion_burst_size": 10}});
    let distributor = Distributor::start("free", &ha_config(&sink, &limits)).await;
    let sender = distributor.sender("t");
    let series = |replica| common::ha_series("m", "c", replica);
    assert_stored(&sender.send(Version::V1, &[series("a")]).await, Version::V1);
    let mut request = e2e::to_v1(&[series("b")]);
    request.metadata = metadata(100).metadata;
    for _ in 0..3 {
        assert_eq!(sender.send_v1(&request).await.status, 202);
    }
    assert_stored(&sender.send_v1(&metadata(9)).await, Version::V1);
    assert_eq!(sender.send_v1(&metadata(1)).await.status, 429);
}

#[tokio::test]
async fn without_gossip_a_rate_of_the_fleet_is_said_to_be_the_instances() {
    let sink = Sink::start().await;
    let tracked = |store: &str, strategy: &str| {
        json!({
            "distributor": {"ha_tracker": {"kvstore": {"store": store}}},
            "limits": {"ingestion_rate": 1000, "ingestion_rate_strategy": strategy},
        })
    };
    for (name, more, is_said) in [
        ("inmemory", tracked("inmemory", "global"), true),
        ("confirmed", tracked("inmemory", "local"), false),
        ("gossip", tracked("memberlist", "global"), false),
        (
            "unlimited",
            json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}}),
            false,
        ),
    ] {
        let distributor = Distributor::start(name, &ha_config(&sink, &more)).await;
        let log = distributor.process.log();
        assert_eq!(log.contains(UNKNOWN_FLEET), is_said, "{name}: {log}");
    }
}
