//! The part of `io.prometheus.client` that a scrape target needs: native histograms travel in
//! protobuf expositions only.

use crate::{Labels, labels};

/// `MetricFamily`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) help: Option<String>,
    #[prost(enumeration = "MetricType", optional, tag = "3")]
    pub(crate) kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) metric: Vec<Metric>,
}

/// `MetricType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 4,
}

/// `Metric`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(crate) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub(crate) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(crate) counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    pub(crate) histogram: Option<Histogram>,
}

/// `LabelPair`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) value: Option<String>,
}

/// `Gauge`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Gauge {
    #[prost(double, optional, tag = "1")]
    pub(crate) value: Option<f64>,
}

/// `Counter`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Counter {
    #[prost(double, optional, tag = "1")]
    pub(crate) value: Option<f64>,
    #[prost(message, optional, tag = "2")]
    pub(crate) exemplar: Option<Exemplar>,
}

/// An exemplar on a scraped counter.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    timestamp: Option<Timestamp>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A scraped histogram, classic or native.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    positive_delta: Vec<i64>,
}

/// `Bucket`: cumulative, as in the classic form.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    upper_bound: Option<f64>,
}

/// `BucketSpan`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

impl Exemplar {
    /// An exemplar with these pairs as labels, seen at `timestamp_ms` (Unix milliseconds).
    pub fn new(pairs: &[(&str, &str)], value: f64, timestamp_ms: i64) -> Self {
        let nanos = timestamp_ms.rem_euclid(1000) * 1_000_000;
        Self {
            label: label_pairs(&labels(pairs)),
            value: Some(value),
            timestamp: Some(Timestamp {
                seconds: timestamp_ms.div_euclid(1000),
                nanos: i32::try_from(nanos).unwrap(),
            }),
        }
    }
}

impl Histogram {
    /// A classic one: (upper bound, observations in this bucket alone) in rising order, without
    /// the last bucket, which holds `above`.
    pub fn classic(buckets: &[(f64, u64)], above: u64, sum: f64) -> Self {
        let mut count = 0;
        let bucket = buckets
            .iter()
            .map(|(bound, observations)| {
                count += observations;
                Bucket {
                    cumulative_count: Some(count),
                    upper_bound: Some(*bound),
                }
            })
            .collect();
        Self {
            sample_count: Some(count + above),
            sample_sum: Some(sum),
            bucket,
            ..Self::default()
        }
    }

    /// A native one of schema 0 (bounds are powers of two): observations per bucket, the first
    /// being the bucket (0.5, 1].
    pub fn native(observations: &[u64], sum: f64) -> Self {
        let mut before = 0;
        let positive_delta = observations
            .iter()
            .map(|count| {
                let count = i64::try_from(*count).unwrap();
                let delta = count - before;
                before = count;
                delta
            })
            .collect();
        let length = u32::try_from(observations.len()).unwrap();
        Self {
            sample_count: Some(observations.iter().sum()),
            sample_sum: Some(sum),
            schema: Some(0),
            zero_threshold: Some(1e-128),
            zero_count: Some(0),
            positive_span: vec![BucketSpan {
                offset: Some(0),
                length: Some(length),
            }],
            positive_delta,
            ..Self::default()
        }
    }
}

pub(crate) fn label_pairs(labels: &Labels) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| LabelPair {
            name: Some(name.clone()),
            value: Some(value.clone()),
        })
        .collect()
}
