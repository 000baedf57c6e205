//! A tenant's rate over a fleet, while one of its members dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use e2e::{GossipMesh, LONG, MemberState, Sender, Sink, Version, wait_for};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::common::{assert_text, plain_series};
use crate::fleet::mesh_config;

/// Samples per second of the tenant.
const RATE: f64 = 240.0;
const BATCH: usize = 8;
/// Between two requests of one sender, all of whose requests are more than the rate allows.
const PAUSE: Duration = Duration::from_millis(15);

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
    let base = mesh_config(&sink, json!({"gossip_interval": "100ms"}));
    let mut mesh = GossipMesh::launch(3, move |number, section| {
        let mut config: Value = serde_json::from_str(&base(number, section)).unwrap();
        e2e::merge(&mut config, &json!({"limits": {"ingestion_rate": RATE}}));
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
        rate(&stored, 6.0).await,
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
