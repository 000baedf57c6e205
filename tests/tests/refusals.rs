//! Refused requests: logged at a bounded rate, and without effect on limits and tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{
    BOTH, assert_stored, assert_text, assert_written, config, exchange, ha_config, ha_series,
    per_sample_config, plain_series, push_head, wait_metric,
};
use e2e::{Distributor, Fault, GrpcClient, SHORT, Series, Sink, Version, v1, wait_for};
use prost::Message as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const V1: (&str, &str) = ("Content-Type", "application/x-protobuf");
const PUSH: &str = "/distributor.Distributor/Push";

/// Waits for log lines with all of `parts`.
async fn wait_lines(distributor: &Distributor, parts: &[&str]) -> Vec<String> {
    wait_for(&format!("a line with {parts:?}"), SHORT, || async {
        let log = distributor.process.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
            .collect();
        match lines.is_empty() {
            true => Err(log),
            false => Ok(lines),
        }
    })
    .await
}

/// One sample and a tenant's second cluster, whose name is not to be printed.
const HOSTILE: &str = "two\u{1b}[31m\u{202e}\n";

#[tokio::test]
async fn each_kind_of_client_error_has_its_line() {
    let sink = Sink::start().await;
    let limits = json!({
        "limits": {"ha_max_clusters": 1, "ingestion_rate": 0.001, "ingestion_burst_size": 4},
        "distributor": {"max_recv_msg_size": "1KiB"},
    });
    let distributor = Distributor::start("refusals", &ha_config(&sink, &limits)).await;
    let sender = |tenant| distributor.sender(tenant);
    let post = async |tenant, headers: &[(&str, &str)], body: Vec<u8>| {
        let answer = sender(tenant).try_send_bytes(headers, body).await;
        answer.unwrap().status
    };
    for _ in 0..3 {
        assert_eq!(post("broken", &[V1], vec![0xff; 4]).await, 400);
    }
    assert_eq!(post("big", &[V1], vec![0; 2000]).await, 413);
    let json_type = ("Content-Type", "application/json");
    assert_eq!(post("json", &[json_type], b"{}".to_vec()).await, 415);
    let nameless = e2e::Sender::new(&distributor.push_url());
    let answer = nameless.try_send_bytes(&[V1], vec![0]).await;
    assert_eq!(answer.unwrap().status, 401);
    assert_eq!(post("not/one", &[V1], vec![0]).await, 400);
    let one = |cluster| [ha_series("m", cluster, "a")];
    assert_stored(
        &sender("many").send(Version::V1, &one("one")).await,
        Version::V1,
    );
    assert_eq!(
        sender("many").send(Version::V1, &one(HOSTILE)).await.status,
        400
    );
    let burst: Vec<_> = (0..4).map(|n| plain_series(&format!("m{n}"))).collect();
    assert_stored(&sender("fast").send(Version::V1, &burst).await, Version::V1);
    assert_eq!(sender("fast").send(Version::V1, &burst).await.status, 429);
    sink.fail_next(1, &Fault::status(422));
    assert_eq!(sender("bad").send(Version::V1, &one("c")).await.status, 422);
    let half = Series::floats(&[("__name__", "m"), ("__replica__", "a")], &[(1, 1.0)]);
    assert_stored(
        &sender("half").send(Version::V1, &[half]).await,
        Version::V1,
    );

    for (tenant, cause, more) in [
        ("broken", "malformed", "status=400 count=1 client="),
        ("big", "too_large", "status=413"),
        ("json", "unsupported_media_type", "status=415"),
        ("\"\"", "no_tenant", "status=401"),
        ("\"\"", "invalid_tenant", "status=400"),
        ("many", "too_many_ha_clusters", "limit of 1 HA clusters"),
        ("fast", "rate_limited", "status=429"),
        ("fast", "no_ha_labels", "accept_ha_samples"),
        ("half", "one_ha_label", "but not"),
        ("bad", "downstream_refused", "answered 422"),
    ] {
        let (tenant, cause) = (format!("tenant={tenant} "), format!("cause={cause} "));
        let parts = ["level=warn", &tenant, &cause, more];
        let lines = wait_lines(&distributor, &parts).await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
    let refused_by = format!("downstream \\\"{}\\\" answered 422", sink.address());
    wait_lines(&distributor, &["tenant=bad ", &refused_by]).await;
    let log = distributor.process.log();
    assert!(!log.contains(['\u{1b}', '\u{202e}']), "{log}");

    // Over gRPC as well.
    let grpc = GrpcClient::new(&distributor);
    for tenant in [Some("grpc"), None] {
        let message = vec![0xff; 4];
        grpc.push_bytes(PUSH, tenant, message).await.unwrap_err();
    }
    wait_lines(&distributor, &["tenant=grpc ", "cause=malformed "]).await;
    let flag = vec![7, 0, 0, 0, 0];
    grpc.push_frame("framed", None, flag).await.unwrap_err();
    wait_lines(
        &distributor,
        &["tenant=framed ", "cause=malformed ", "flag is 7"],
    )
    .await;
}

#[tokio::test]
async fn refusals_of_made_up_tenants_neither_fill_the_log_nor_keep_others_out() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("made-up", &ha_config(&sink, &json!({}))).await;
    let known = distributor.sender("known");
    assert_stored(
        &known.send(Version::V1, &[plain_series("m")]).await,
        Version::V1,
    );
    for number in 0..700 {
        let sender = distributor.sender(&format!("made-up-{number}"));
        let answer = sender.try_send_bytes(&[V1], vec![0xff]).await.unwrap();
        assert_eq!(answer.status, 400);
    }
    let answer = known.try_send_bytes(&[V1], vec![0xff]).await.unwrap();
    assert_eq!(answer.status, 400);
    wait_lines(&distributor, &["tenant=known ", "cause=malformed "]).await;
    let made_up = wait_lines(&distributor, &["tenant=made-up-"]).await;
    // Ten in a minute, whichever that is.
    assert!((10..=20).contains(&made_up.len()), "{made_up:#?}");
    wait_lines(
        &distributor,
        &["more push requests are refused than are logged", "count="],
    )
    .await;
    // And no metrics.
    let page = distributor.get("/metrics").await.unwrap().body;
    assert!(!page.contains("made-up"), "{page}");
}

