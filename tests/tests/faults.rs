//! What senders are told when something fails: what may succeed later is retried, and what was
//! acknowledged is at the downstream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    BOTH, assert_retry, assert_stored, assert_text, assert_written, config, ha_config, ha_series,
    metrics, per_sample_config, plain_series, push_head, stripped, wait_metric,
};
use e2e::{Distributor, Fault, LONG, Labels, Port, SHORT, Sender, Series, Sink, Version, wait_for};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const IN_FLIGHT: &str = "cortex_distributor_inflight_push_requests";
const DEDUPED: &str = "cortex_distributor_deduped_samples_total";

fn downstream(url: &str) -> String {
    json!({"distributor": {"downstream": [{"url": url}]}}).to_string()
}

fn with_text(status: u16, retry_after: Option<&str>, body: &str) -> Fault {
    Fault::Status {
        status,
        retry_after: retry_after.map(str::to_owned),
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn a_downstream_that_is_not_there_is_worth_a_retry() {
    let unused_port = Port::reserve();
    let url = format!("http://{}/api/v1/write", unused_port.address());
    let distributor = Distributor::start("refused", &downstream(&url)).await;
    let name = unused_port.address().to_string();
    for version in BOTH {
        let sender = distributor.sender("t");
        let answer = sender.send(version, &[plain_series("m")]).await;
        assert_retry(
            &answer,
            503,
            "1",
            &["downstream", &name, "refused", "retry"],
        );
    }
    let count = "cortex_distributor_downstream_request_duration_seconds_count";
    let labels = [("name", name.as_str()), ("status_code", "0")];
    assert_eq!(metrics(&distributor).await.get(count, &labels), Some(2.0));
    assert!(distributor.process.log().contains("push requests fail"));
    // The distributor itself is healthy although it cannot serve.
    assert_eq!(distributor.get("/ready").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_downstream_that_does_not_answer_in_time_is_worth_a_retry() {
    let sink = Sink::start().await;
    sink.fail(Fault::Hang);
    let of_downstream =
        json!({"distributor": {"downstream": [{"url": sink.url(), "remote_timeout": "200ms"}]}});
    let of_all = json!({"distributor": {"remote_timeout": "200ms"}});
    for (name, yaml) in [
        ("slow-one", of_downstream.to_string()),
        ("slow-all", config(&sink, &of_all)),
    ] {
        let distributor = Distributor::start(name, &yaml).await;
        let sender = distributor.sender("t");
        for version in BOTH {
            let answer = sender.send(version, &[plain_series("m")]).await;
            assert_retry(&answer, 503, "1", &["no answer within", "retry"]);
        }
    }
    assert_eq!(sink.attempts(), 4);
}

#[tokio::test]
async fn what_the_downstream_says_is_relayed() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("relay", &config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    let unavailable = "check its URL and credentials";
    // Its status, its Retry-After; our status, our Retry-After, what stands in our text.
    for (status, after, expected, retry, part) in [
        (429, Some("3"), 429, Some("3"), "answered 429: so it is"),
        (429, None, 429, Some("1"), "so it is"),
        (500, None, 500, Some("1"), "so it is"),
        (502, None, 502, Some("1"), "so it is"),
        // If it took longer, the elected replica would seem silent.
        (503, Some("30"), 503, Some("5"), "so it is"),
        (503, Some("86400"), 503, Some("5"), "so it is"),
        (503, Some("soon"), 503, Some("1"), "so it is"),
        (400, None, 400, None, "so it is"),
        (400, Some("7"), 400, None, "so it is"),
        (413, None, 413, None, "so it is"),
        (422, None, 422, None, "so it is"),
        // These are about the way there. Prometheus drops the samples of any 4xx.
        (301, None, 503, Some("1"), unavailable),
        (401, None, 503, Some("1"), unavailable),
        (403, None, 503, Some("1"), unavailable),
        (404, Some("4"), 503, Some("4"), unavailable),
        (405, None, 503, Some("1"), unavailable),
    ] {
        for version in BOTH {
            sink.fail_next(1, &with_text(status, after, "so\n it is\n"));
            let answer = sender.send(version, &[plain_series("m")]).await;
            assert_text(&answer, expected, &[part]);
            assert_written(&answer, version, [0, 0, 0]);
            assert_eq!(answer.header("Retry-After"), retry, "{status}: {answer:?}");
        }
    }
    assert!(sink.requests().is_empty());
    assert_eq!(sink.attempts(), 32, "a request is sent once each");
    assert_stored(
        &sender.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_is_worth_a_retry() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("reset", &config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    assert_stored(
        &sender.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
    for (attempts, fault) in [(2, Fault::Reset), (3, Fault::StoreThenReset)] {
        sink.fail_next(1, &fault);
        let answer = sender.send(Version::V1, &[plain_series("m")]).await;
        assert_retry(&answer, 503, "1", &["downstream", "retry"]);
        assert_eq!(sink.attempts(), attempts);
    }
    assert_stored(
        &sender.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
}

#[tokio::test]
async fn all_of_several_downstreams_must_succeed() {
    let (left, right) = (Sink::start().await, Sink::start().await);
    let both = json!({"distributor": {"downstream": [{"url": left.url()}, {"url": right.url()}]}});
    let distributor = Distributor::start("two", &both.to_string()).await;
    let sender = distributor.sender("t");
    let series = [plain_series("m")];
    right.fail_next(1, &with_text(500, Some("3"), "broken"));
    let answer = sender.send(Version::V2, &series).await;
    let name = right.address().to_string();
    assert_retry(&answer, 500, "3", &[&name, "broken"]);
    assert_eq!((left.requests().len(), right.requests().len()), (1, 0));

    let answer = sender.send(Version::V2, &series).await;
    assert_stored(&answer, Version::V2);
    assert_written(&answer, Version::V2, [1, 0, 0]);
    assert_eq!((left.requests().len(), right.requests().len()), (2, 1));

    // A refusal outranks success, and what may succeed later outranks a refusal.
    left.fail_next(2, &with_text(400, None, "never"));
    let answer = sender.send(Version::V1, &series).await;
    assert_text(&answer, 400, &["never"]);
    right.fail_next(1, &Fault::Reset);
    let answer = sender.send(Version::V1, &series).await;
    assert_retry(&answer, 503, "1", &[&name]);
}

#[tokio::test]
async fn retries_of_a_failed_request_arrive_once() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("once", &ha_config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    for version in BOTH {
        let cluster = format!("{version:?}");
        sink.fail_next(1, &Fault::status(503));
        sink.fail_next(1, &Fault::Reset);
        sink.fail_next(1, &Fault::status(500));
        let series: Vec<Series> = (0..50)
            .map(|i| ha_series(&format!("m{i}"), &cluster, "a"))
            .collect();
        let mut failures = 0;
        loop {
            let answer = sender.send(version, &series).await;
            if answer.status < 300 {
                break assert_stored(&answer, version);
            }
            assert!(answer.status >= 500, "{answer:?}");
            failures += 1;
        }
        assert_eq!(failures, 3);
        let expected: Vec<_> = series.iter().map(stripped).collect();
        let received = sink.take();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].series, expected);
    }
}

#[tokio::test]
async fn failures_outrank_what_became_of_the_rest() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {"ha_max_clusters": 1}});
    let distributor = Distributor::start("outrank", &per_sample_config(&sink, &limits)).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let sender = distributor.sender(&tenant);
        let all = [
            ha_series("other", "c", "b"),
            ha_series("elected", "c", "a"),
            ha_series("too_many", "c2", "a"),
        ];
        assert_stored(&sender.send(version, &all[1..2]).await, version);
        sink.take();
        sink.fail(with_text(503, Some("4"), "full"));

        // Nothing of it is for the downstream.
        let answer = sender.send(version, &all[..1]).await;
        assert_text(&answer, 202, &[r#""a" is"#]);
        assert_written(&answer, version, [1, 0, 0]);
        let answer = sender.send(version, &all[2..]).await;
        assert_text(&answer, 400, &["limit of 1 HA clusters"]);

        let answer = sender.send(version, &all[..2]).await;
        assert_retry(&answer, 503, "4", &["full"]);
        // Of what was deduplicated.
        assert_written(&answer, version, [1, 0, 0]);
        let answer = sender.send(version, &all).await;
        assert_retry(&answer, 503, "4", &["full"]);
        let before = metrics(&distributor).await;
        let labels = [("user", tenant.as_str())];
        // What is sent again is counted then.
        assert_eq!(before.sum(DEDUPED, &labels), 1.0);
        assert_eq!(before.sum("cortex_discarded_samples_total", &labels), 1.0);

        sink.heal();
        let answer = sender.send(version, &all).await;
        assert_text(&answer, 400, &["limit of 1 HA clusters"]);
        assert_eq!(sink.take().remove(0).series, [stripped(&all[1])]);
        assert!(sink.duplicates().is_empty());
    }
}

#[tokio::test]
async fn a_tenant_beyond_its_rate_is_told_when_to_come_back() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {"ingestion_rate": 2, "ingestion_burst_size": 20}});
    let distributor = Distributor::start("rate", &ha_config(&sink, &limits)).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let sender = distributor.sender(&tenant);
        let request = |replica: &str| -> Vec<Series> {
            let name = |i| format!("m{i}");
            (0..20).map(|i| ha_series(&name(i), "c", replica)).collect()
        };
        assert_stored(&sender.send(version, &request("a")).await, version);
        let answer = sender.send(version, &request("a")).await;
        assert_text(
            &answer,
            429,
            &["2 samples/s", "limits.ingestion_rate", &tenant],
        );
        let after: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=10).contains(&after), "{answer:?}");
        // What is dropped anyway costs nothing.
        assert_eq!(sender.send(version, &request("b")).await.status, 202);
        // Another tenant has its own.
        let other = distributor.sender(&format!("other-{tenant}"));
        assert_stored(&other.send(version, &request("a")).await, version);
        assert_eq!(sink.take().len(), 2);
        let labels = [("user", tenant.as_str()), ("reason", "rate_limited")];
        let discarded = metrics(&distributor).await;
        let discarded = discarded.get("cortex_discarded_samples_total", &labels);
        assert_eq!(discarded, Some(20.0));
    }
}

