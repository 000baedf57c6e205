//! The harness itself: what scenarios rely on works between real peers, without a distributor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use e2e::{
    Distributor, Exemplar, Fault, LONG, Port, Process, Prometheus, PrometheusConfig,
    PrometheusVersion, Recipe, RemoteWrite, SHORT, STALE_NAN_BITS, Sample, Sender, Series, Sink,
    Target, TargetExemplar, TargetHistogram, Version, labels, v2, wait_for,
};

/// A target with one series of each kind.
async fn full_target() -> Target {
    let target = Target::start().await;
    target.set_gauge("temperature", &[("room", "a")], 21.5);
    let exemplar = TargetExemplar::new(&[("trace_id", "abc")], 1.0, now_ms());
    target.set_counter("requests_total", &[("code", "200")], 7.0, Some(exemplar));
    target.set_histogram(
        "classic",
        &[],
        TargetHistogram::classic(&[(1.0, 2), (5.0, 3)], 1, 12.0),
    );
    target.set_histogram("native", &[], TargetHistogram::native(&[1, 2, 3], 9.0));
    target
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn everything_arrives(
    sender: PrometheusVersion,
    version: Version,
    receiver: PrometheusVersion,
) {
    let target = full_target().await;
    let receiver = Prometheus::start("receiver", &PrometheusConfig::receiver(receiver)).await;
    let write = RemoteWrite::new(&receiver.write_url(), version, "");
    let external = [("cluster", "c"), ("replica", "r")];
    let config = PrometheusConfig::sender(sender, &external, target.address(), write);
    let _sender = Prometheus::start("sender", &config).await;

    let receiver = &receiver;
    for (promql, expected) in [
        ("temperature{cluster='c',replica='r',room='a'}", "21.5"),
        ("requests_total{code='200'}", "7"),
        ("classic_bucket{le=~'5(.0)?'}", "5"),
        ("histogram_count(native)", "6"),
        ("histogram_sum(native)", "9"),
    ] {
        wait_for(promql, LONG, || async move {
            let found = receiver.query(promql).await?;
            match found.as_slice() {
                [one] if one["value"][1] == expected => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    wait_for("the exemplar", LONG, || async {
        let found = receiver.exemplars("requests_total").await?;
        let trace = &found.first().ok_or("none")?["exemplars"][0]["labels"]["trace_id"];
        if trace == "abc" {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    let series = receiver.series("temperature").await.unwrap();
    assert_eq!(series.len(), 1, "{series:?}");
    assert!(
        receiver
            .metrics()
            .await
            .unwrap()
            .sum("prometheus_http_requests_total", &[])
            > 0.0
    );
}

#[tokio::test]
async fn prometheus_2_writes_1_0_to_prometheus_2() {
    everything_arrives(PrometheusVersion::V2, Version::V1, PrometheusVersion::V2).await;
}

#[tokio::test]
async fn prometheus_2_writes_1_0_to_prometheus_3() {
    everything_arrives(PrometheusVersion::V2, Version::V1, PrometheusVersion::V3).await;
}

#[tokio::test]
async fn prometheus_3_writes_1_0_to_prometheus_2() {
    everything_arrives(PrometheusVersion::V3, Version::V1, PrometheusVersion::V2).await;
}

#[tokio::test]
async fn prometheus_3_writes_2_0_to_prometheus_3() {
    everything_arrives(PrometheusVersion::V3, Version::V2, PrometheusVersion::V3).await;
}

async fn the_sink_sees_all_of(sender: PrometheusVersion, version: Version, tenant: Option<&str>) {
    let target = full_target().await;
    let sink = Sink::start().await;
    // It has to survive these and retry.
    sink.fail_next(1, &Fault::status(503));
    sink.fail_next(1, &Fault::Reset);
    let write = RemoteWrite::new(&sink.url(), version, tenant.unwrap_or_default());
    let config = PrometheusConfig::sender(sender, &[("cluster", "c")], target.address(), write);
    let mut prometheus = Prometheus::start("sender", &config).await;

    let sink = &sink;
    let of = |name: &'static str| sink.series().into_iter().filter(move |s| s.name() == name);
    wait_for("every kind of data", LONG, || async {
        let histogram = of("native").any(|s| s.histograms.iter().any(|h| h.sum == 9.0));
        let exemplar = of("requests_total").any(|s| s.exemplars.iter().any(|e| e.value == 1.0));
        let gauge = of("temperature").any(|s| s.samples.iter().any(|s| s.value() == 21.5));
        let metadata = sink
            .metadata()
            .iter()
            .any(|m| m.help == "Help of temperature.");
        let all = (histogram, exemplar, gauge, metadata);
        if all == (true, true, true, true) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
    assert!(sink.refused().is_empty(), "{:?}", sink.refused());
    assert!(
        sink.requests()
            .iter()
            .all(|request| request.version == version)
    );
    for request in sink.requests() {
        assert_eq!(request.tenant.as_deref(), tenant, "{request:?}");
    }
    assert!(of("temperature").all(|series| series.labels["cluster"] == "c"));
    assert!(sink.duplicates().is_empty(), "{:?}", sink.duplicates());

    target.remove("temperature", &[("room", "a")]);
    wait_for("the staleness marker", LONG, || async {
        of("temperature")
            .any(|series| {
                series
                    .samples
                    .iter()
                    .any(|sample| sample.bits == STALE_NAN_BITS)
            })
            .then_some(())
            .ok_or_else(|| format!("{} requests", sink.requests().len()))
    })
    .await;

    prometheus.process.sigkill();
    sink.take();
    let before = target.scrapes();
    prometheus.restart().await;
    wait_for("samples after a restart", LONG, || async {
        of("requests_total")
            .next()
            .map(|_| ())
            .ok_or_else(|| "none".to_owned())
    })
    .await;
    assert!(target.scrapes() > before);
}

#[tokio::test]
async fn prometheus_2_writes_1_0_to_the_sink() {
    the_sink_sees_all_of(PrometheusVersion::V2, Version::V1, None).await;
}

#[tokio::test]
async fn prometheus_3_writes_2_0_to_the_sink() {
    the_sink_sees_all_of(PrometheusVersion::V3, Version::V2, Some("tenant-a")).await;
}

fn rich_series() -> Vec<Series> {
    let mut series = Series::floats(
        &[("__name__", "up"), ("cluster", "c"), ("__replica__", "r")],
        &[(1_000, 1.5), (-2_000, f64::from_bits(STALE_NAN_BITS))],
    );
    series.exemplars.push(Exemplar {
        labels: labels(&[("t", "x")]),
        value: 2.0,
        timestamp: 3,
    });
    series.histograms.push(v2::Histogram {
        sum: 4.0,
        timestamp: 5,
        ..v2::Histogram::default()
    });
    vec![series]
}

#[tokio::test]
async fn what_is_sent_is_what_the_sink_has() {
    let sink = Sink::start().await;
    let sender = Sender::new(&sink.url()).tenant("t").header("X-More", "m");
    for (version, status) in [(Version::V1, 200), (Version::V2, 204)] {
        let answer = sender.send(version, &rich_series()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let received = sink.take().remove(0);
        assert_eq!(received.series, rich_series());
        assert_eq!(received.tenant.as_deref(), Some("t"));
        assert_eq!(received.headers["x-more"], "m");
        let written = answer.header("X-Prometheus-Remote-Write-Samples-Written");
        assert_eq!(written, (version == Version::V2).then_some("2"));
    }
    assert_eq!(sender.send_protobuf(Version::V1, b"\xff").await.status, 400);
    let headers = [
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "snappy"),
    ];
    assert_eq!(
        sender
            .try_send_bytes(&headers, vec![0])
            .await
            .unwrap()
            .status,
        415
    );
    assert_eq!(sink.refused().len(), 2);
}

#[tokio::test]
async fn faults_come_in_order_and_end() {
    let sink = Sink::start().await;
    let sender = Sender::new(&sink.url());
    let series = [Series::floats(&[("__name__", "up")], &[(1_000, 1.0)])];
    sink.fail(Fault::Status {
        status: 503,
        retry_after: Some("7".to_owned()),
        body: "not now".to_owned(),
    });
    sink.fail_next(1, &Fault::Delay(Duration::from_millis(20)));
    assert_eq!(sender.send(Version::V1, &series).await.status, 200);
    let answer = sender.send(Version::V1, &series).await;
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("7"))
    );
    assert_eq!(answer.body, "not now");

    sink.heal();
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
    ];
    sink.fail_next(1, &Fault::Reset);
    assert!(sender.try_send_bytes(&headers, vec![0]).await.is_err());
    assert_eq!(sink.requests().len(), 1);
    sink.fail_next(1, &Fault::StoreThenReset);
    assert!(sender.try_send_bytes(&headers, vec![0]).await.is_err());
    assert_eq!(sink.requests().len(), 2);

    sink.fail_next(1, &Fault::Hang);
    let hanging = sender.try_send_bytes(&headers, vec![0]);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), hanging)
            .await
            .is_err()
    );
    assert_eq!((sink.attempts(), sink.requests().len()), (5, 2));

    assert!(sink.duplicates().is_empty());
    sender.send(Version::V1, &series).await;
    let point = (labels(&[("__name__", "up")]), 1_000);
    assert_eq!(
        sink.duplicates().into_iter().collect::<Vec<_>>(),
        [(point, 2)]
    );
    let expected = Sample {
        timestamp: 1_000,
        bits: 1.0_f64.to_bits(),
    };
    assert_eq!(
        sink.samples()[&labels(&[("__name__", "up")])],
        [expected, expected]
    );
}

#[tokio::test]
async fn a_sink_comes_back_on_its_port() {
    let sink = Sink::start().await;
    let (port, url) = (sink.address().port(), sink.url());
    let sender = Sender::new(&url);
    let series = [Series::floats(&[("__name__", "up")], &[(1, 1.0)])];
    assert_eq!(sender.send(Version::V1, &series).await.status, 200);
    drop(sink);
    wait_for("the port to be free", SHORT, || async {
        std::net::TcpListener::bind(("127.0.0.1", port))
            .map(drop)
            .map_err(|e| e.to_string())
    })
    .await;
    let sink = Sink::start_on(port).await;
    wait_for("a new connection", SHORT, || async {
        let body = snap_empty();
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
        ];
        sender.try_send_bytes(&headers, body).await.map(drop)
    })
    .await;
    assert_eq!(sink.requests().len(), 1);
}

/// The snappy block of nothing.
fn snap_empty() -> Vec<u8> {
    vec![0]
}

#[tokio::test]
async fn processes_obey_signals_and_leave_nothing() {
    let recipe = Recipe {
        program: "/bin/sh".into(),
        arguments: [
            "-c",
            "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.01; done",
        ]
        .map(Into::into)
        .to_vec(),
        environment: Vec::new(),
    };
    let mut process = Process::start("shell", Process::folder_for("shell"), recipe);
    let greeted = |process: &Process, times: usize| {
        let log = process.log();
        if log.matches("hello").count() == times {
            Ok(())
        } else {
            Err(log)
        }
    };
    wait_for("the greeting", SHORT, || {
        std::future::ready(greeted(&process, 1))
    })
    .await;
    process.sigterm();
    assert_eq!(process.wait_exit(SHORT).await.code(), Some(3));
    assert!(process.log().contains("bye"));

    process.restart();
    wait_for("the second greeting", SHORT, || {
        std::future::ready(greeted(&process, 2))
    })
    .await;
    process.sigstop();
    process.sigcont();
    assert!(process.exit_status().is_none());
    let folder = process.folder().to_path_buf();
    drop(process);
    assert!(!folder.exists());
}

#[test]
fn ports_are_not_given_twice() {
    let ports: Vec<Port> = (0..50).map(|_| Port::reserve()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
    // Free for the server it is meant for, although reserved.
    std::net::TcpListener::bind(ports[0].address()).unwrap();
}

#[tokio::test]
#[should_panic(expected = "waited 10ms for: the impossible; last: still 1")]
async fn waiting_names_what_it_waited_for() {
    wait_for("the impossible", Duration::from_millis(10), || async {
        Err::<(), _>("still 1".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_distributor_starts_forwards_and_stops() {
    let sink = Sink::start().await;
    let yaml = format!("distributor:\n  downstream:\n    - url: {}\n", sink.url());
    let mut distributor = Distributor::start("distributor", &yaml).await;
    let series = [Series::floats(&[("__name__", "up")], &[(1_000, 1.0)])];
    for (version, status) in [(Version::V1, 200), (Version::V2, 204)] {
        let answer = distributor.sender("tenant-a").send(version, &series).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let received = sink.take().remove(0);
        assert_eq!(
            (received.version, received.tenant.as_deref()),
            (version, Some("tenant-a"))
        );
        assert_eq!(received.series, series);
    }
    let metrics = distributor.metrics().await.unwrap();
    assert_eq!(
        metrics.get("cortex_distributor_received_samples_total", &[]),
        Some(2.0)
    );
    let file = distributor.write_file("runtime.yaml", "overrides: {}\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "overrides: {}\n");

    distributor.restart().await;
    assert!(distributor.get("/").await.unwrap().body.contains("<html"));
    assert!(
        distributor
            .get_json("/api/v1/status/buildinfo")
            .await
            .unwrap()
            .is_object()
    );
    distributor.process.sigterm();
    assert!(distributor.process.wait_exit(LONG).await.success());
}
