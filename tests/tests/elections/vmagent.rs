//! Real vmagents, which wait 1, 2, 4, 8 s and so on, up to a minute, after requests that were refused.

use std::cell::RefCell;
use std::time::Duration;

use e2e::{Distributor, Fault, LONG, Port, Process, Recipe, SHORT, Sink, get, wait_for};
use peers::{comes_up, only_lost_its_port, program};
use serde_json::{Value, json};

use crate::{clusters, in_lossless_mode, longest_gap, scaled, times_of};

const INTERVAL: Duration = Duration::from_secs(1);

/// Attempts that are refused before the downstream is back: the next one comes 8 s later, which is four
/// failover timeouts.
const REFUSED: u64 = 4;

/// Scrapes itself, and sends as this replica of a cluster.
async fn start(replica: &str, distributor: &Distributor) -> Process {
    loop {
        let port = Port::reserve();
        let folder = Process::folder_for(replica);
        let config = json!({
            "global": { "scrape_interval": format!("{}ms", INTERVAL.as_millis()) },
            "scrape_configs": [{
                "job_name": "self",
                "static_configs": [{ "targets": [port.address().to_string()] }],
            }],
        });
        std::fs::write(folder.path().join("scrape.yml"), config.to_string()).unwrap();
        let arguments = [
            format!("-httpListenAddr={}", port.address()),
            "-promscrape.config=scrape.yml".to_owned(),
            "-remoteWrite.tmpDataPath=queue".to_owned(),
            format!("-remoteWrite.url={}", distributor.push_url()),
            "-remoteWrite.label=cluster=pair".to_owned(),
            format!("-remoteWrite.label=prometheus_replica={replica}"),
            "-remoteWrite.headers=X-Scope-OrgID:team-a".to_owned(),
            "-remoteWrite.flushInterval=200ms".to_owned(),
            // One queue: with more, one of them may happen to send while the others wait.
            "-remoteWrite.queues=1".to_owned(),
        ];
        let recipe = Recipe {
            program: program("vmagent", "vmagent"),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        };
        let mut process = Process::start(replica, folder, recipe);
        let url = format!("http://{}/health", port.address());
        let is_up = comes_up(&mut process, || async {
            match get(&url, None).await? {
                answer if answer.status == 200 => Ok(()),
                answer => Err(format!("{}: {}", answer.status, answer.body)),
            }
        });
        if is_up.await {
            return process;
        }
        only_lost_its_port(&process);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_downstream_loses_nothing_of_a_pair_of_vmagents() {
    an_outage(&json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_in_lossless_mode() {
    let distributor = an_outage(&in_lossless_mode()).await;
    let metrics = distributor.metrics().await.unwrap();
    assert!(metrics.sum("ha_failover_held_requests_total", &[]) > 0.0);
    let plans = [("reason", "fixed")];
    assert_eq!(metrics.sum("ha_failover_plans_total", &plans), 0.0);
}

async fn an_outage(mode: &Value) -> Distributor {
    let sink = Sink::start().await;
    let mut more = json!({"limits": {
        "ha_replica_label": "prometheus_replica",
        "ha_tracker_sender_backoff": "20s",
    }});
    e2e::merge(&mut more, mode);
    let distributor = Distributor::start("distributor", &scaled(&sink, &more)).await;
    let first = start("a", &distributor).await;
    // What has been looked at is let go: a thousand series come with each scrape.
    let seen = RefCell::new(Vec::new());
    let scrapes = || {
        let mut seen = seen.borrow_mut();
        let mut new = times_of(&sink.take(), "up");
        seen.extend(new.remove("pair").unwrap_or_default());
        seen.sort_unstable();
        seen.clone()
    };
    let scrapes_after = async |time_ms: i64, timeout: Duration| {
        wait_for("ten scrapes", timeout, || async {
            let later = scrapes().into_iter().filter(|time| *time > time_ms);
            let later = later.count();
            (later >= 10).then_some(()).ok_or(format!("{later}"))
        })
        .await;
    };
    scrapes_after(0, SHORT).await;
    let second = start("b", &distributor).await;
    wait_for("the other one to send", SHORT, || async {
        let pair = clusters(&distributor).await.remove("pair").unwrap();
        let others = &pair.other_replicas;
        (!others.is_empty())
            .then_some(())
            .ok_or("it does not".to_owned())
    })
    .await;
    let attempts = sink.attempts();
    sink.fail(Fault::status(503));
    wait_for("attempts that are refused", LONG, || async {
        let refused = sink.attempts() - attempts;
        (refused >= REFUSED)
            .then_some(())
            .ok_or(format!("{refused}"))
    })
    .await;
    let last_ms = *scrapes().last().unwrap();
    sink.heal();
    // The queue is sent in order, so these are the first ones of the outage.
    scrapes_after(last_ms, LONG).await;
    wait_for("the queue to be sent", LONG, || async {
        let behind_ms = e2e::now_ms() - scrapes().last().unwrap();
        (behind_ms < 2_000)
            .then_some(())
            .ok_or(format!("{behind_ms} ms behind"))
    })
    .await;
    let pair = clusters(&distributor).await.remove("pair").unwrap();
    assert_eq!(
        (pair.replica.as_str(), pair.elected_changes),
        ("a", 0),
        "{pair:?}"
    );
    let times = scrapes();
    let gap = longest_gap(&times);
    assert!(
        gap <= 2 * INTERVAL.as_millis() as i64 - 100,
        "{gap} ms: {times:?}"
    );
    let mut once = times.clone();
    once.dedup();
    assert_eq!(times, once, "stored twice");
    drop((first, second));
    distributor
}