/// A series with so many bytes that no compression shrinks.
fn padded_series(name: &str, bytes: usize) -> Series {
    let mut state = 1u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (state >> 24) as u8 % 75)
    };
    let pad = (0..bytes).map(|_| letter()).collect();
    let mut series = plain_series(name);
    series.labels.insert("pad".to_owned(), pad);
    series
}

/// Sends in the background; the downstream holds it up.
fn send_later(sender: &Sender, series: Series) -> tokio::task::JoinHandle<e2e::Answer> {
    let sender = sender.clone();
    tokio::spawn(async move { sender.send(Version::V1, &[series]).await })
}

#[tokio::test]
async fn an_instance_beyond_its_limits_refuses_more() {
    for (name, limit, part) in [
        (
            "inflight",
            json!({"max_inflight_push_requests": 1}),
            "push requests in flight",
        ),
        (
            "inflight-bytes",
            // Three quarters of it for requests that are not small: two of these do not fit.
            json!({"max_inflight_push_requests_bytes": "64KiB"}),
            "max_inflight_push_requests_bytes",
        ),
    ] {
        let sink = Sink::start().await;
        let limits = json!({"distributor": {"instance_limits": limit}});
        let distributor = Distributor::start(name, &config(&sink, &limits)).await;
        let sender = distributor.sender("t");
        let (gate, hold) = Fault::hold();
        sink.fail_next(1, &hold);
        let first = send_later(&sender, padded_series("first", 20_000));
        wait_metric(&distributor, IN_FLIGHT, &[], 1.0).await;
        wait_for("the downstream to have it", SHORT, || async {
            (sink.attempts() == 1).then_some(()).ok_or_else(String::new)
        })
        .await;
        let second = [padded_series("second", 20_000)];
        let answer = sender.send(Version::V1, &second).await;
        assert_retry(&answer, 503, "1", &[part, "retry"]);
        drop(gate);
        assert_stored(&first.await.unwrap(), Version::V1);
        let answer = sender.send(Version::V1, &second).await;
        assert_stored(&answer, Version::V1);
        assert_eq!(metrics(&distributor).await.get(IN_FLIGHT, &[]), Some(0.0));
    }
    let sink = Sink::start().await;
    let limits = json!({"distributor": {"instance_limits": {"max_ingestion_rate": 1}}});
    let distributor = Distributor::start("instance-rate", &config(&sink, &limits)).await;
    let series: Vec<Series> = (0..10).map(|i| plain_series(&format!("m{i}"))).collect();
    let sender = distributor.sender("t");
    assert_stored(&sender.send(Version::V1, &series).await, Version::V1);
    let answer = sender.send(Version::V1, &series).await;
    assert_text(&answer, 503, &["max_ingestion_rate", "retry"]);
    assert!(answer.header("Retry-After").is_some());
}

