//! Handovers by hand, under load.

use std::time::Duration;

use e2e::{Answer, Distributor, Etcd, LONG, Sink, http_client, wait_for};
use serde_json::json;

use crate::common::lossless::{GUARD, TENANT};
use crate::queue::{Habits, QueueingSender, assert_nothing_lost, stored_times};
use crate::{sum, three};

const CLUSTER: &str = "pair";
const INTERVAL: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;

async fn hand_over(distributor: &Distributor, replica: &str) -> Answer {
    let request = http_client()
        .post(distributor.url("/distributor/ha_tracker/handover"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "tenant={TENANT}&cluster={CLUSTER}&replica={replica}"
        ));
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

/// Back and forth, over HTTP, while both replicas send to all distributors: each time is stored once,
/// the value of the counters never falls, and one scrape and the guard are missing at most.
#[tokio::test(flavor = "multi_thread")]
async fn a_handover_under_load_loses_and_doubles_nothing() {
    let (etcd, sink) = (Etcd::start("etcd").await, Sink::start().await);
    let more = json!({"distributor": {"ha_tracker": {"enable_handover": true}}});
    let fleet = three(&etcd, &sink, &more).await;
    let habits = |replica, scrape_ms| Habits {
        scrape_ms,
        interval: INTERVAL,
        ..Habits::new(CLUSTER, replica)
    };
    let senders = || fleet.iter().map(|one| one.sender(TENANT)).collect();
    // "a" reads the counters late, so that an earlier sample of it has a higher value than a later
    // one of "b": only the guard keeps them apart.
    let a = QueueingSender::start(habits("a", 60), senders());
    let counted = |replica: &QueueingSender| replica.fates().stored.len();
    let grows = async |replica: &QueueingSender| {
        let before = counted(replica);
        wait_for("samples of the elected replica", LONG, || async {
            let more = counted(replica) - before;
            (more >= 10).then_some(()).ok_or(format!("{more}"))
        })
        .await;
    };
    grows(&a).await;
    let b = QueueingSender::start(habits("b", 0), senders());
    wait_for("the standby to be known", LONG, || async {
        let known = b.fates().deduplicated.len();
        (known >= 10).then_some(()).ok_or(format!("{known}"))
    })
    .await;
    for round in 0..ROUNDS {
        let (name, successor) = if round % 2 == 0 { ("b", &b) } else { ("a", &a) };
        let answer = hand_over(&fleet[round % fleet.len()], name).await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        grows(successor).await;
    }
    let (a, b) = (a.finish().await, b.finish().await);
    let times = stored_times(&sink, CLUSTER, Habits::new(CLUSTER, "a").series);
    assert_nothing_lost(&times, [&a.scraped, &b.scraped], GUARD);
    // Each distributor that forwards samples of both knows what a handover cost.
    let gaps = sum(
        &fleet,
        "cortex_ha_tracker_failover_gap_seconds_count",
        &[("mode", "lossless")],
    )
    .await;
    assert!(gaps >= ROUNDS as f64, "{gaps}");
    let lost = sum(
        &fleet,
        "ha_failover_released_requests_total",
        &[("reason", "lost")],
    )
    .await;
    assert_eq!(lost, 0.0);
}
