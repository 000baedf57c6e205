//! Settings of Mimir's for operation: a delay before the end, a path prefix, waits that grow, and
//! limits of the instance that change while it runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{assert_stored, assert_text, config, ha_config, metrics, plain_series, wait_metric};
use e2e::{Distributor, Fault, LONG, SHORT, Sender, Sink, Version, wait_for};
use serde_json::json;

#[tokio::test]
async fn an_instance_that_is_told_to_stop_serves_for_the_shutdown_delay() {
    let sink = Sink::start().await;
    // It ends at the second signal, long before.
    let config = config(&sink, &json!({"shutdown_delay": "10m"}));
    let mut distributor = Distributor::start("delayed", &config).await;
    distributor.process.sigterm();
    wait_for("/ready to say no", SHORT, || async {
        let answer = distributor.get("/ready").await?;
        match answer.status == 503 && answer.body.contains("shutting down") {
            true => Ok(()),
            false => Err(format!("{} {}", answer.status, answer.body)),
        }
    })
    .await;
    // On a connection of its own.
    let sender = distributor.sender("t");
    assert_stored(
        &sender.send(Version::V1, &[plain_series("late")]).await,
        Version::V1,
    );
    assert_eq!(sink.series().len(), 1);
    assert_eq!(distributor.process.exit_status(), None);
    distributor.process.sigterm();
    distributor.process.wait_exit(SHORT).await;
    assert!(
        distributor
            .process
            .log()
            .contains("serving until shutdown_delay is over")
    );

    let config = common::config(&sink, &json!({"shutdown_delay": "100ms"}));
    let mut distributor = Distributor::start("short", &config).await;
    distributor.process.sigterm();
    assert!(distributor.process.wait_exit(LONG).await.success());
}

#[tokio::test]
async fn everything_is_served_below_the_prefix() {
    let sink = Sink::start().await;
    let config = config(&sink, &json!({"server": {"http_path_prefix": "/mimir"}}));
    let distributor = Distributor::start("prefixed", &config).await;
    let sender = Sender::new(&distributor.url("/mimir/api/v1/push")).tenant("t");
    assert_stored(
        &sender.send(Version::V1, &[plain_series("up")]).await,
        Version::V1,
    );
    assert_eq!(sink.series().len(), 1);
    for path in [
        "/mimir",
        "/mimir/",
        "/mimir/ready",
        "/mimir/metrics",
        "/mimir/config?mode=diff",
    ] {
        assert_eq!(distributor.get(path).await.unwrap().status, 200, "{path}");
    }
    for path in ["/mimirs/ready", "/mimir/nothing", "/other/ready"] {
        assert_eq!(distributor.get(path).await.unwrap().status, 404, "{path}");
    }
    // The label of requests is that of the route.
    let requests = metrics(&distributor).await;
    let labels = [("route", "api_v1_push"), ("status_code", "200")];
    let count = requests.sum("cortex_request_duration_seconds_count", &labels);
    assert!((count - 1.0).abs() < f64::EPSILON, "{count}");
}

#[tokio::test]
async fn waits_grow_with_the_attempts_when_that_is_switched_on() {
    let sink = Sink::start().await;
    let header = json!({"enabled": true, "min_backoff": "20s", "max_backoff": "80s"});
    let on = config(
        &sink,
        &json!({"distributor": {"retry_after_header": header}}),
    );
    let on = Distributor::start("waits", &on).await;
    let off = Distributor::start("no-waits", &config(&sink, &json!({}))).await;
    sink.fail(Fault::status(503));
    let wait_of = async |distributor: &Distributor, attempt: &str| {
        let sender = distributor.sender("t").header("Retry-Attempt", attempt);
        let answer = sender.send(Version::V1, &[plain_series("up")]).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        answer
            .header("Retry-After")
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    for (attempt, waits) in [
        ("1", 20..=30),
        ("2", 20..=60),
        ("3", 40..=80),
        ("9", 40..=80),
    ] {
        let wait = wait_of(&on, attempt).await;
        assert!(waits.contains(&wait), "attempt {attempt}: {wait}");
    }
    assert_eq!(wait_of(&off, "9").await, 1);
}

#[tokio::test]
async fn limits_of_the_instance_change_while_it_runs() {
    let sink = Sink::start().await;
    let runtime = json!({"runtime_config": {"file": ["runtime.yaml"], "period": "100ms"}});
    let yaml = config(&sink, &runtime);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runtime.yaml");
    let set = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    set("overrides: {}\n");
    let flag = format!("-runtime-config.file={}", file.display());
    let mut distributor = Distributor::launch_with("limited", &yaml, &[&flag], &[]);
    distributor.wait_ready().await;
    let sender = distributor.sender("t");
    let push = async || {
        sender
            .send(Version::V1, &[plain_series("a"), plain_series("b")])
            .await
    };
    assert_stored(&push().await, Version::V1);

    set("distributor_limits: {max_ingestion_rate: 0.001}\n");
    let metric = "cortex_distributor_instance_limits";
    wait_metric(
        &distributor,
        metric,
        &[("limit", "max_ingestion_rate")],
        0.001,
    )
    .await;
    let requests = [("limit", "max_inflight_push_requests")];
    wait_metric(&distributor, metric, &requests, 2000.0).await;
    // What is larger than the limit passes once, in debt.
    assert_stored(&push().await, Version::V1);
    let refused = push().await;
    assert_text(
        &refused,
        503,
        &[
            "more than 0.001 samples/s",
            "err-mimir-distributor-max-ingestion-rate",
        ],
    );
    let page = distributor.get("/runtime_config").await.unwrap();
    assert!(page.body.contains("max_ingestion_rate: 0.001"), "{page:?}");

    set("distributor_limits: {max_inflight_push_requests: 7}\n");
    wait_metric(&distributor, metric, &requests, 7.0).await;
    wait_metric(
        &distributor,
        metric,
        &[("limit", "max_ingestion_rate")],
        0.0,
    )
    .await;
    assert_stored(&push().await, Version::V1);
}

#[tokio::test]
async fn the_start_says_what_there_is() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("found", &ha_config(&sink, &json!({}))).await;
    wait_for("the line", SHORT, || async {
        let log = distributor.process.log();
        let line = log.lines().find(|line| line.contains("msg=ready"));
        let line = line.or_else(|| {
            log.lines()
                .find(|line| line.contains("ready") && line.contains("after_ms"))
        });
        match line {
            Some(line) if line.contains("clusters=0") && line.contains("other_members=0") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
