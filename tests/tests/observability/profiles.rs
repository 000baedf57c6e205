//! CPU and heap profiles, of a real process.

use std::io::Read as _;
use std::process::Command;

use e2e::{Distributor, SHORT, Sink, Version, wait_for};
use flate2::read::GzDecoder;
use prost::Message as _;
use serde_json::json;

use crate::common::{ha_config, ha_series, per_sample_config};

const CPU: &str = "/debug/pprof/profile";
const HEAP: &str = "/debug/pprof/heap";

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

impl Profile {
    /// Everything that a sample refers to is there.
    fn read(gzipped: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).unwrap();
        let profile = Self::decode(&bytes[..]).unwrap();
        assert_eq!(profile.string_table[0], "");
        for sample in &profile.sample {
            assert_eq!(sample.value.len(), profile.sample_type.len());
            for id in &sample.location_id {
                let location = profile.location.iter().find(|location| location.id == *id);
                for line in &location.unwrap().line {
                    let found = profile.function.iter().find(|f| f.id == line.function_id);
                    assert!(found.is_some(), "{line:?}");
                }
            }
        }
        profile
    }

    fn text(&self, number: i64) -> &str {
        &self.string_table[usize::try_from(number).unwrap()]
    }

    fn types(&self) -> Vec<(&str, &str)> {
        let types = self.sample_type.iter();
        types
            .map(|t| (self.text(t.kind), self.text(t.unit)))
            .collect()
    }

    fn has_function_of(&self, crates: &[&str]) {
        let names: Vec<&str> = self.function.iter().map(|f| self.text(f.name)).collect();
        let is_of = |name: &&str| {
            crates
                .iter()
                .any(|part| name.contains(&format!("{part}::")))
        };
        assert!(names.iter().any(is_of), "{names:?}");
    }
}

/// What pprof itself prints; nothing where there is no Go.
fn top(gzipped: &[u8]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), gzipped).unwrap();
    let mut pprof = Command::new("go");
    pprof.args(["tool", "pprof", "-top", "-symbolize=none"]);
    let output = pprof.arg(file.path()).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // Some packages of Go come without its tools.
    if errors.contains("no such tool") {
        return None;
    }
    assert!(output.status.success(), "{errors}");
    Some(text)
}

#[tokio::test]
async fn there_is_no_profile_unless_it_is_configured() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("off", &ha_config(&sink, &json!({}))).await;
    for path in [CPU, HEAP] {
        let answer = distributor.get(path).await.unwrap();
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    assert!(!distributor.process.log().contains("sampling allocations"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heap_profile_shows_who_holds_memory() {
    let sink = Sink::start().await;
    let more = json!({
        "server": {"profiling_enabled": true},
        "limits": {"ha_max_clusters": 10_000},
    });
    let yaml = per_sample_config(&sink, &more);
    // As with a root that is read-only.
    let environment = [("TMPDIR", "/nonexistent")];
    let mut distributor = Distributor::launch_with("heap", &yaml, &[], &environment);
    distributor.wait_ready().await;
    let many: Vec<_> = (0..5_000)
        .map(|number| ha_series("m", &format!("cluster-{number}"), "a"))
        .collect();
    let answer = distributor.sender("t").send(Version::V1, &many).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let wrong = distributor.get(&format!("{HEAP}?seconds=3")).await.unwrap();
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let answer = e2e::http_client().get(distributor.url(&format!("{HEAP}?gc=1")));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", distributor.process.log());
    let gzipped = answer.bytes().await.unwrap();
    let profile = Profile::read(&gzipped);
    assert_eq!(profile.types(), [("inuse_space", "bytes")]);
    let held: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    // Elections of 5,000 clusters, in the cache and in the store: more than this each.
    assert!(held > 1 << 20, "{held} bytes");
    profile.has_function_of(&["ha_tracker", "kv_memberlist"]);
    if let Some(top) = top(&gzipped) {
        println!("{top}");
        assert!(top.contains("Type: inuse_space"), "{top}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_shows_where_pushes_spend_their_time() {
    let sink = Sink::start().await;
    let yaml = ha_config(&sink, &json!({"server": {"profiling_enabled": true}}));
    let distributor = Distributor::start("profiled", &yaml).await;
    let wrong = distributor.get(&format!("{CPU}?seconds=0")).await.unwrap();
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("from 1 to 120"), "{wrong:?}");

    // What a busy machine leaves to it may be too little in two seconds.
    for seconds in [2, 8, 32] {
        if pushes_were_profiled(&distributor, &sink, seconds).await {
            return;
        }
    }
    panic!("too few samples");
}

/// Whether it was sampled often enough to tell; then it must have been in the push path.
async fn pushes_were_profiled(distributor: &Distributor, sink: &Sink, seconds: i64) -> bool {
    let begun = |log: &str| log.matches("recording a CPU profile").count();
    let before = begun(&distributor.process.log());
    let url = distributor.url(&format!("{CPU}?seconds={seconds}"));
    let profile = tokio::spawn(async move {
        let answer = e2e::http_client().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap()
    });
    wait_for("the profile to begin", SHORT, || async {
        let log = distributor.process.log();
        (begun(&log) > before).then_some(()).ok_or(log)
    })
    .await;
    let another = distributor.get(CPU).await.unwrap();
    assert_eq!(another.status, 503, "one at a time: {another:?}");
    let sender = distributor.sender("t");
    let many: Vec<_> = (0..2_000)
        .map(|number| ha_series(&format!("m{number}"), "c", "a"))
        .collect();
    while !profile.is_finished() {
        sender.send(Version::V1, &many).await;
        sink.take();
    }
    let gzipped = profile.await.unwrap();
    let profile = Profile::read(&gzipped);
    assert_eq!(profile.duration_nanos, seconds * 1_000_000_000);
    assert_eq!(
        profile.types(),
        [("samples", "count"), ("cpu", "nanoseconds")]
    );
    if profile.sample.len() <= 5 {
        return false;
    }
    profile.has_function_of(&["remote_write", "ingest"]);
    if let Some(top) = top(&gzipped) {
        assert!(top.contains("Type: cpu"), "{top}");
    }
    true
}
