//! What goes to the downstream, and how: bytes, headers, credentials.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{
    BOTH, assert_stored, config, elected, ha_config, merge, metrics, plain_series, written,
};
use e2e::{Distributor, Sink, Version, v1, v2};
use serde_json::json;

#[tokio::test]
async fn without_deduplication_the_bytes_are_passed_on_as_they_are() {
    let sink = Sink::start().await;
    let tenant = json!({"limits": {"accept_ha_samples": false}});
    let mut both = json!({"distributor": {"ha_tracker": {"enable_ha_tracker": false}}});
    merge(&mut both, &tenant);
    for (name, more) in [("both-off", both), ("tenant-off", tenant)] {
        let distributor = Distributor::start(name, &ha_config(&sink, &more)).await;
        for (version, content_type) in [
            (Version::V1, "application/x-protobuf"),
            (
                Version::V2,
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            ),
        ] {
            for replica in ["a", "b"] {
                let request = match version {
                    Version::V1 => protobuf_v1(replica),
                    Version::V2 => protobuf_v2(replica),
                };
                // Not what our own encoder would make of it: two literals.
                let body = two_literals(&request);
                let headers = [("Content-Type", content_type)];
                let sender = distributor.sender("t");
                let answer = sender.try_send_bytes(&headers, body.clone()).await;
                assert_stored(&answer.unwrap(), version);
                let received = sink.take().remove(0);
                assert_eq!(received.body, body);
                assert_eq!(received.series[0].labels["__replica__"], replica);
            }
        }
        assert_eq!(elected(&distributor, "t", "c").await, None);
    }
}

fn protobuf_v1(replica: &str) -> Vec<u8> {
    let label = |name: &str, value: &str| v1::Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let series = v1::TimeSeries {
        labels: vec![label("cluster", "c"), label("__replica__", replica)],
        ..v1::TimeSeries::default()
    };
    prost::Message::encode_to_vec(&v1::WriteRequest {
        timeseries: vec![series],
        metadata: Vec::new(),
    })
}

fn protobuf_v2(replica: &str) -> Vec<u8> {
    let sample = v2::Sample {
        value: 1.0,
        timestamp: 2_000,
        start_timestamp: 1_000,
    };
    let series = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![sample],
        ..v2::TimeSeries::default()
    };
    let symbols = ["", "cluster", "c", "__replica__", replica];
    prost::Message::encode_to_vec(&v2::Request {
        symbols: symbols.map(str::to_owned).to_vec(),
        timeseries: vec![series],
    })
}

/// A snappy block of fewer than 60 + 60 bytes that compresses nothing.
fn two_literals(bytes: &[u8]) -> Vec<u8> {
    let (left, right) = bytes.split_at(bytes.len() / 2);
    let mut block = vec![u8::try_from(bytes.len()).unwrap()];
    for half in [left, right] {
        block.push(u8::try_from(half.len() - 1).unwrap() << 2);
        block.extend_from_slice(half);
    }
    block
}

