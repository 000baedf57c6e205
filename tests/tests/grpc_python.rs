//! The gRPC server as seen by a client of another language: Python's library, and stubs that Python's
//! tools generate from `proto/`. What the client does and expects stands in `python/grpc_client.py`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::tls::{Authority, Identity};
use common::{config, ha_config, ha_series, now_ms, stripped, wait_metric};
use e2e::{
    Distributor, Exemplar, Fault, LONG, MetricMetadata, Process, SHORT, Sender, Sink, Version,
    labels, start_python, v2, wait_for,
};
use serde_json::json;

const INFLIGHT: &str = "cortex_distributor_inflight_push_requests";

/// Starts a scenario of the client.
fn start(distributor: &Distributor, scenario: &str, more: &[&str]) -> Process {
    let address = format!("--address={}", distributor.grpc_address());
    let mut arguments = vec![address, scenario.to_owned()];
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    start_python(scenario, "grpc_client.py", &arguments)
}

/// Runs a scenario. What it says is printed when the test fails.
async fn passes(distributor: &Distributor, scenario: &str, more: &[&str]) {
    let mut client = start(distributor, scenario, more);
    let status = client.wait_exit(LONG).await;
    assert!(status.success(), "{scenario} {more:?}: {}", client.log());
}

/// Waits until a scenario that runs has said this.
async fn says(client: &Process, word: &str) {
    wait_for(
        &format!("{} to say {word}", client.name()),
        LONG,
        || async {
            let log = client.log();
            if log.contains(word) { Ok(()) } else { Err(log) }
        },
    )
    .await;
}

#[tokio::test]
async fn pushes_are_forwarded_or_refused_as_over_http() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("push", &ha_config(&sink, &json!({}))).await;
    let http = distributor.sender("t");
    let mut texts = json!({});
    let mut refusal = |case: &str, answer: e2e::Answer| {
        texts[case] = answer.body.trim_end().into();
    };
    let deduplicated = ["a", "b"].map(|replica| [ha_series("m", "c", replica)]);
    http.send(Version::V1, &deduplicated[0]).await;
    let answer = http.send(Version::V1, &deduplicated[1]).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    refusal("deduplicated", answer);
    let without_tenant = Sender::new(&distributor.push_url());
    refusal(
        "no tenant",
        without_tenant.send(Version::V1, &deduplicated[0]).await,
    );
    let broken = http.send_protobuf(Version::V1, b"\x0a\xff").await;
    refusal("no protobuf", broken);
    sink.take();

    let before = now_ms();
    passes(&distributor, "push", &[&texts.to_string()]).await;
    let mut requests = sink.take();
    // The request without content is one as well.
    requests.retain(|request| !request.series.is_empty());
    let [received] = requests.try_into().unwrap();
    assert_eq!(received.tenant.as_deref(), Some("t"));
    let mut expected = stripped(&ha_series("m", "c", "a"));
    let sent = received.series[0].samples[0].timestamp;
    assert!((before..=now_ms()).contains(&sent), "{sent}");
    expected.samples[0].timestamp = sent;
    expected.histograms = vec![v2::Histogram {
        count: Some(v2::histogram::Count::CountInt(3)),
        sum: 4.5,
        schema: -4,
        zero_threshold: 1e-9,
        zero_count: Some(v2::histogram::ZeroCount::ZeroCountInt(1)),
        positive_spans: vec![v2::BucketSpan {
            offset: -3,
            length: 2,
        }],
        positive_deltas: vec![1, -1],
        timestamp: sent,
        ..v2::Histogram::default()
    }];
    expected.exemplars = vec![Exemplar {
        labels: labels(&[("trace_id", "abc")]),
        value: 7.0,
        timestamp: 3,
    }];
    assert_eq!(received.series, [expected]);
    let metadata = MetricMetadata {
        name: "m".to_owned(),
        kind: 1,
        help: "Help.".to_owned(),
        unit: "s".to_owned(),
    };
    assert_eq!(received.metadata, [metadata]);
}

#[tokio::test]
async fn a_request_that_is_too_large_leaves_the_connection_usable() {
    let sink = Sink::start().await;
    let more = json!({"distributor": {"max_recv_msg_size": 1_000_000}});
    let distributor = Distributor::start("oversize", &ha_config(&sink, &more)).await;
    passes(&distributor, "push_oversize", &[]).await;
    assert_eq!(sink.attempts(), 2);
}

#[tokio::test]
async fn messages_may_be_compressed() {
    let sink = Sink::start().await;
    let more = json!({"distributor": {"max_recv_msg_size": 1_000_000}});
    let distributor = Distributor::start("gzip", &ha_config(&sink, &more)).await;
    passes(&distributor, "compressed", &["--compression=gzip"]).await;
    let [received] = sink.take().try_into().unwrap();
    let padding = &received.series[0].labels["padding"];
    assert_eq!(padding, &"x".repeat(200_000));
    passes(&distributor, "push_bomb", &["--compression=gzip"]).await;
    assert_eq!(sink.take().len(), 1);
    passes(
        &distributor,
        "compressed_otherwise",
        &["--compression=deflate"],
    )
    .await;
    assert_eq!(sink.take().len(), 0);
    wait_metric(&distributor, INFLIGHT, &[], 0.0).await;
}