#[tokio::test]
async fn a_second_tenant_is_refused() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("two-tenants", &config(&sink, &json!({}))).await;
    for second in ["t", "other", ""] {
        let head = push_head(&format!("X-Scope-OrgID: {second}\r\nContent-Length: 1\r\n"));
        let bytes = [head.as_bytes(), &[0]].concat();
        let answer = exchange(distributor.http_address(), &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("more than once"), "{answer}");
    }
    let grpc = GrpcClient::new(&distributor);
    let status = grpc.push_for(&["t", "other"], &[plain_series("m")]).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("more than once"), "{status:?}");
    assert_eq!(sink.attempts(), 0);
}

/// A 1.0 series of one sample whose labels are bytes.
fn raw_series(labels: &[(&str, &[u8])]) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        [
            &[number << 3 | 2, u8::try_from(content.len()).unwrap()],
            content,
        ]
        .concat()
    };
    let labels = labels
        .iter()
        .flat_map(|(name, value)| field(1, &[field(1, name.as_bytes()), field(2, value)].concat()));
    let content: Vec<u8> = labels.chain(field(2, &[0x10, 1])).collect();
    field(1, &content)
}

#[tokio::test]
async fn a_cluster_that_is_not_utf_8_costs_no_other_sample() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("utf-8", &per_sample_config(&sink, &json!({}))).await;
    let series = |name: &[u8], cluster: &[u8]| {
        raw_series(&[
            ("__name__", name),
            ("__replica__", b"a"),
            ("cluster", cluster),
        ])
    };
    let sent = [
        series(b"one", b"good"),
        series(b"two", b"\xff"),
        series(b"three", b"good"),
    ];
    let answer = distributor
        .sender("t")
        .send_protobuf(Version::V1, &sent.concat())
        .await;
    let said = [
        "cluster label is not UTF-8",
        "(series 1)",
        "the rest of the request was processed",
    ];
    assert_text(&answer, 400, &said);
    let mut names: Vec<_> = sink
        .series()
        .iter()
        .map(|s| s.labels["__name__"].clone())
        .collect();
    names.sort();
    assert_eq!(names, ["one", "three"]);
    let labels = [("user", "t"), ("reason", "ha_label_not_utf8")];
    wait_metric(&distributor, "cortex_discarded_samples_total", &labels, 1.0).await;
    wait_lines(&distributor, &["tenant=t ", "cause=ha_label_not_utf8 "]).await;
}

