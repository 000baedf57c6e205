//! The remote-write requests of the demo: one scrape of a made-up service each.

use prost::Message;
use remote_write::Version;
use remote_write::proto::{v1, v2};

/// Label that names the HA pair.
pub(super) const CLUSTER_LABEL: &str = "cluster";
/// Label that names the replica.
pub(super) const REPLICA_LABEL: &str = "__replica__";
/// The HA pair.
pub(super) const CLUSTER: &str = "demo";
/// Series of one scrape.
pub(super) const SERIES: usize = 200;

/// The body of a push request: every series of `replica` with one sample at `timestamp_ms`,
/// compressed.
pub(super) fn encode(version: Version, replica: &str, timestamp_ms: i64) -> Vec<u8> {
    let raw = match version {
        Version::V1 => request_v1(replica, timestamp_ms).encode_to_vec(),
        Version::V2 => request_v2(replica, timestamp_ms).encode_to_vec(),
    };
    let mut body = Vec::new();
    remote_write::compress_into(&raw, &mut body);
    body
}

/// Name and value, sorted by name.
fn labels(replica: &str, series: usize) -> [(&'static str, String); 4] {
    [
        ("__name__", "demo_requests_total".to_owned()),
        (REPLICA_LABEL, replica.to_owned()),
        (CLUSTER_LABEL, CLUSTER.to_owned()),
        ("instance", format!("service-{series:03}:8080")),
    ]
}

fn value(series: usize, timestamp_ms: i64) -> f64 {
    (timestamp_ms / 100) as f64 + series as f64
}

fn request_v1(replica: &str, timestamp: i64) -> v1::WriteRequest {
    let timeseries = (0..SERIES)
        .map(|series| v1::TimeSeries {
            labels: labels(replica, series)
                .map(|(name, value)| v1::Label {
                    name: name.to_owned(),
                    value,
                })
                .to_vec(),
            samples: vec![v1::Sample {
                value: value(series, timestamp),
                timestamp,
            }],
            ..Default::default()
        })
        .collect();
    v1::WriteRequest {
        timeseries,
        ..Default::default()
    }
}

fn request_v2(replica: &str, timestamp: i64) -> v2::Request {
    // The first symbol is the empty string, by the specification.
    let mut symbols = vec![String::new()];
    let mut reference = |text: String| {
        let known = symbols.iter().position(|symbol| *symbol == text);
        let index = known.unwrap_or_else(|| {
            symbols.push(text);
            symbols.len() - 1
        });
        index as u32
    };
    let timeseries = (0..SERIES)
        .map(|series| v2::TimeSeries {
            labels_refs: labels(replica, series)
                .into_iter()
                .flat_map(|(name, value)| [reference(name.to_owned()), reference(value)])
                .collect(),
            samples: vec![v2::Sample {
                value: value(series, timestamp),
                timestamp,
                start_timestamp: 0,
            }],
            ..Default::default()
        })
        .collect();
    v2::Request {
        symbols,
        timeseries,
    }
}

/// One series as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    /// Name and value, as sent.
    pub(super) labels: Vec<(String, String)>,
    /// Unix ms.
    pub(super) timestamps: Vec<i64>,
}

/// The series of a compressed request, which may have `max` bytes when decompressed.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn decode(version: Version, body: &[u8], max: u64) -> Result<Vec<Series>, String> {
    let mut raw = Vec::new();
    remote_write::decompress_into(body, max, &mut raw).map_err(|error| error.to_string())?;
    match version {
        Version::V1 => {
            let request = v1::WriteRequest::decode(&*raw).map_err(|error| error.to_string())?;
            let series = request.timeseries.into_iter().map(|one| Series {
                labels: one
                    .labels
                    .into_iter()
                    .map(|label| (label.name, label.value))
                    .collect(),
                timestamps: one.samples.iter().map(|sample| sample.timestamp).collect(),
            });
            Ok(series.collect())
        }
        Version::V2 => {
            let request = v2::Request::decode(&*raw).map_err(|error| error.to_string())?;
            let symbol = |&reference: &u32| {
                let known = request.symbols.get(reference as usize).cloned();
                known.ok_or_else(|| format!("there is no symbol {reference}"))
            };
            let mut all = Vec::with_capacity(request.timeseries.len());
            for one in &request.timeseries {
                let mut labels = Vec::with_capacity(one.labels_refs.len() / 2);
                for pair in one.labels_refs.chunks(2) {
                    let [name, value] = pair else {
                        return Err("a label has no value".to_owned());
                    };
                    labels.push((symbol(name)?, symbol(value)?));
                }
                let timestamps = one.samples.iter().map(|sample| sample.timestamp).collect();
                all.push(Series { labels, timestamps });
            }
            Ok(all)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_the_same() {
        let decoded = [Version::V1, Version::V2].map(|version| {
            let body = encode(version, "r1", 1_700_000_000_123);
            decode(version, &body, 1 << 20).unwrap()
        });
        assert_eq!(decoded[0], decoded[1]);
        assert_eq!(decoded[0].len(), SERIES);
        assert_eq!(decoded[0][7].timestamps, [1_700_000_000_123]);
        let has = |name: &str, value: &str| {
            decoded[0][7]
                .labels
                .contains(&(name.to_owned(), value.to_owned()))
        };
        assert!(has(REPLICA_LABEL, "r1") && has(CLUSTER_LABEL, CLUSTER));
        assert!(has("instance", "service-007:8080"));
    }

    #[test]
    fn rubbish_is_refused() {
        assert!(decode(Version::V1, b"\xff\xff", 1 << 20).is_err());
        let body = encode(Version::V1, "r1", 1);
        assert!(decode(Version::V1, &body, 10).is_err());
        let odd = v2::Request {
            symbols: vec![String::new()],
            timeseries: vec![v2::TimeSeries {
                labels_refs: vec![0, 7],
                ..Default::default()
            }],
        };
        let mut body = Vec::new();
        remote_write::compress_into(&odd.encode_to_vec(), &mut body);
        assert_eq!(
            decode(Version::V2, &body, 100),
            Err("there is no symbol 7".to_owned())
        );
    }
}
