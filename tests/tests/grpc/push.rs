//! Push over gRPC is Push over HTTP.

use std::io::Write as _;

use e2e::{Distributor, Fault, GrpcClient, Metrics, SHORT, Series, Sink, Version, wait_for};
use prost::Message as _;
use serde_json::json;
use tonic::Code;

use crate::common::{ha_config, ha_series_at, metrics, now_ms, plain_series, stripped};

const PUSH: &str = "/distributor.Distributor/Push";

/// What requests of all kinds leave behind: elected, deduplicated, mixed, without HA labels.
fn requests(now: i64) -> Vec<Vec<Series>> {
    let ha = |name: &str, replica: &str| ha_series_at(name, "c", replica, now);
    vec![
        vec![ha("a", "r0")],
        vec![ha("a", "r1")],
        vec![ha("b", "r0"), ha("b", "r1"), plain("d", now)],
        vec![plain("e", now)],
        Vec::new(),
    ]
}

fn plain(name: &str, now: i64) -> Series {
    Series::floats(&[("__name__", name), ("job", "j")], &[(now, 2.5)])
}

/// What may differ between two distributors that have done the same: times and connections.
fn comparable(metrics: &Metrics) -> Vec<String> {
    metrics
        .iter()
        .filter(|(name, _, _)| {
            name.starts_with("cortex_distributor_") || name.starts_with("cortex_discarded_")
        })
        .filter(|(name, _, _)| !name.contains("duration_seconds_") || name.ends_with("_count"))
        .filter(|(name, _, _)| *name != "cortex_distributor_sample_delay_seconds_sum")
        .map(|(name, labels, value)| {
            let mut labels = labels.clone();
            // Its address.
            labels.remove("name");
            format!("{name}{labels:?} {value}")
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_and_the_same_metrics_as_over_http() {
    let now = now_ms();
    let mut results = Vec::new();
    for over_grpc in [false, true] {
        let sink = Sink::start().await;
        let distributor = Distributor::start("d", &ha_config(&sink, &json!({}))).await;
        let (http, grpc) = (distributor.sender("t"), GrpcClient::new(&distributor));
        let mut answers = Vec::new();
        for series in requests(now) {
            answers.push(if over_grpc {
                match grpc.push(Some("t"), &series).await {
                    Ok(()) => (200, String::new()),
                    Err(status) => {
                        assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
                        (202, status.message().to_owned())
                    }
                }
            } else {
                let answer = http.send(Version::V1, &series).await;
                (answer.status, answer.body.trim_end().to_owned())
            });
        }
        let bodies: Vec<_> = sink
            .requests()
            .into_iter()
            .map(|request| request.body)
            .collect();
        let series: Vec<_> = sink.series();
        results.push((
            answers,
            bodies,
            series,
            comparable(&metrics(&distributor).await),
        ));
    }
    let [http, grpc] = results.try_into().unwrap();
    assert_eq!(http.0, grpc.0, "answers");
    assert_eq!(http.1, grpc.1, "bytes downstream");
    assert_eq!(http.3, grpc.3, "metrics");
    let expected = [
        stripped(&ha_series_at("a", "c", "r0", now)),
        stripped(&ha_series_at("b", "c", "r0", now)),
    ];
    assert_eq!(grpc.2[..2], expected);
    assert!(http.0[1].1.contains("r0"), "{:?}", http.0);
}

/// A message of gRPC: its flag, its length, itself.
fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

/// Mimir's `grpc_compression: snappy`, which no other client has. Gzip: see Python's client.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_may_be_frames_of_snappy() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("d", &ha_config(&sink, &json!({}))).await;
    let grpc = GrpcClient::new(&distributor);
    let series: Vec<_> = (0..5_000)
        .map(|number| plain_series(&format!("m{number}")))
        .collect();
    let message = e2e::to_v1(&series).encode_to_vec();
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(&message).unwrap();
    let compressed = encoder.into_inner().unwrap();
    let sent = frame(1, &compressed);
    grpc.push_frame("t", Some("snappy"), sent.clone())
        .await
        .unwrap();
    assert_eq!(sink.series(), series);
    // Whatever is said of the call, a message's flag tells of itself.
    for encoding in [None, Some("identity"), Some("gzip"), Some("snappy")] {
        grpc.push_frame("t", encoding, frame(0, &message))
            .await
            .unwrap();
    }
    assert_eq!(sink.attempts(), 5);
    for (encoding, sent, code) in [
        (None, &sent, Code::Internal),
        (Some("identity"), &sent, Code::Internal),
        (Some("gzip"), &sent, Code::InvalidArgument),
        (Some("s2"), &sent, Code::Unimplemented),
        (Some("snappy"), &frame(2, &compressed), Code::Internal),
        (Some("snappy"), &frame(1, &message), Code::InvalidArgument),
    ] {
        let status = grpc.push_frame("t", encoding, sent.clone()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), code, "{encoding:?}: {status:?}");
    }
    assert_eq!(sink.attempts(), 5);
}

/// The form of remote write 2.0 that this message of Mimir's has as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deduplicated_is_refused() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("d", &ha_config(&sink, &json!({}))).await;
    let series = [ha_series_at("m", "c", "r0", now_ms())];
    let message = e2e::to_v2(&series).encode_to_vec();
    let grpc = GrpcClient::new(&distributor);
    let status = grpc.push_bytes(PUSH, Some("t"), message.clone()).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let reason = "a series of remote write 2.0, while the request says 1.0";
    assert!(status.message().contains(reason), "{status:?}");
    let answer = distributor
        .sender("t")
        .send_protobuf(Version::V1, &message)
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains(reason), "{answer:?}");
    assert_eq!(sink.attempts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mimir_adds_to_a_request_is_passed_on() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("d", &ha_config(&sink, &json!({}))).await;
    let grpc = GrpcClient::new(&distributor);
    let mut message = Vec::new();
    let series = [plain_series("m")];
    let request = e2e::v1::WriteRequest {
        timeseries: vec![e2e::v1::TimeSeries {
            labels: series[0]
                .labels
                .iter()
                .map(|(name, value)| e2e::v1::Label {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            samples: vec![e2e::v1::Sample {
                value: 2.5,
                timestamp: series[0].samples[0].timestamp,
            }],
            ..Default::default()
        }],
        metadata: Vec::new(),
    };
    prost::Message::encode(&request, &mut message).unwrap();
    // source = RULE, skip_label_name_validation = true
    message.extend([0x10, 1, 0xc0, 0x3e, 1]);
    grpc.push_bytes(PUSH, Some("t"), message.clone())
        .await
        .unwrap();
    let requests = sink.requests();
    let received = snap::raw::Decoder::new().decompress_vec(&requests[0].body);
    assert_eq!(received.unwrap(), message);
    assert_eq!(requests[0].tenant.as_deref(), Some("t"));
}

/// `google.rpc.Status`, with one kind of details.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(message, optional, tag = "2")]
    value: Option<ErrorDetails>,
}

/// `cortexpb.ErrorDetails` of Mimir.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorDetails {
    #[prost(int32, tag = "1")]
    cause: i32,
}

