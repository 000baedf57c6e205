//! Distributors that join one that knows very many clusters.

use std::time::Duration;

use futures::future::{FutureExt as _, join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Attack, Outcome, Size, Usage, Victim};
use crate::{Distributor, LONG, Sender, Series, Version, now_ms, wait_for};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "join-one",
        what: "a distributor joins one that knows 250,000 clusters",
        run: |size| join(size, 250_000, 1).boxed(),
    },
    Attack {
        name: "join-six",
        what: "six distributors at once join one that knows 100,000 clusters",
        run: |size| join(size, 100_000, 6).boxed(),
    },
];

/// Clusters of the short form: several parts of a snapshot.
const FEW: usize = 6_000;
/// New clusters in one request.
const AT_ONCE: usize = 500;
/// Time between two polls of a joiner.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes that a cluster has in a snapshot at most: its key, and its election as text.
const PER_CLUSTER: f64 = 200.0;

/// How a joiner came in.
struct Joined {
    distributor: Distributor,
    /// `None`: it was not ready within [`LONG`].
    ready_after: Option<Duration>,
    /// Whether `/ready` said how far it was.
    told: bool,
    usage: Usage,
}

async fn join(size: Size, clusters: usize, joiners: usize) -> Outcome {
    let clusters = size.pick(FEW, clusters);
    let unlimited = json!({"limits": {"ha_max_clusters": 0}});
    let victim = Victim::start(&unlimited).await;
    let members = victim.distributor.get_json("/memberlist").await;
    let members = members.unwrap_or_else(|problem| panic!("/memberlist: {problem}"));
    let address = members
        .pointer("/members/0/address")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .unwrap_or_else(|| panic!("no address in {members}"));
    know(&victim.distributor.sender("many"), clusters).await;
    victim
        .under(size, async |victim, outcome| {
            let before = victim.usage();
            let began = (0..joiners).map(|number| {
                let config = victim.another(&json!({
                    "memberlist": {"join_members": [address]},
                    "limits": {"ha_max_clusters": 0},
                }));
                come_in(Distributor::launch(&format!("joiner-{number}"), &config))
            });
            let joined = join_all(began).await;
            let cpu = victim.usage().cpu.saturating_sub(before.cpu);
            outcome.fact(
                "CPU of the one that is joined",
                format!("{:.1} s", cpu.as_secs_f64()),
            );
            for joined in &joined {
                judge(joined, clusters, outcome).await;
            }
            let count = async |name: &str| {
                let name = format!("memberlist_client_{name}");
                let metrics = victim.distributor.metrics().await;
                metrics
                    .map(|metrics| metrics.sum(&name, &[]))
                    .unwrap_or(f64::NAN)
            };
            let (snapshots, sent) = (
                count("snapshots_total").await,
                count("snapshot_sent_bytes_total").await,
            );
            outcome.fact("snapshots", format!("{snapshots}"));
            outcome.fact("bytes of snapshots sent", format!("{sent}"));
            // Those that come late get another one than those that come first. A few thousand entries
            // may as well come with the first exchanges, before the joiner decides to ask for one.
            let least = size.pick(0.0, 1.0);
            outcome.demand((least..=3.0).contains(&snapshots), || {
                format!("{snapshots} snapshots were made for {joiners} joiners")
            });
            let most = (clusters * joiners) as f64 * PER_CLUSTER;
            outcome.demand(sent < most && (sent > 0.0) == (snapshots > 0.0), || {
                format!("{sent} bytes of snapshots were sent, over {most}")
            });
        })
        .await
}

/// Makes the distributor elect a replica of each cluster.
async fn know(sender: &Sender, clusters: usize) {
    for first in (0..clusters).step_by(AT_ONCE) {
        let series: Vec<Series> = (first..clusters.min(first + AT_ONCE))
            .map(|number| {
                let cluster = format!("region-{}/cluster-{number:07}", number % 9);
                let labels = [
                    ("__name__", "joined"),
                    ("__replica__", "prometheus-0"),
                    ("cluster", cluster.as_str()),
                ];
                Series::floats(&labels, &[(now_ms(), 1.0)])
            })
            .collect();
        // As any sender does, while a machine without CPU holds up the distributor.
        wait_for("the clusters to be known", LONG, || async {
            let answer = sender.try_send(Version::V1, &series).await?;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.body)
            }
        })
        .await;
    }
}

async fn come_in(distributor: Distributor) -> Joined {
    let began = Instant::now();
    let (mut ready_after, mut told) = (None, false);
    while ready_after.is_none() && began.elapsed() < LONG * 4 {
        match distributor.get("/ready").await {
            Ok(answer) if answer.status == 200 => ready_after = Some(began.elapsed()),
            Ok(answer) => told |= answer.body.contains("entries received from"),
            Err(_) => {}
        }
        sleep(POLL_INTERVAL).await;
    }
    let usage = Usage::of(distributor.process.id()).unwrap_or_default();
    Joined {
        distributor,
        ready_after,
        told,
        usage,
    }
}

async fn judge(joined: &Joined, clusters: usize, outcome: &mut Outcome) {
    let Joined {
        distributor,
        ready_after,
        told,
        usage,
    } = joined;
    let name = distributor.process.name();
    let Some(ready_after) = ready_after else {
        let ready = distributor.get("/ready").await;
        outcome.demand(false, || format!("{name} is not ready: {ready:?}"));
        return;
    };
    outcome.fact(
        name,
        format!(
            "ready after {:.1} s, {:.1} s of CPU, {} MB{}",
            ready_after.as_secs_f64(),
            usage.cpu.as_secs_f64(),
            usage.resident / 1_000_000,
            if *told { ", told its progress" } else { "" }
        ),
    );
    let metrics = distributor.metrics().await;
    let keys = metrics
        .map(|metrics| metrics.sum("memberlist_client_kv_store_count", &[]))
        .unwrap_or(f64::NAN);
    // The healthy client's clusters as well.
    outcome.demand(keys >= clusters as f64, || {
        format!("{name} is ready with {keys} of {clusters} clusters")
    });
}
