//! One form for the series of both remote-write versions.

use peers::Labels;

use crate::{v1, v2};

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
        symbols: symbols.list,
        timeseries,
    }
}

/// The series and metadata of a 1.0 request.
pub(crate) fn from_v1(request: v1::WriteRequest) -> (Vec<Series>, Vec<MetricMetadata>) {
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
pub(crate) fn from_v2(request: &v2::Request) -> Result<Vec<Series>, String> {
    let symbol = |reference: u32| {
        request
            .symbols
            .get(reference as usize)
            .cloned()
            .ok_or_else(|| format!("symbol {reference} of {}", request.symbols.len()))
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
fn recode<A: prost::Message, B: prost::Message + Default>(from: &A) -> B {
    B::decode(from.encode_to_vec().as_slice()).unwrap()
}

struct Symbols {
    list: Vec<String>,
}

impl Default for Symbols {
    fn default() -> Self {
        Self {
            list: vec![String::new()],
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
        let found = self.list.iter().position(|known| known == symbol);
        let index = found.unwrap_or_else(|| {
            self.list.push(symbol.to_owned());
            self.list.len() - 1
        });
        u32::try_from(index).unwrap()
    }
}