/// Mimir's cause in the details of a status.
fn cause_of(status: &tonic::Status) -> Option<i32> {
    let whole = RpcStatus::decode(status.details()).unwrap();
    let [detail] = whole.details.as_slice() else {
        assert_eq!(whole, RpcStatus::default());
        return None;
    };
    assert_eq!(
        (whole.code, &*whole.message),
        (status.code() as i32, status.message())
    );
    assert_eq!(detail.type_url, "type.googleapis.com/cortexpb.ErrorDetails");
    detail.value.as_ref().map(|details| details.cause)
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_the_texts_of_http() {
    let sink = Sink::start().await;
    let more = json!({
        "limits": {"ha_max_clusters": 1},
        "distributor": {"max_recv_msg_size": 100_000},
    });
    let distributor = Distributor::start("d", &ha_config(&sink, &more)).await;
    let (http, grpc) = (distributor.sender("t"), GrpcClient::new(&distributor));
    let series = |cluster: &str| [ha_series_at("m", cluster, "r0", now_ms())];
    grpc.push(Some("t"), &series("c")).await.unwrap();

    // A status, its text over HTTP, its code, and its cause.
    let mut cases = Vec::new();
    cases.push((
        http.send(Version::V1, &series("d")).await,
        grpc.push(Some("t"), &series("d")).await,
        Code::FailedPrecondition,
        Some(2),
    ));
    cases.push((
        e2e::Sender::new(&distributor.push_url())
            .send(Version::V1, &series("c"))
            .await,
        grpc.push(None, &series("c")).await,
        Code::Unauthenticated,
        None,
    ));
    cases.push((
        distributor
            .sender("a b")
            .send(Version::V1, &series("c"))
            .await,
        grpc.push(Some("a b"), &series("c")).await,
        Code::InvalidArgument,
        Some(3),
    ));
    cases.push((
        http.send_protobuf(Version::V1, b"\x0a\xff").await,
        grpc.push_bytes(PUSH, Some("t"), b"\x0a\xff".to_vec()).await,
        Code::InvalidArgument,
        Some(3),
    ));
    sink.fail(Fault::status(500));
    cases.push((
        http.send(Version::V1, &series("c")).await,
        grpc.push(Some("t"), &series("c")).await,
        Code::Internal,
        None,
    ));
    sink.fail(Fault::status(429));
    cases.push((
        http.send(Version::V1, &series("c")).await,
        grpc.push(Some("t"), &series("c")).await,
        Code::ResourceExhausted,
        Some(4),
    ));
    sink.heal();
    for (answer, pushed, code, cause) in cases {
        let status = pushed.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert_eq!(cause_of(&status), cause, "{status:?}");
        assert_eq!(status.message(), answer.body.trim_end(), "{status:?}");
        let wait = status
            .metadata()
            .get("retry-after")
            .map(|wait| wait.to_str().unwrap());
        assert_eq!(wait, answer.header("Retry-After"), "{status:?}");
    }

    // Larger than it may be: refused before it is read, and the connection goes on.
    let large = vec![0x0a; 100_001];
    let status = grpc.push_bytes(PUSH, Some("t"), large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(status.message().contains("100000"), "{status:?}");
    for path in ["/distributor.Distributor/Pull", "/no.Service/Push"] {
        let status = grpc
            .push_bytes(path, Some("t"), Vec::new())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    }
    grpc.push(Some("t"), &series("c")).await.unwrap();

    let labels = [("method", "gRPC"), ("route", PUSH)];
    let counted = metrics(&distributor).await;
    let count = |status: &str| {
        let labels = [labels[0], labels[1], ("status_code", status)];
        counted.get("cortex_request_duration_seconds_count", &labels)
    };
    for (code, calls) in [
        ("OK", 2.0),
        ("InvalidArgument", 2.0),
        ("FailedPrecondition", 1.0),
        ("Unauthenticated", 1.0),
        ("Internal", 1.0),
        ("ResourceExhausted", 1.0),
        ("OutOfRange", 1.0),
    ] {
        assert_eq!(count(code), Some(calls), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_is_in_flight() {
    let sink = Sink::start().await;
    let mut distributor = Distributor::start("d", &ha_config(&sink, &json!({}))).await;
    let grpc = GrpcClient::new(&distributor);
    let (gate, hold) = Fault::hold();
    sink.fail(hold);
    let push = tokio::spawn({
        let grpc = grpc.clone();
        async move { grpc.push(Some("t"), &[plain_series("m")]).await }
    });
    wait_for("the request to be in flight", SHORT, || async {
        match sink.attempts() {
            1 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    distributor.process.sigterm();
    wait_for("the drain to begin", SHORT, || async {
        let log = distributor.process.log();
        match log.contains("shutting down") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    drop(gate);
    push.await.unwrap().unwrap();
    let status = distributor.process.wait_exit(SHORT).await;
    assert!(status.success(), "{status}");
    assert_eq!(sink.requests().len(), 1);
}
