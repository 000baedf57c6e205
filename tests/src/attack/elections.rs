//! Senders that confuse the HA tracker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Attack, Outcome, Size, Victim};
use crate::{LONG, Sender, Series, Version, now_ms};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "changing-replica-names",
        what: "a sender whose replica name changes with each request, while the elected replica dies \
               and a standby sends twice a second",
        run: |size| changing_names(size).boxed(),
    },
    Attack {
        name: "clusters-at-the-limit",
        what: "100 new clusters in one request, of each of 5,000 tenants, with a limit of 100",
        run: |size| at_the_limit(size).boxed(),
    },
];

/// Time between two requests of the replicas that send steadily.
const INTERVAL: Duration = Duration::from_millis(500);
/// For so long both replicas send: after it a replica is known to send steadily.
const BOTH_SEND: Duration = Duration::from_secs(6);
const MAX_CLUSTERS: usize = 100;
/// Tenants whose requests are in flight at the same time.
const AT_ONCE: usize = 16;

/// Status and text of a push of one series per cluster.
async fn push(sender: &Sender, replica: &str, clusters: &[String]) -> (u16, String) {
    let series = clusters.iter().map(|cluster| {
        let labels = [
            ("__name__", "attacked"),
            ("__replica__", replica),
            ("cluster", cluster),
        ];
        Series::floats(&labels, &[(now_ms(), 1.0)])
    });
    let series: Vec<Series> = series.collect();
    let answer = sender.try_send(Version::V1, &series).await;
    match answer {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (0, error),
    }
}

async fn changing_names(size: Size) -> Outcome {
    let victim = Victim::start(&json!({"limits": {
        "ha_tracker_update_timeout": "2s",
        "ha_tracker_update_timeout_jitter_max": "0s",
        "ha_tracker_failover_timeout": "5s",
    }}))
    .await;
    victim
        .under(size, async |victim, outcome| {
            let sender = victim.distributor.sender("attacked");
            let cluster = ["c".to_owned()];
            let elected = push(&sender, "elected", &cluster).await;
            outcome.demand(elected.0 == 200, || {
                format!("the first replica: {elected:?}")
            });
            let (invented, accepted) = (AtomicU64::new(0), AtomicU64::new(0));
            let invent = async {
                let pause = size.pick(Duration::from_millis(20), Duration::from_millis(1));
                loop {
                    let name = format!("invented-{}", invented.fetch_add(1, Ordering::Relaxed));
                    if push(&sender, &name, &cluster).await.0 == 200 {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                    sleep(pause).await;
                }
            };
            let began = Instant::now();
            let mut was_told = false;
            let take_over = async {
                while began.elapsed() < LONG {
                    if began.elapsed() < BOTH_SEND {
                        push(&sender, "elected", &cluster).await;
                    }
                    let (status, text) = push(&sender, "standby", &cluster).await;
                    if status == 200 {
                        return Some(began.elapsed());
                    }
                    was_told |= text.contains("; failover to this replica is due ");
                    sleep(INTERVAL).await;
                }
                None
            };
            let taken_over = tokio::select! {
                taken_over = take_over => taken_over,
                () = invent => None,
            };
            outcome.fact("names invented", invented.into_inner().to_string());
            if let Some(after) = taken_over {
                let after = after.saturating_sub(BOTH_SEND).as_secs_f64();
                outcome.fact("the standby took over after", format!("{after:.1} s"));
            }
            outcome.demand(taken_over.is_some(), || "the standby starved".to_owned());
            outcome.demand(was_told, || {
                "the standby was not told what the failover waits for".to_owned()
            });
            let accepted = accepted.into_inner();
            outcome.demand(accepted == 0, || {
                format!("{accepted} requests under invented names were accepted")
            });
        })
        .await
}

/// Judged without a healthy client, and by its answers alone: the clusters stay, as they should.
async fn at_the_limit(size: Size) -> Outcome {
    let victim = Victim::start(&json!({"limits": {"ha_max_clusters": MAX_CLUSTERS}})).await;
    let mut outcome = Outcome::default();
    let clusters: Vec<String> = (0..MAX_CLUSTERS).map(|i| format!("cluster-{i}")).collect();
    let (distributor, clusters) = (&victim.distributor, &clusters);
    let tenants = size.pick(200, 5_000);
    let answers: Vec<(u16, u16)> = stream::iter(0..tenants)
        .map(|tenant| async move {
            let sender = distributor.sender(&format!("tenant-{tenant}"));
            let (all, _) = push(&sender, "r1", clusters).await;
            let (one_more, _) = push(&sender, "r1", &["one-more".to_owned()]).await;
            (all, one_more)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let refused = answers.iter().filter(|(all, _)| *all != 200).count();
    let above = answers.iter().filter(|(_, more)| *more != 400).count();
    outcome.fact(
        "tenants with a cluster refused that fits",
        refused.to_string(),
    );
    outcome.fact("tenants with a cluster above the limit", above.to_string());
    outcome.demand(refused == 0, || {
        format!("{refused} tenants lost clusters that fit")
    });
    outcome.demand(above == 0, || {
        format!("{above} tenants are above their limit")
    });
    outcome
}
