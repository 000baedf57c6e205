//! One form for the series of both remote-write versions.

use std::collections::BTreeMap;

use remote_write::proto::v2;

/// Label names and values; sorted by name, as receivers demand.
pub type Labels = BTreeMap<String, String>;

/// The bits of the NaN that says: this series has ended.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Labels from pairs.
pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// One series of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Labels, `__name__` among them.
    pub labels: Labels,
    /// Samples in order.
    pub samples: Vec<Sample>,
    /// Histograms in order. Those of 1.0 are kept in the same form: their fields have the same
    /// numbers.
    pub histograms: Vec<v2::Histogram>,
    /// Exemplars in order.
    pub exemplars: Vec<Exemplar>,
    /// Type and help, which only 2.0 sends with the series.
    pub metadata: Option<MetricMetadata>,
}

/// A float with its time. Bits, because staleness markers are one NaN among many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// Unix milliseconds.
    pub timestamp: i64,
    /// The bits of the float.
    pub bits: u64,
}

/// A sample's example.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, such as a trace id.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// Unix milliseconds.
    pub timestamp: i64,
}

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricMetadata {
    /// The metric family's name.
    pub name: String,
    /// The number of the type; the same in both versions.
    pub kind: i32,
    /// Help text.
    pub help: String,
    /// Unit.
    pub unit: String,
}

impl Sample {
    /// The float.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}

impl Series {
    /// A series with float samples: pairs of Unix milliseconds and value.
    pub fn floats(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        let sample = |(timestamp, value): &(i64, f64)| Sample {
            timestamp: *timestamp,
            bits: value.to_bits(),
        };
        Self {
            labels: labels(pairs),
            samples: samples.iter().map(sample).collect(),
            ..Self::default()
        }
    }

    /// Its `__name__`.
    pub fn name(&self) -> &str {
        self.labels.get("__name__").map_or("", String::as_str)
    }
}