#[tokio::test]
async fn metadata_is_forwarded_though_its_series_are_not() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("metadata", &per_sample_config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    for version in BOTH {
        let answer = sender.send(version, &[ha_series("m", "c", "a")]).await;
        assert_stored(&answer, version);
    }
    sink.take();
    let mut request = v1::WriteRequest::decode(
        raw_series(&[("__name__", b"m"), ("__replica__", b"b"), ("cluster", b"c")]).as_slice(),
    )
    .unwrap();
    request.metadata.push(v1::MetricMetadata {
        metric_family_name: "m".to_owned(),
        help: "what it is".to_owned(),
        ..Default::default()
    });
    let answer = sender.send_v1(&request).await;
    assert_text(&answer, 202, &["deduplicated", "\"a\" is"]);
    let helps: Vec<_> = sink.metadata().iter().map(|one| one.help.clone()).collect();
    assert_eq!(helps, ["what it is"]);
    assert!(sink.series().is_empty(), "{:?}", sink.series());
    // As with everything else, the answer waits for the downstream's.
    sink.fail_next(1, &Fault::status(500));
    assert_eq!(sender.send_v1(&request).await.status, 500);
    // Without metadata there is nothing to forward; 2.0 has it in the series.
    sink.take();
    for version in BOTH {
        let answer = sender.send(version, &[ha_series("m", "c", "b")]).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_written(&answer, version, [1, 0, 0]);
    }
    assert!(sink.requests().is_empty());
}

#[tokio::test]
async fn a_sender_that_hangs_up_is_not_charged() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {"ingestion_rate": 0.001, "ingestion_burst_size": 10}});
    let distributor = Distributor::start("hang-up", &config(&sink, &limits)).await;
    let address = distributor.http_address();
    let (gate, hold) = Fault::hold();
    sink.fail(hold);
    let series: Vec<_> = (0..10).map(|n| plain_series(&format!("m{n}"))).collect();
    let body = snap::raw::Encoder::new()
        .compress_vec(&e2e::to_v1(&series).encode_to_vec())
        .unwrap();
    let head = push_head(&format!("Content-Length: {}\r\n", body.len()));
    for number in 1..=5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        wait_for("the downstream to have it", SHORT, || async {
            let attempts = sink.attempts();
            (attempts == number)
                .then_some(())
                .ok_or(attempts.to_string())
        })
        .await;
        drop(stream);
        let in_flight = "cortex_distributor_inflight_push_requests";
        wait_metric(&distributor, in_flight, &[], 0.0).await;
    }
    sink.heal();
    drop(gate);
    let answer = distributor.sender("t").send(Version::V1, &series).await;
    assert_stored(&answer, Version::V1);
    let refused = distributor.sender("t").send(Version::V1, &series).await;
    assert_eq!(refused.status, 429, "the limit is there: {refused:?}");
}