#[tokio::test]
async fn a_downstream_that_fails_or_hangs_is_told_in_time() {
    let sink = Sink::start().await;
    // So that it is the client's deadline that ends a request.
    let more = json!({"distributor": {"remote_timeout": "10m"}});
    let distributor = Distributor::start("deadline", &ha_config(&sink, &more)).await;
    sink.fail_next(1, &Fault::status(503));
    passes(&distributor, "push_unavailable", &[]).await;
    assert_eq!(sink.take().len(), 1);

    sink.fail(Fault::Hang);
    let before = sink.attempts();
    let mut client = start(&distributor, "push_deadline", &[]);
    says(&client, "late").await;
    // Deadlines come before the answer; the client tries on.
    wait_for("another request that hangs", LONG, || async {
        match sink.attempts() - before {
            0 | 1 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    assert!(sink.take().is_empty());
    sink.heal();
    let status = client.wait_exit(LONG).await;
    assert!(status.success(), "{}", client.log());
    assert!(!sink.take().is_empty());
    // The distributor has given those up, too.
    wait_metric(&distributor, INFLIGHT, &[], 0.0).await;
}

#[tokio::test]
async fn the_tracker_is_a_service() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"ha_max_clusters": 1}});
    let distributor = Distributor::start("check", &ha_config(&sink, &more)).await;
    passes(&distributor, "check", &[]).await;
    let more = json!({});
    let distributor = Distributor::start("list", &ha_config(&sink, &more)).await;
    passes(&distributor, "list_elected", &[]).await;
    // What Push and Check elect is the same.
    let answer = distributor
        .sender("t")
        .send(Version::V1, &[ha_series("m", "c0", "b")])
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test]
async fn elections_are_watched_until_the_client_or_the_distributor_ends_it() {
    let sink = Sink::start().await;
    let mut distributor = Distributor::start("watch", &ha_config(&sink, &json!({}))).await;
    passes(&distributor, "watch_elections", &[]).await;
    let mut client = start(&distributor, "watch_until_drained", &[]);
    says(&client, "watching").await;
    distributor.process.sigterm();
    let status = client.wait_exit(SHORT).await;
    assert!(status.success(), "{}", client.log());
    // Well before server.graceful_shutdown_timeout: the shutdown does not wait for them.
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
}

#[tokio::test]
async fn clients_find_what_there_is_and_what_there_is_not() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("find", &ha_config(&sink, &json!({}))).await;
    for scenario in ["health", "reflection", "unknown"] {
        passes(&distributor, scenario, &[]).await;
    }
    let distributor = Distributor::start("plain", &config(&sink, &json!({}))).await;
    passes(&distributor, "without_tracker", &[]).await;
}

/// Flags for a client that trusts this authority, with a certificate of its own if given.
fn tls_flags(authority: &Authority, identity: Option<&Identity>) -> Vec<String> {
    let mut flags = vec![format!("--ca={}", authority.path().display())];
    if let Some(identity) = identity {
        flags.push(format!("--cert={}", identity.cert.display()));
        flags.push(format!("--key={}", identity.key.display()));
    }
    flags
}

#[tokio::test]
async fn tls_and_mutual_tls() {
    let sink = Sink::start().await;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = ours.sign("127.0.0.1");
    let (known, stranger) = (ours.sign("known"), theirs.sign("stranger"));
    let tls = |auth: &str| {
        let files = json!({"cert_file": server.cert, "key_file": server.key});
        let mut config = json!({"server": {"grpc_tls_config": files}});
        if !auth.is_empty() {
            let client = json!({"client_ca_file": ours.path(), "client_auth_type": auth});
            e2e::merge(&mut config["server"]["grpc_tls_config"], &client);
        }
        config
    };
    let anonymous = tls_flags(&ours, None);
    let certified = tls_flags(&ours, Some(&known));
    let foreign = tls_flags(&ours, Some(&stranger));
    let misled = tls_flags(&theirs, None);
    for (auth, cases) in [
        (
            "",
            vec![
                (&anonymous, "tls"),
                (&misled, "refused"),
                (&anonymous, "tls"),
            ],
        ),
        (
            "RequireAndVerifyClientCert",
            vec![
                (&certified, "tls"),
                (&anonymous, "refused"),
                (&foreign, "refused"),
                (&certified, "tls"),
            ],
        ),
        (
            "VerifyClientCertIfGiven",
            vec![
                (&certified, "tls"),
                (&anonymous, "tls"),
                (&foreign, "refused"),
            ],
        ),
    ] {
        let distributor = Distributor::start("tls", &ha_config(&sink, &tls(auth))).await;
        for (flags, scenario) in cases {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            passes(&distributor, scenario, &flags).await;
            let stored = usize::from(scenario == "tls");
            assert_eq!(sink.take().len(), stored, "{auth:?} {flags:?}");
        }
        passes(&distributor, "refused", &[]).await;
        assert_eq!(sink.take().len(), 0, "{auth:?} in plain text");
    }
}

#[tokio::test]
async fn broken_bytes_harm_nobody_else() {
    let sink = Sink::start().await;
    let mut distributor = Distributor::start("broken", &ha_config(&sink, &json!({}))).await;
    passes(&distributor, "broken_bytes", &[]).await;
    // Nothing of what was broken has arrived.
    let names = sink
        .series()
        .into_iter()
        .map(|series| series.labels["__name__"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["m", "m"]);
    wait_metric(&distributor, INFLIGHT, &[], 0.0).await;
    assert!(distributor.process.exit_status().is_none());
    let log = distributor.process.log();
    assert!(!log.contains("panicked"), "{log}");
}