#[tokio::test]
async fn clients_that_hang_up_do_no_harm() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("hang-up", &config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    assert_stored(
        &sender.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
    let files = "process_open_fds";
    let before = metrics(&distributor).await.get(files, &[]).unwrap();

    let mut clients = JoinSet::new();
    let address = distributor.http_address();
    let head = push_head("Content-Length: 1000\r\n");
    let cuts = [1, 30, head.len() - 1, head.len()];
    for i in 0..100 {
        let bytes = head.as_bytes()[..cuts[i % 4]].to_vec();
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            if i % 8 >= 4 {
                stream.write_all(&[0; 500]).await.ok();
            }
            if i % 3 == 0 {
                stream.set_zero_linger().unwrap();
            }
        });
    }
    clients.join_all().await;
    // In the middle of an answer that never comes.
    sink.fail(Fault::Hang);
    let waiting: Vec<_> = (0..20)
        .map(|_| send_later(&sender, plain_series("m")))
        .collect();
    wait_metric(&distributor, IN_FLIGHT, &[], 20.0).await;
    for task in waiting {
        task.abort();
    }
    wait_metric(&distributor, IN_FLIGHT, &[], 0.0).await;
    sink.heal();
    assert_stored(
        &sender.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
    wait_for("the files to be closed", SHORT, || async {
        let now = distributor.metrics().await?.get(files, &[]).unwrap();
        if now <= before + 10.0 {
            Ok(())
        } else {
            Err(format!("{before} before, {now} now"))
        }
    })
    .await;
}

