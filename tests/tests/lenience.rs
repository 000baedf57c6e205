//! Requests that Mimir takes though they are not what the specification asks for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{assert_stored, assert_text, ha_config, plain_series};
use e2e::{Answer, Distributor, Sink, Version};
use prost::Message as _;
use serde_json::json;

async fn post(distributor: &Distributor, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let sender = distributor.sender("t");
    let answer = sender.try_send_bytes(headers, body.to_vec()).await;
    answer.unwrap_or_else(|e| panic!("{headers:?}: {e}"))
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// Content types that say nothing of remote write.
const OTHER_TYPES: [&str; 5] = [
    "text/plain",
    "application/json",
    "application/x-www-form-urlencoded",
    "application/protobuf",
    "x-protobuf",
];

#[tokio::test]
async fn other_content_types_are_read_as_1_0_unless_told_not_to() {
    let sink = Sink::start().await;
    let more = json!({"distributor": {"accept_unknown_content_types": false}});
    let strict = Distributor::start("strict", &ha_config(&sink, &more)).await;
    let distributor = Distributor::start("mimir", &ha_config(&sink, &json!({}))).await;
    let series = [plain_series("m")];
    let body = snappy(&e2e::to_v1(&series).encode_to_vec());
    for content_type in OTHER_TYPES {
        let header = [("Content-Type", content_type)];
        let unsupported = ["unsupported Content-Type", content_type, "supported are"];
        let answer = post(&strict, &header, &body).await;
        assert_text(&answer, 415, &unsupported);
        assert!(sink.requests().is_empty());
        let answer = post(&distributor, &header, &body).await;
        assert_stored(&answer, Version::V1);
        let received = sink.take().remove(0);
        assert_eq!(received.version, Version::V1);
        assert_eq!(received.series, series);
        let answer = post(&distributor, &header, b"{}").await;
        let parts = [&unsupported[..], &["nor is it remote write 1.0"]].concat();
        assert_text(&answer, 415, &parts);
        assert!(sink.requests().is_empty());
    }
}

#[tokio::test]
async fn a_tenant_may_be_named_in_other_forms() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("tenants", &ha_config(&sink, &json!({}))).await;
    let series = [plain_series("m")];
    for header in ["a", "a|a", "a:more", "a:more|a"] {
        let answer = distributor.sender(header).send(Version::V1, &series).await;
        assert_stored(&answer, Version::V1);
        let received = sink.take().remove(0);
        assert_eq!(received.tenant.as_deref(), Some("a"), "{header}");
    }
}
