//! What the scenarios share: configurations, series and what is expected of answers.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses a part of it"
)]

pub mod lossless;
pub mod pairs;
pub mod tls;

use std::net::SocketAddr;

use e2e::{Answer, Distributor, Metrics, SHORT, Series, Sink, Version, wait_for};
pub use e2e::{merge, now_ms};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub const BOTH: [Version; 2] = [Version::V1, Version::V2];

/// A configuration with this downstream, and `more` merged in. JSON, which is YAML as well.
pub fn config(sink: &Sink, more: &Value) -> String {
    let mut config = json!({"distributor": {"downstream": [{"url": sink.url()}]}});
    merge(&mut config, more);
    config.to_string()
}

/// [`config`] with the HA tracker on, for every tenant.
pub fn ha_config(sink: &Sink, more: &Value) -> String {
    let mut config = tracked();
    merge(&mut config, &json!({"limits": {"accept_ha_samples": true}}));
    merge(&mut config, more);
    self::config(sink, &config)
}

/// [`ha_config`], for requests of several clusters and replicas: each series is judged by itself.
pub fn per_sample_config(sink: &Sink, more: &Value) -> String {
    let mut config = json!({"limits": {"ha_tracker_per_sample_dedupe": true}});
    merge(&mut config, more);
    ha_config(sink, &config)
}

/// The HA tracker, on the default store: gossip, here without other members.
pub fn tracked() -> Value {
    json!({
        "distributor": {"ha_tracker": {"enable_ha_tracker": true}},
        "memberlist": {"bind_addr": ["127.0.0.1"], "bind_port": 0},
    })
}

/// A series with one sample of an HA pair.
pub fn ha_series(name: &str, cluster: &str, replica: &str) -> Series {
    ha_series_at(name, cluster, replica, now_ms())
}

pub fn ha_series_at(name: &str, cluster: &str, replica: &str, timestamp: i64) -> Series {
    let labels = [
        ("__name__", name),
        ("__replica__", replica),
        ("cluster", cluster),
    ];
    Series::floats(&labels, &[(timestamp, 1.5)])
}

/// A series with one sample and no HA labels.
pub fn plain_series(name: &str) -> Series {
    Series::floats(&[("__name__", name), ("job", "j")], &[(now_ms(), 2.5)])
}

/// The same series as the downstream should see it.
pub fn stripped(series: &Series) -> Series {
    let mut series = series.clone();
    series.labels.remove("__replica__");
    series
}

/// What a request that was stored is answered with.
pub fn stored(version: Version) -> u16 {
    match version {
        Version::V1 => 200,
        Version::V2 => 204,
    }
}

/// The status is right, and the body is one line of plain text in which all of `parts` stand.
#[track_caller]
pub fn assert_text(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    let line = answer.body.strip_suffix('\n');
    let line = line.unwrap_or_else(|| panic!("no line: {answer:?}"));
    assert!(!line.contains('\n'), "several lines: {answer:?}");
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in: {line}");
    }
    let content_type = answer.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/plain"), "{answer:?}");
}

/// A failure that a sender will try again, told when.
#[track_caller]
pub fn assert_retry(answer: &Answer, status: u16, after: &str, parts: &[&str]) {
    assert_text(answer, status, parts);
    assert_eq!(answer.header("Retry-After"), Some(after), "{answer:?}");
}

/// The request was stored: the plain success of its version.
#[track_caller]
pub fn assert_stored(answer: &Answer, version: Version) {
    assert_eq!(answer.status, stored(version), "{answer:?}");
    assert_eq!(answer.body, "", "{answer:?}");
}

/// The Written headers: samples, histograms, exemplars.
pub fn written(answer: &Answer) -> Option<[u64; 3]> {
    let counts = ["Samples", "Histograms", "Exemplars"].map(|kind| {
        let value = answer.header(&format!("X-Prometheus-Remote-Write-{kind}-Written"))?;
        Some(value.parse().unwrap())
    });
    assert!(
        counts.iter().all(Option::is_some) || counts.iter().all(Option::is_none),
        "some of the three only: {answer:?}"
    );
    Some([counts[0]?, counts[1]?, counts[2]?])
}

/// What a 2.0 answer has to say; 1.0 answers say nothing.
#[track_caller]
pub fn assert_written(answer: &Answer, version: Version, counts: [u64; 3]) {
    let expected = (version == Version::V2).then_some(counts);
    assert_eq!(written(answer), expected, "{answer:?}");
}

/// Which replica is elected, by the page.
pub async fn elected(distributor: &Distributor, tenant: &str, cluster: &str) -> Option<Value> {
    let page = distributor
        .get_json("/distributor/ha_tracker")
        .await
        .unwrap();
    let rows = page["elected"].as_array().unwrap();
    rows.iter()
        .find(|row| row["userID"] == tenant && row["cluster"] == cluster)
        .cloned()
}

pub async fn metrics(distributor: &Distributor) -> Metrics {
    distributor.metrics().await.unwrap()
}

/// Waits until a metric, summed over the series that match, has this value.
pub async fn wait_metric(
    distributor: &Distributor,
    name: &str,
    labels: &[(&str, &str)],
    value: f64,
) {
    wait_for(&format!("{name}{labels:?} = {value}"), SHORT, || async {
        let now = distributor.metrics().await?.sum(name, labels);
        if now == value {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
}

/// Sends bytes over a connection of its own and reads until the server closes it; what a broken
/// connection has given until then counts as well.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The head of a push request, up to and with the empty line; the connection closes afterwards.
pub fn push_head(extra: &str) -> String {
    format!(
        "POST /api/v1/push HTTP/1.1\r\nHost: d\r\nConnection: close\r\nX-Scope-OrgID: t\r\n\
         Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n{extra}\r\n"
    )
}
