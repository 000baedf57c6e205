//! Ten thousand clusters whose elected replicas fall silent at once.

use std::collections::VecDeque;
use std::time::Duration;

use e2e::{Distributor, LONG, Sender, Sink, Version, now_ms, wait_for};
use futures::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::alone;
use crate::common::elected;
use crate::common::ha_series_at;
use crate::common::lossless::{CLUSTER, GUARD, Pair, TENANT};

const CLUSTERS: usize = 10_000;
/// Clusters of which the elected replicas send in one request.
const TOGETHER: usize = 500;
const WORKERS: usize = 16;
/// What ten thousand transitions may take, with a hold of one request each.
const MEMORY: f64 = 128.0 * 1024.0 * 1024.0;

fn name(cluster: usize) -> String {
    format!("cluster-{cluster:05}")
}

/// Sends a sample of replica "b" of each cluster, one request each, again and again until it is
/// answered with one of these. Returns how many answers asked for another attempt.
async fn send_of_each(sender: &Sender, time_ms: i64, until: &[u16]) -> usize {
    let workers = (0..WORKERS).map(|worker| async move {
        let mut queue: VecDeque<usize> = (worker..CLUSTERS).step_by(WORKERS).collect();
        let deadline = Instant::now() + 3 * LONG;
        let (mut refused, mut in_a_row) = (0, 0);
        while let Some(cluster) = queue.pop_front() {
            let series = ha_series_at("m", &name(cluster), "b", time_ms);
            let answer = sender.send(Version::V1, &[series]).await;
            if until.contains(&answer.status) {
                in_a_row = 0;
                continue;
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(
                Instant::now() < deadline,
                "{} left: {answer:?}",
                queue.len()
            );
            queue.push_back(cluster);
            (refused, in_a_row) = (refused + 1, in_a_row + 1);
            if in_a_row > queue.len() {
                // As Retry-After asks for.
                sleep(Duration::from_secs(1)).await;
                in_a_row = 0;
            }
        }
        refused
    });
    join_all(workers).await.into_iter().sum()
}

/// Memory that its process has, bytes. Its own page takes long to write with so many clusters.
fn resident(distributor: &Distributor) -> f64 {
    let status = format!("/proc/{}/status", distributor.process.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    1024.0 * kilobytes.parse::<f64>().unwrap()
}

/// Each fails over: what was held of the other replica is stored, once, and what it sends. Memory stays
/// within a bound, and a pair beside them is answered as if nothing happened.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_clusters_overdue_at_once_fail_over_and_harm_no_other() {
    let sink = Sink::start().await;
    let more = json!({"limits": {
        "ha_max_clusters": 2 * CLUSTERS,
        "ha_tracker_per_sample_dedupe": true,
        "ha_tracker_update_timeout": "10s",
        "ha_tracker_failover_timeout": "20s",
    }});
    let distributor = alone("many", &sink, &more).await;
    let mut pair = Pair::new(std::slice::from_ref(&distributor));
    pair.start().await;

    let sender = distributor.sender("many");
    let last_of_a_ms = now_ms();
    for first in (0..CLUSTERS).step_by(TOGETHER) {
        let clusters = first..first + TOGETHER;
        let series: Vec<_> = clusters
            .map(|cluster| ha_series_at("m", &name(cluster), "a", last_of_a_ms))
            .collect();
        wait_for("the elected replicas to be stored", LONG, || async {
            let answer = sender.send(Version::V1, &series).await;
            (answer.status == 200).then_some(()).ok_or(answer.body)
        })
        .await;
    }
    // Late after all others.
    let last = |replica| ha_series_at("m", "last", replica, now_ms());
    let answer = sender.send(Version::V1, &[last("a")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let before = resident(&distributor);
    let held_ms = now_ms().max(last_of_a_ms + 2 * GUARD.as_millis() as i64);
    let mut refused = send_of_each(&sender, held_ms, &[200, 202]).await;
    wait_for("the elected replicas to be late", LONG, || async {
        let answer = sender.send(Version::V1, &[last("b")]).await;
        (answer.status == 503).then_some(()).ok_or(answer.body)
    })
    .await;
    let live_ms = now_ms().max(held_ms + 1);
    let mut peak = resident(&distributor);
    let done = send_of_each(&sender, live_ms, &[200]);
    tokio::pin!(done);
    refused += loop {
        tokio::select! {
            refused = &mut done => break refused,
            () = sleep(Duration::from_millis(500)) => peak = peak.max(resident(&distributor)),
        }
    };
    assert!(refused > 0, "their elected replicas were late");
    assert!(peak - before <= MEMORY, "{before} bytes, then {peak}");

    let metrics = distributor.metrics().await.unwrap();
    let fixed = metrics.sum("ha_failover_plans_total", &[("reason", "fixed")]);
    assert!(fixed >= CLUSTERS as f64, "{fixed}");
    for reason in ["evicted", "expired", "lost"] {
        let labels = [("reason", reason)];
        let released = metrics.sum("ha_failover_released_requests_total", &labels);
        assert_eq!(released, 0.0, "{reason}");
    }
    // Of the pair beside them, each request was answered as in quiet times.
    pair.a.finish().await;
    pair.b.finish().await;
    let row = elected(&distributor, TENANT, CLUSTER).await.unwrap();
    assert_eq!(
        (&row["replica"], &row["electedChanges"]),
        (&json!("a"), &json!(0))
    );
    let (a, b) = (pair.a.counts(), pair.b.counts());
    assert_eq!(
        (a.accepted, b.deduplicated),
        (a.sent, b.sent),
        "{a:?} {b:?}"
    );

    let mut complete = 0;
    for (labels, samples) in sink.samples() {
        if !labels["cluster"].starts_with("cluster-") {
            continue;
        }
        let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp).collect();
        assert_eq!(times, [last_of_a_ms, held_ms, live_ms], "{labels:?}");
        complete += 1;
    }
    assert_eq!(complete, CLUSTERS);
}