#[tokio::test]
async fn symbols_and_start_times_of_2_0_stay() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("symbols", &ha_config(&sink, &json!({}))).await;
    let body = two_literals(&protobuf_v2("a"));
    let headers = [(
        "Content-Type",
        "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    )];
    let sender = distributor.sender("t");
    let answer = sender.try_send_bytes(&headers, body).await.unwrap();
    assert_stored(&answer, Version::V2);
    let body = sink.take().remove(0).body;
    let bytes = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let stored: v2::Request = prost::Message::decode(bytes.as_slice()).unwrap();
    let mut expected: v2::Request = prost::Message::decode(protobuf_v2("a").as_slice()).unwrap();
    expected.timeseries[0].labels_refs.truncate(2);
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn the_downstreams_get_the_headers_they_need() {
    let (basic, file, token) = (
        Sink::start().await,
        Sink::start().await,
        Sink::start().await,
    );
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "from-a-file\n").unwrap();
    let downstream = json!([
        {
            "url": basic.url() + "?x=1",
            "name": "basic",
            "basic_auth": {"username": "Aladdin", "password": "open sesame"},
            "headers": {"X-Custom": "one", "X-Other": "two"},
        },
        {"url": file.url(), "bearer_token_file": token_file, "tenant_header": "X-Team"},
        {"url": token.url(), "bearer_token": "secret-token", "tenant_header": ""},
    ]);
    let config = json!({"distributor": {"downstream": downstream}}).to_string();
    let distributor = Distributor::start("headers", &config).await;
    let sender = distributor
        .sender("team-1")
        .header("User-Agent", "Prometheus/3.5.0")
        .header("Retry-Attempt", "3")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .header("Authorization", "Basic for-us-alone")
        .header("X-Not-Ours", "stays");
    for (version, number, content_type) in [
        (Version::V1, "0.1.0", "application/x-protobuf"),
        (
            Version::V2,
            "2.0.0",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        ),
    ] {
        assert_stored(&sender.send(version, &[plain_series("m")]).await, version);
        let [basic, file, token] = [&basic, &file, &token].map(|sink| sink.take().remove(0));
        for received in [&basic, &file, &token] {
            let headers = &received.headers;
            let agent = headers["user-agent"].to_str().unwrap();
            let (ours, original) = agent.split_once(' ').unwrap();
            assert!(ours.starts_with("ha-distributor/"), "{agent}");
            assert_eq!(original, "Prometheus/3.5.0");
            assert_eq!(headers["x-prometheus-remote-write-version"], number);
            assert_eq!(headers["content-type"], content_type);
            assert_eq!(headers["content-encoding"], "snappy");
            assert_eq!(headers["retry-attempt"], "3");
            assert!(
                headers["traceparent"]
                    .to_str()
                    .unwrap()
                    .starts_with("00-0af7")
            );
            assert!(!headers.contains_key("x-not-ours"));
        }
        assert_eq!(
            basic.headers["authorization"],
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(file.headers["authorization"], "Bearer from-a-file");
        assert_eq!(token.headers["authorization"], "Bearer secret-token");
        assert_eq!(basic.path, "/api/v1/write?x=1");
        assert_eq!(basic.headers["x-custom"], "one");
        assert_eq!(basic.headers["x-other"], "two");
        assert_eq!(basic.tenant.as_deref(), Some("team-1"));
        assert_eq!((file.tenant, token.tenant), (None, None));
        assert_eq!(file.headers["x-team"], "team-1");
    }
    assert!(!distributor.process.log().contains("secret-token"));
}

#[tokio::test]
async fn without_a_downstream_samples_are_counted_and_everybody_is_told() {
    let yaml = config_without_downstream();
    let distributor = Distributor::start("nowhere", &yaml).await;
    let sender = distributor.sender("t");
    for version in BOTH {
        let answer = sender.send(version, &[plain_series("m")]).await;
        assert_stored(&answer, version);
        assert_eq!(written(&answer).is_some(), version == Version::V2);
    }
    let received = "cortex_distributor_received_samples_total";
    assert_eq!(
        metrics(&distributor).await.sum(received, &[("user", "t")]),
        2.0
    );
    assert!(distributor.process.log().contains("DROPPED"));
    let index = distributor.get("/").await.unwrap().body;
    assert!(index.contains("No downstream is configured"), "{index}");
}

fn config_without_downstream() -> String {
    common::tracked().to_string()
}

#[tokio::test]
async fn the_older_path_works_as_well() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("path", &config(&sink, &json!({}))).await;
    let sender = e2e::Sender::new(&distributor.url("/api/v1/write")).tenant("t");
    for version in BOTH {
        assert_stored(&sender.send(version, &[plain_series("m")]).await, version);
    }
    assert_eq!(sink.requests().len(), 2);
}
