//! An outage of the downstream, with senders that wait ever longer between their attempts: up to a
//! minute, as vmagent does, which is twice the failover timeout.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use e2e::{
    Distributor, Fault, REPLICAS, SHORT, Sender, Sink, Version, now_ms, pair_series, wait_for,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use crate::{arrived, clusters, in_lossless_mode, scaled};

/// A scrape each 5 s.
const SCRAPES: Duration = Duration::from_millis(330);
/// 1 s and a minute.
const FIRST_WAIT: Duration = Duration::from_millis(67);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// 200 s.
const OUTAGE: Duration = Duration::from_secs(13);

/// Scrapes until `stop`, and sends what it has scraped in order, one request at a time. Returns the
/// times that were stored, and those that were deduplicated.
async fn scrape_and_send(
    sender: Sender,
    replica: usize,
    mut stop: watch::Receiver<bool>,
) -> [Vec<i64>; 2] {
    let mut queue = VecDeque::new();
    let mut scrapes = interval(SCRAPES);
    scrapes.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut stored, mut deduplicated) = (Vec::new(), Vec::new());
    let mut wait = FIRST_WAIT;
    let mut next = Instant::now();
    loop {
        let is_over = *stop.borrow_and_update();
        if is_over && queue.is_empty() {
            return [stored, deduplicated];
        }
        if !is_over && timeout_at(next, scrapes.tick()).await.is_ok() {
            queue.push_back(now_ms());
        }
        if is_over {
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
        let Some(time_ms) = queue.front().copied().filter(|_| Instant::now() >= next) else {
            if queue.is_empty() {
                next = Instant::now() + SCRAPES;
            }
            continue;
        };
        let answer = sender
            .send(Version::V1, &[pair_series("pair", replica, time_ms)])
            .await;
        match answer.status {
            200 | 202 => {
                queue.pop_front();
                match answer.status {
                    200 => stored.push(time_ms),
                    _ => deduplicated.push(time_ms),
                }
                (wait, next) = (FIRST_WAIT, Instant::now());
            }
            503 | 429 => {
                next = Instant::now() + wait;
                wait = (2 * wait).min(LONGEST_WAIT);
            }
            _ => panic!("{answer:?}"),
        }
    }
}

#[tokio::test]
async fn an_outage_of_the_downstream_elects_nothing_and_loses_nothing() {
    an_outage(&json!({})).await;
}

/// The standby's requests are refused as well, so that its queue is kept until the elected replica has
/// sent as much.
#[tokio::test]
async fn nor_does_it_in_lossless_mode() {
    let distributor = an_outage(&in_lossless_mode()).await;
    let metrics = distributor.metrics().await.unwrap();
    let stalled = metrics.sum(
        "ha_failover_deferred_requests_total",
        &[("reason", "stalled")],
    );
    assert!(stalled > 0.0);
    assert_eq!(metrics.sum("ha_failover_replayed_requests_total", &[]), 0.0);
}

async fn an_outage(more: &Value) -> Distributor {
    let sink = Arc::new(Sink::start().await);
    let distributor = Distributor::start("distributor", &scaled(&sink, more)).await;
    let (over, stop) = watch::channel(false);
    let [a, b] = [0, 1].map(|replica| {
        let sender = distributor.sender("team-a");
        tokio::spawn(scrape_and_send(sender, replica, stop.clone()))
    });
    let count = || arrived(&sink, "m").get("pair").map_or(0, Vec::len);
    let at_least = |scrapes: usize| {
        let count = &count;
        wait_for("scrapes", SHORT, move || async move {
            let have = count();
            (have >= scrapes).then_some(()).ok_or(format!("{have}"))
        })
    };
    at_least(10).await;
    let elected = clusters(&distributor).await.remove("pair").unwrap();
    let index = REPLICAS
        .iter()
        .position(|name| *name == elected.replica)
        .unwrap();
    sink.fail(Fault::status(503));
    // An outage has a length: nothing else tells when it is long enough.
    let until = Instant::now() + OUTAGE;
    while Instant::now() < until {
        let now = clusters(&distributor).await.remove("pair").unwrap();
        assert_eq!(now.elected_changes, 0, "{now:?}");
        sleep(SCRAPES).await;
    }
    let before = count();
    sink.heal();
    at_least(before + (OUTAGE.as_millis() / SCRAPES.as_millis()) as usize).await;
    over.send_replace(true);
    let [a, b] = [a.await.unwrap(), b.await.unwrap()];
    let [elected_ones, other] = if index == 0 { [a, b] } else { [b, a] };
    let [stored, deduplicated] = elected_ones;
    assert_eq!(deduplicated, Vec::<i64>::new(), "of the elected replica");
    assert_eq!(other[0], Vec::<i64>::new(), "of the other one");
    assert_eq!(arrived(&sink, "m")["pair"], stored, "each once");
    let now = clusters(&distributor).await.remove("pair").unwrap();
    assert_eq!(now.elected_changes, 0, "{now:?}");
    assert!(now.habits.last_refused.is_some(), "{now:?}");
    distributor
}