#[tokio::test]
async fn a_request_takes_no_place_before_its_body_is_there() {
    let sink = Sink::start().await;
    let limits = json!({"distributor": {"instance_limits": {"max_inflight_push_requests": 2}}});
    let distributor = Distributor::start("bodyless", &config(&sink, &limits)).await;
    let address = distributor.http_address();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = push_head("Content-Length: 100\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[0; 10]).await.unwrap();
        waiting.push(stream);
    }
    for version in BOTH {
        let sender = distributor.sender("t");
        let answer = sender.send(version, &[plain_series("m")]).await;
        assert_stored(&answer, version);
        let grpc = GrpcClient::new(&distributor);
        grpc.push(Some("t"), &[plain_series("m")]).await.unwrap();
    }
    // Nothing more of them comes: they are told so.
    wait_lines(
        &distributor,
        &["tenant=t ", "cause=body_not_received ", "status=503"],
    )
    .await;
    wait_metric(
        &distributor,
        "cortex_distributor_inflight_push_requests",
        &[],
        0.0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_mimirs_ids_and_reasons() {
    let sink = Sink::start().await;
    let limits = json!({
        "limits": {"ha_max_clusters": 1, "ingestion_rate": 0.001, "ingestion_burst_size": 1},
        "distributor": {"max_recv_msg_size": "1KiB"},
    });
    let distributor = Distributor::start("tenants", &ha_config(&sink, &limits)).await;
    let sender = distributor.sender("t");
    let one = |cluster| [ha_series("m", cluster, "a")];
    assert_stored(&sender.send(Version::V1, &one("c")).await, Version::V1);
    for (answer, status, id) in [
        (
            sender.send(Version::V1, &one("d")).await,
            400,
            "(err-mimir-tenant-too-many-ha-clusters)",
        ),
        (
            sender.send(Version::V1, &one("c")).await,
            429,
            "(err-mimir-tenant-max-ingestion-rate)",
        ),
        (
            sender.send_protobuf(Version::V1, &[0; 2000]).await,
            413,
            "(err-mimir-distributor-max-write-message-size)",
        ),
    ] {
        assert_text(&answer, status, &[id]);
    }
    let metrics = distributor.metrics().await.unwrap();
    for reason in ["too_many_ha_clusters", "rate_limited", "too_large"] {
        let labels = [("user", "t"), ("reason", reason)];
        let discarded = metrics.get("cortex_discarded_requests_total", &labels);
        assert_eq!(discarded, Some(1.0), "{reason}");
    }
}

/// How often requests were refused for a limit of the instance.
async fn rejected(distributor: &Distributor, reason: &str) -> Option<f64> {
    let name = "cortex_distributor_instance_rejected_requests_total";
    let metrics = distributor.metrics().await.unwrap();
    metrics.get(name, &[("reason", reason)])
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_instance_have_mimirs_ids_and_reasons() {
    let sink = Sink::start().await;
    let start = async |limit: &str, value: serde_json::Value| {
        let limits = json!({"distributor": {"instance_limits": {limit: value}}});
        Distributor::start(limit, &ha_config(&sink, &limits)).await
    };
    let one = [ha_series("m", "c", "a")];
    let distributor = start("max_ingestion_rate", json!(0.001)).await;
    let sender = distributor.sender("t");
    assert_stored(&sender.send(Version::V1, &one).await, Version::V1);
    let refused = sender.send(Version::V1, &one).await;
    assert_text(
        &refused,
        503,
        &["(err-mimir-distributor-max-ingestion-rate)"],
    );
    let reason = "distributor_max_ingestion_rate";
    assert_eq!(rejected(&distributor, reason).await, Some(1.0));

    let distributor = start("max_inflight_push_requests", json!(1)).await;
    let (gate, hold) = Fault::hold();
    sink.fail(hold);
    let attempts = sink.attempts();
    let sender = distributor.sender("t");
    let held = tokio::spawn({
        let (sender, one) = (distributor.sender("t"), one.clone());
        async move { sender.send(Version::V1, &one).await }
    });
    wait_for("a request to be in flight", SHORT, || async {
        match sink.attempts() {
            now if now > attempts => Ok(()),
            now => Err(now.to_string()),
        }
    })
    .await;
    let refused = sender.send(Version::V1, &one).await;
    let id = "(err-mimir-distributor-max-inflight-push-requests)";
    assert_text(&refused, 503, &[id]);
    drop(gate);
    sink.heal();
    assert_stored(&held.await.unwrap(), Version::V1);
    let reason = "distributor_max_inflight_push_requests";
    assert_eq!(rejected(&distributor, reason).await, Some(1.0));
    // Those of the other limits are there, and none.
    assert_eq!(
        rejected(&distributor, &format!("{reason}_bytes")).await,
        Some(0.0)
    );
}
