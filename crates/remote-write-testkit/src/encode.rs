//! Series as requests: protobuf, and the compressed body of a push.

use std::collections::HashMap;

use prost::Message as _;
use remote_write::Version;
use remote_write::proto::{v1, v2};

use crate::series::{Labels, Series};

/// A request with these series, not compressed.
pub fn to_protobuf(version: Version, series: &[Series]) -> Vec<u8> {
    match version {
        Version::V1 => to_v1(series).encode_to_vec(),
        Version::V2 => to_v2(series).encode_to_vec(),
    }
}

/// A request with these series as the body of a push.
pub fn to_body(version: Version, series: &[Series]) -> Vec<u8> {
    compress(&to_protobuf(version, series))
}

/// A snappy block, by another way than receivers that are tested with it take.
///
/// # Panics
/// With 4 GiB or more.
#[expect(clippy::expect_used, reason = "a request is smaller than 4 GiB")]
pub fn compress(protobuf: &[u8]) -> Vec<u8> {
    let mut encoder = snap::raw::Encoder::new();
    encoder.compress_vec(protobuf).expect("less than 4 GiB")
}

/// A 1.0 request with these series.
pub fn to_v1(series: &[Series]) -> v1::WriteRequest {
    let timeseries = series.iter().map(|series| v1::TimeSeries {
        labels: v1_labels(&series.labels),
        samples: series
            .samples
            .iter()
            .map(|s| v1::Sample {
                value: s.value(),
                timestamp: s.timestamp,
            })
            .collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|e| v1::Exemplar {
                labels: v1_labels(&e.labels),
                value: e.value,
                timestamp: e.timestamp,
            })
            .collect(),
        histograms: series.histograms.iter().map(recode).collect(),
    });
    v1::WriteRequest {
        timeseries: timeseries.collect(),
        metadata: Vec::new(),
    }
}

/// A 2.0 request with these series.
pub fn to_v2(series: &[Series]) -> v2::Request {
    let mut symbols = Symbols::default();
    let timeseries = series
        .iter()
        .map(|series| v2::TimeSeries {
            labels_refs: symbols.labels(&series.labels),
            samples: series
                .samples
                .iter()
                .map(|s| v2::Sample {
                    value: s.value(),
                    timestamp: s.timestamp,
                    start_timestamp: 0,
                })
                .collect(),
            histograms: series.histograms.clone(),
            exemplars: series
                .exemplars
                .iter()
                .map(|e| v2::Exemplar {
                    labels_refs: symbols.labels(&e.labels),
                    value: e.value,
                    timestamp: e.timestamp,
                })
                .collect(),
            metadata: series.metadata.as_ref().map(|m| v2::Metadata {
                r#type: m.kind,
                help_ref: symbols.index(&m.help),
                unit_ref: symbols.index(&m.unit),
            }),
        })
        .collect();
    v2::Request {
        symbols: symbols.texts,
        timeseries,
    }
}

fn v1_labels(labels: &Labels) -> Vec<v1::Label> {
    labels
        .iter()
        .map(|(name, value)| v1::Label {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

/// Between the histograms of the two versions, whose fields have the same numbers.
#[expect(clippy::expect_used, reason = "what was just encoded can be decoded")]
pub(crate) fn recode<A: prost::Message, B: prost::Message + Default>(from: &A) -> B {
    B::decode(from.encode_to_vec().as_slice()).expect("the same fields")
}

/// The texts of a 2.0 request, numbered by first use, as Prometheus does.
struct Symbols {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Default for Symbols {
    /// The first symbol is the empty string, by the specification.
    fn default() -> Self {
        Self {
            texts: vec![String::new()],
            numbers: HashMap::from([(String::new(), 0)]),
        }
    }
}

impl Symbols {
    fn labels(&mut self, labels: &Labels) -> Vec<u32> {
        labels
            .iter()
            .flat_map(|(name, value)| [self.index(name), self.index(value)])
            .collect()
    }

    fn index(&mut self, symbol: &str) -> u32 {
        if let Some(&number) = self.numbers.get(symbol) {
            return number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(symbol.to_owned());
        self.numbers.insert(symbol.to_owned(), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    #[test]
    fn both_versions_say_the_same() {
        let series: Vec<Series> = (0..9)
            .map(|number: u8| {
                let instance = number.to_string();
                let labels = [("__name__", "m"), ("instance", instance.as_str())];
                Series::floats(&labels, &[(1_700_000_000_123, f64::from(number))])
            })
            .collect();
        for version in [Version::V1, Version::V2] {
            let body = to_body(version, &series);
            let (decoded, metadata) = decode(version, &body, 1 << 20).unwrap();
            assert_eq!(decoded, series, "{version:?}");
            assert!(metadata.is_empty());
        }
    }
}
