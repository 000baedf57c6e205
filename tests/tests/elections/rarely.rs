//! Pairs that send less often than the failover timeout: one scrape a minute by default.

use std::time::Duration;

use e2e::{
    Distributor, LONG, Prometheus, PrometheusConfig, PrometheusVersion, REPLICAS, RemoteWrite,
    Sink, Target, Version, now_ms, pair_series, wait_for,
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::{FAILOVER_MS, arrived, clusters, longest_gap, scaled};

/// A minute, scaled down.
const INTERVAL_MS: i64 = 2 * FAILOVER_MS;
/// What the way from a scrape to its request may vary, ms.
const TOLERANCE_MS: i64 = 700;

/// Pairs of which the second replica sends a part of the interval after the first.
const PHASES: u32 = 12;
const ROUNDS: u32 = 7;
/// A tracker that has just started elects no other replica until those beside it must have refreshed
/// their entries, which takes longer than the first scrapes here.
const AT_THE_START: usize = 2;

#[tokio::test]
async fn every_scrape_of_one_replica_is_stored_in_any_phase() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("distributor", &scaled(&sink, &json!({}))).await;
    let interval = Duration::from_millis(INTERVAL_MS as u64);
    let began = Instant::now();
    let senders = (0..2 * PHASES).map(|number| {
        let (phase, replica) = (number / 2, (number % 2) as usize);
        let sender = distributor.sender("team-a");
        tokio::spawn(async move {
            // Of the first replica of each pair, all at different times as well.
            let start = began + interval * phase / PHASES;
            let start = start + interval * phase / PHASES * (number % 2);
            for round in 0..ROUNDS {
                sleep_until(start + interval * round).await;
                let series = pair_series(&format!("phase-{phase}"), replica, now_ms());
                let answer = sender.send(Version::V1, &[series]).await;
                assert!([200, 202].contains(&answer.status), "{answer:?}");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let arrived = arrived(&sink, "m");
    assert_eq!(arrived.len(), PHASES as usize);
    for (cluster, times) in &arrived {
        assert!(times.len() >= ROUNDS as usize - 1, "{cluster}: {times:?}");
        let gap = longest_gap(&times[AT_THE_START..]);
        assert!(
            gap <= INTERVAL_MS + TOLERANCE_MS,
            "{cluster}: {gap} ms: {times:?}"
        );
    }
    for (cluster, elected) in clusters(&distributor).await {
        // Before the cadences are known, the other one may be elected.
        assert!(elected.elected_changes <= 2, "{cluster}: {elected:?}");
    }
}

/// Real servers; each chooses its own moment in the interval.
const PAIRS: usize = 3;

#[tokio::test]
async fn every_scrape_of_one_of_two_prometheus_servers_is_stored() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("distributor", &scaled(&sink, &json!({}))).await;
    let target = Target::start().await;
    target.set_scrape_number("scrape_number");
    let starts = (0..2 * PAIRS).map(|number| {
        let (cluster, replica) = (format!("pair-{}", number / 2), REPLICAS[number % 2]);
        let write = RemoteWrite::new(&distributor.push_url(), Version::V1, "team-a");
        let external = [("cluster", cluster.as_str()), ("__replica__", replica)];
        let config = PrometheusConfig {
            scrape_interval: Duration::from_millis(INTERVAL_MS as u64),
            ..PrometheusConfig::sender(PrometheusVersion::V3, &external, target.address(), write)
        };
        let name = format!("{cluster}-{replica}");
        async move { Prometheus::start(&name, &config).await }
    });
    let servers = futures::future::join_all(starts).await;
    wait_for("eight scrapes of each pair", LONG, || async {
        let arrived = arrived(&sink, "scrape_number");
        let scrapes: Vec<_> = arrived.values().map(Vec::len).collect();
        let enough = scrapes.len() == PAIRS && scrapes.iter().all(|scrapes| *scrapes >= 8);
        enough.then_some(()).ok_or(format!("{scrapes:?}"))
    })
    .await;
    for (cluster, times) in arrived(&sink, "scrape_number") {
        let gap = longest_gap(&times[AT_THE_START..]);
        assert!(
            gap <= INTERVAL_MS + TOLERANCE_MS,
            "{cluster}: {gap} ms: {times:?}"
        );
    }
    for (cluster, elected) in clusters(&distributor).await {
        assert!(elected.elected_changes <= 2, "{cluster}: {elected:?}");
    }
    drop(servers);
}