#[tokio::test]
async fn sigterm_lets_requests_in_flight_finish() {
    let sink = Sink::start().await;
    let mut distributor = Distributor::start("drain", &config(&sink, &json!({}))).await;
    let (gate, hold) = Fault::hold();
    sink.fail(hold);
    let sender = distributor.sender("t");
    let in_flight: Vec<_> = (0..20)
        .map(|i| send_later(&sender, plain_series(&format!("m{i}"))))
        .collect();
    wait_for("all requests at the downstream", SHORT, || async {
        match sink.attempts() {
            20 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    distributor.process.sigterm();
    wait_for("a sign of the end", SHORT, || async {
        match distributor.get("/ready").await {
            Ok(answer) if answer.status == 200 => Err(answer.body),
            Ok(answer) => {
                assert_text(&answer, 503, &["shutting down"]);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    })
    .await;
    let finished = in_flight.iter().filter(|task| task.is_finished()).count();
    assert_eq!(finished, 0, "it is not ready before the last answer");
    drop(gate);
    for task in in_flight {
        assert_stored(&task.await.unwrap(), Version::V1);
    }
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
    assert_eq!(sink.requests().len(), 20);
    assert!(distributor.process.log().contains("stopped"));
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_ever() {
    let sink = Sink::start().await;
    let more = json!({"server": {"graceful_shutdown_timeout": "300ms"}});
    let mut distributor = Distributor::start("grace", &config(&sink, &more)).await;
    sink.fail(Fault::Hang);
    let headers = [("Content-Type", "application/x-protobuf")];
    let body = push_body();
    let sender = distributor.sender("t");
    let waiting = tokio::spawn(async move { sender.try_send_bytes(&headers, body).await });
    wait_metric(&distributor, IN_FLIGHT, &[], 1.0).await;
    distributor.process.sigterm();
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
    waiting.await.unwrap().unwrap_err();
    assert!(sink.requests().is_empty());
}

/// A 1.0 request with one series and no samples.
fn push_body() -> Vec<u8> {
    let protobuf = [0x0a, 7, 0x0a, 5, 0x0a, 1, b'a', 0x12, 0];
    snap::raw::Encoder::new().compress_vec(&protobuf).unwrap()
}

type Points = BTreeSet<(Labels, i64)>;

/// Writes a series of its own point by point until told to stop. `retries`: as Prometheus does,
/// it sends what failed until it is stored; else it goes on with the next. Returns what was
/// acknowledged.
async fn write_until_stopped(
    stop: Arc<AtomicBool>,
    sender: Sender,
    index: usize,
    retries: bool,
) -> Points {
    let version = BOTH[index % 2];
    let mut series = ha_series(&format!("m{index}"), &format!("c{index}"), "a");
    let mut acknowledged = Points::new();
    for timestamp in 1.. {
        series.samples[0].timestamp = timestamp;
        loop {
            let answer = sender
                .try_send(version, std::slice::from_ref(&series))
                .await;
            if let Ok(answer) = &answer {
                let refused = (400..500).contains(&answer.status) || answer.status == 202;
                assert!(!refused, "the sender would drop it: {answer:?}");
            }
            if answer.is_ok_and(|answer| answer.status < 300) {
                acknowledged.insert((stripped(&series).labels, timestamp));
                break;
            }
            // A fault is not the end of a retry: what was begun is finished after the last one.
            if !retries {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    acknowledged
}

/// Senders write without a pause while `end` makes the distributor go away, twice. What was
/// acknowledged is at the downstream; of the senders that retry, everything is.
async fn nothing_acknowledged_is_lost(name: &str, end: impl AsyncFn(&mut Distributor)) {
    let sink = Sink::start().await;
    // Some time passes between arrival and answer, so that many requests are caught in it.
    sink.fail(Fault::Delay(Duration::from_millis(10)));
    let mut distributor = Distributor::start(name, &ha_config(&sink, &json!({}))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for index in 0..8 {
        let (stop, sender) = (Arc::clone(&stop), distributor.sender("t"));
        senders.spawn(async move {
            let retries = index < 4;
            let points = write_until_stopped(stop, sender, index, retries).await;
            (retries, points)
        });
    }
    for round in 1..=3 {
        let so_far = sink.requests().len();
        wait_for("requests from all", SHORT, || async {
            let mut counts = BTreeMap::new();
            for request in &sink.requests()[so_far..] {
                *counts
                    .entry(request.series[0].name().to_owned())
                    .or_insert(0) += 1;
            }
            if counts.len() == 8 && counts.values().all(|count| *count >= 10) {
                Ok(())
            } else {
                Err(format!("round {round}: {counts:?}"))
            }
        })
        .await;
        if round < 3 {
            end(&mut distributor).await;
            distributor.restart().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let results = senders.join_all().await;
    let stored: Points = sink
        .samples()
        .into_iter()
        .flat_map(|(labels, samples)| {
            samples
                .into_iter()
                .map(move |sample| (labels.clone(), sample.timestamp))
        })
        .collect();
    for (retries, acknowledged) in results {
        assert!(acknowledged.len() >= 20);
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        if retries {
            let last = acknowledged.iter().map(|(_, timestamp)| *timestamp).max();
            assert_eq!(i64::try_from(acknowledged.len()).ok(), last, "a gap");
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_sigterm() {
    nothing_acknowledged_is_lost("sigterm", async |distributor: &mut Distributor| {
        distributor.process.sigterm();
        let status = distributor.process.wait_exit(LONG).await;
        assert_eq!(status.code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_sigkill() {
    nothing_acknowledged_is_lost("sigkill", async |distributor: &mut Distributor| {
        distributor.process.sigkill();
    })
    .await;
}
