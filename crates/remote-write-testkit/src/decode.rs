//! Requests as series: what a receiver does that has only a decoder.

use prost::Message as _;
use remote_write::Version;
use remote_write::proto::{v1, v2};

use crate::encode::recode;
use crate::series::{Exemplar, Labels, MetricMetadata, Sample, Series};

/// The series of the body of a push, which may have `max` bytes when decompressed, and its metadata:
/// the separate list of 1.0; empty in 2.0, where it stands with the series.
///
/// # Errors
/// What is wrong with it, for people: a receiver must refuse it.
pub fn decode(
    version: Version,
    body: &[u8],
    max: usize,
) -> Result<(Vec<Series>, Vec<MetricMetadata>), String> {
    let not_a_block = |error: snap::Error| format!("snappy: {error}");
    let size = snap::raw::decompress_len(body).map_err(not_a_block)?;
    if size > max {
        return Err(format!("{size} bytes exceed the limit of {max}"));
    }
    let protobuf = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(not_a_block)?;
    let not_protobuf = |error: prost::DecodeError| error.to_string();
    match version {
        Version::V1 => v1::WriteRequest::decode(protobuf.as_slice())
            .map(from_v1)
            .map_err(not_protobuf),
        Version::V2 => {
            let request = v2::Request::decode(protobuf.as_slice()).map_err(not_protobuf)?;
            Ok((from_v2(&request)?, Vec::new()))
        }
    }
}

/// The series and metadata of a 1.0 request.
pub fn from_v1(request: v1::WriteRequest) -> (Vec<Series>, Vec<MetricMetadata>) {
    let pairs = |list: Vec<v1::Label>| list.into_iter().map(|l| (l.name, l.value)).collect();
    let series = request.timeseries.into_iter().map(|series| Series {
        labels: pairs(series.labels),
        samples: series
            .samples
            .iter()
            .map(|s| Sample {
                timestamp: s.timestamp,
                bits: s.value.to_bits(),
            })
            .collect(),
        histograms: series.histograms.iter().map(recode).collect(),
        exemplars: series
            .exemplars
            .into_iter()
            .map(|e| Exemplar {
                labels: pairs(e.labels),
                value: e.value,
                timestamp: e.timestamp,
            })
            .collect(),
        metadata: None,
    });
    let metadata = request.metadata.into_iter().map(|m| MetricMetadata {
        name: m.metric_family_name,
        kind: m.r#type,
        help: m.help,
        unit: m.unit,
    });
    (series.collect(), metadata.collect())
}

/// The series of a 2.0 request.
///
/// # Errors
/// When a reference points nowhere: a receiver must refuse such a request.
pub fn from_v2(request: &v2::Request) -> Result<Vec<Series>, String> {
    let symbol = |reference: u32| {
        request
            .symbols
            .get(reference as usize)
            .cloned()
            .ok_or_else(|| format!("there is no symbol {reference}"))
    };
    let labels = |refs: &[u32]| -> Result<Labels, String> {
        if !refs.len().is_multiple_of(2) {
            return Err("an odd number of references".to_owned());
        }
        refs.chunks_exact(2)
            .map(|pair| Ok((symbol(pair[0])?, symbol(pair[1])?)))
            .collect()
    };
    let convert = |series: &v2::TimeSeries| -> Result<Series, String> {
        let own_labels = labels(&series.labels_refs)?;
        let mut exemplars = Vec::new();
        for e in &series.exemplars {
            let labels = labels(&e.labels_refs)?;
            exemplars.push(Exemplar {
                labels,
                value: e.value,
                timestamp: e.timestamp,
            });
        }
        let metadata = match &series.metadata {
            None => None,
            Some(m) => Some(MetricMetadata {
                name: own_labels.get("__name__").cloned().unwrap_or_default(),
                kind: m.r#type,
                help: symbol(m.help_ref)?,
                unit: symbol(m.unit_ref)?,
            }),
        };
        let sample = |s: &v2::Sample| Sample {
            timestamp: s.timestamp,
            bits: s.value.to_bits(),
        };
        Ok(Series {
            labels: own_labels,
            samples: series.samples.iter().map(sample).collect(),
            histograms: series.histograms.clone(),
            exemplars,
            metadata,
        })
    };
    request.timeseries.iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{compress, to_body};

    #[test]
    fn rubbish_is_refused() {
        assert!(decode(Version::V1, b"\xff\xff", 1 << 20).is_err());
        let body = to_body(Version::V1, &[Series::floats(&[("a", "b")], &[(1, 1.0)])]);
        assert!(decode(Version::V1, &body, 10).is_err());
        let odd = v2::Request {
            symbols: vec![String::new()],
            timeseries: vec![v2::TimeSeries {
                labels_refs: vec![0, 7],
                ..Default::default()
            }],
        };
        let body = compress(&odd.encode_to_vec());
        assert_eq!(
            decode(Version::V2, &body, 100),
            Err("there is no symbol 7".to_owned())
        );
    }
}
