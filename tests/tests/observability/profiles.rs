//! CPU profiles.

use std::io::Read as _;

use e2e::{Distributor, SHORT, Sink, Version, wait_for};
use flate2::read::GzDecoder;
use prost::Message as _;
use serde_json::json;

use crate::common::{ha_config, ha_series};

const PATH: &str = "/debug/pprof/profile";

/// A profile, as far as the test reads it.
#[derive(Clone, PartialEq, prost::Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

#[tokio::test]
async fn there_is_no_profile_unless_it_is_configured() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("off", &ha_config(&sink, &json!({}))).await;
    let answer = distributor.get(PATH).await.unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_shows_where_pushes_spend_their_time() {
    let sink = Sink::start().await;
    let yaml = ha_config(&sink, &json!({"server": {"profiling_enabled": true}}));
    let distributor = Distributor::start("profiled", &yaml).await;
    let wrong = distributor.get(&format!("{PATH}?seconds=0")).await.unwrap();
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("from 1 to 120"), "{wrong:?}");

    let url = distributor.url(&format!("{PATH}?seconds=2"));
    let profile = tokio::spawn(async move {
        let answer = e2e::http_client().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap()
    });
    wait_for("the profile to begin", SHORT, || async {
        let log = distributor.process.log();
        let has_begun = log.contains("a CPU profile is made");
        has_begun.then_some(()).ok_or(log)
    })
    .await;
    let another = distributor.get(PATH).await.unwrap();
    assert_eq!(another.status, 503, "one at a time: {another:?}");
    let sender = distributor.sender("t");
    let many: Vec<_> = (0..2_000)
        .map(|number| ha_series(&format!("m{number}"), "c", "a"))
        .collect();
    while !profile.is_finished() {
        sender.send(Version::V1, &many).await;
        sink.take();
    }
    let mut bytes = Vec::new();
    GzDecoder::new(&profile.await.unwrap()[..])
        .read_to_end(&mut bytes)
        .unwrap();
    let profile = Profile::decode(&bytes[..]).unwrap();
    assert_eq!(profile.duration_nanos, 2_000_000_000);
    let text = |number: i64| profile.string_table[usize::try_from(number).unwrap()].as_str();
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|t| (text(t.kind), text(t.unit)))
        .collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert_eq!(profile.string_table[0], "");
    assert!(profile.sample.len() > 5, "{} samples", profile.sample.len());
    // All that a sample refers to is there.
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), 2);
        for id in &sample.location_id {
            let location = profile.location.iter().find(|location| location.id == *id);
            for line in &location.unwrap().line {
                let found = profile.function.iter().find(|f| f.id == line.function_id);
                assert!(found.is_some(), "{line:?}");
            }
        }
    }
    let names: Vec<&str> = profile.function.iter().map(|f| text(f.name)).collect();
    let is_ours = |name: &&str| name.contains("remote_write::") || name.contains("ingest::");
    assert!(names.iter().any(is_ours), "{names:?}");
}
