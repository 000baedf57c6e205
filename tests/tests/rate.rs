//! What counts towards a tenant's rate, and what the rate is of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{BOTH, assert_stored, assert_text, config, ha_config, merge, metrics, plain_series};
use e2e::{
    Distributor, Exemplar, GossipMesh, LONG, MemberState, Sender, Series, Sink, Version, labels,
    v1, wait_for,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Samples per second of the tenant.
const RATE: f64 = 240.0;
const BATCH: usize = 8;
/// Between two requests of one sender, all of whose requests are more than the rate allows.
const PAUSE: Duration = Duration::from_millis(25);

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

/// Sends to these in turn, as behind a load balancer, whatever they answer; counts what is stored.
async fn send(senders: Vec<Sender>, stored: Arc<AtomicU64>) {
    let series: Vec<_> = (0..BATCH)
        .map(|number| plain_series(&format!("m{number}")))
        .collect();
    for sender in senders.iter().cycle() {
        let answer = sender.try_send(Version::V1, &series).await;
        if let Ok(answer) = answer {
            assert!(matches!(answer.status, 200 | 429 | 503), "{answer:?}");
            if answer.status == 200 {
                stored.fetch_add(BATCH as u64, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The rate at which samples are stored from now on, until so many seconds' worth are.
async fn rate(stored: &AtomicU64, seconds: f64) -> f64 {
    let (first, began) = (stored.load(Ordering::Relaxed), Instant::now());
    let samples = wait_for("samples to be stored", LONG, || async {
        let samples = (stored.load(Ordering::Relaxed) - first) as f64;
        let is_enough = samples >= seconds * RATE;
        is_enough.then_some(samples).ok_or(format!("{samples}"))
    })
    .await;
    samples / began.elapsed().as_secs_f64()
}

fn assert_rate(rate: f64, when: &str) {
    println!("{when}: {rate:.1} samples/s");
    assert!((rate / RATE - 1.0).abs() <= 0.1, "{rate} samples/s {when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_its_rate_from_the_fleet_also_while_a_member_dies() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {"ingestion_rate": RATE}});
    let base: Value = serde_json::from_str(&ha_config(&sink, &limits)).unwrap();
    let mut mesh = GossipMesh::launch(3, move |_, mut section| {
        merge(&mut section, &json!({"gossip_interval": "100ms"}));
        let mut config = base.clone();
        merge(&mut config, &json!({"memberlist": section}));
        config.to_string()
    });
    mesh.wait_ready().await;
    wait_for("all members to see each other", LONG, || {
        mesh.settled(&[0, 1, 2])
    })
    .await;

    let stored = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for first in 0..6 {
        let mut order: Vec<_> = mesh
            .distributors
            .iter()
            .map(|one| one.sender("t"))
            .collect();
        order.rotate_left(first % 3);
        senders.spawn(send(order, Arc::clone(&stored)));
    }
    // Until the bursts are used up at all of them: from then on nothing is there to be saved.
    for distributor in &mesh.distributors {
        wait_for("the first refusal", LONG, || async {
            let metrics = distributor.metrics().await?;
            let refused = metrics.sum("cortex_discarded_samples_total", &[("user", "t")]);
            if refused > 0.0 {
                Ok(())
            } else {
                Err(format!("{refused}"))
            }
        })
        .await;
    }
    assert_rate(rate(&stored, 6.0).await, "with three members");

    mesh.distributors[2].process.sigkill();
    assert_rate(
        rate(&stored, 25.0).await,
        "while one is dead, from its death on",
    );
    for number in [0, 1] {
        let page = mesh.page(number).await.unwrap();
        assert_eq!(page.count(MemberState::Active), 2, "{page:?}");
    }
    assert_rate(rate(&stored, 6.0).await, "with two members");

    // One that leaves gives its share to the other at once, and gets it back.
    mesh.stop(1).await;
    assert_rate(
        rate(&stored, 12.0).await,
        "with one member, since the other left",
    );
    mesh.restart(1).await;
    wait_for("both members to see each other", LONG, || async {
        for number in [0, 1] {
            let page = mesh.page(number).await?;
            if page.count(MemberState::Active) != 2 {
                return Err(format!("{page:?}"));
            }
        }
        Ok(())
    })
    .await;
    assert_rate(rate(&stored, 12.0).await, "with two members again");
    assert!(!senders.is_empty());
    senders.abort_all();
    while let Some(ended) = senders.join_next().await {
        assert!(ended.unwrap_err().is_cancelled(), "a sender failed");
    }
    // More at once than the share of some seconds.
    let burst: Vec<_> = (0..500)
        .map(|number| plain_series(&format!("b{number}")))
        .collect();
    let sender = mesh.distributors[0].sender("t");
    let answer = loop {
        let answer = sender.send(Version::V1, &burst).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_text(&answer, 429, &["240 samples/s", "its share of 1/2"]);
}
