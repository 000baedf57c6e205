//! Requests as an HA pair of Prometheus servers sends them for a fleet of node exporters.

use prost::Message as _;
use remote_write::proto::{v1, v2};
use remote_write::{HaLabelNames, Version};

/// The HA labels of the generated series.
pub const HA_LABELS: HaLabelNames<'static> = HaLabelNames {
    cluster: "cluster",
    replica: "__replica__",
};

/// Labels of each series, in the order in which Prometheus sends them.
pub const LABELS: usize = 11;

const METRICS: &[&str] = &[
    "node_cpu_seconds_total",
    "node_disk_read_bytes_total",
    "node_disk_io_time_seconds_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_files_free",
    "node_network_receive_bytes_total",
    "node_network_transmit_packets_total",
    "node_memory_MemAvailable_bytes",
    "node_systemd_unit_state",
    "node_softnet_processed_total",
    "node_schedstat_running_seconds_total",
    "node_pressure_io_waiting_seconds_total",
];
const MODES: &[&str] = &[
    "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
];

/// What a request consists of.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Series, each with one sample.
    pub series: usize,
    /// (cluster, replica) pairs, which consecutive series take in turn.
    pub pairs: &'a [(&'a str, &'a str)],
    /// Milliseconds since the epoch of every sample.
    pub timestamp_ms: i64,
}

impl Shape<'static> {
    /// One pair, as a usual sender has.
    pub fn usual(series: usize) -> Self {
        Self {
            series,
            pairs: &[("production-eu-west-1", "prometheus-0")],
            timestamp_ms: 1_760_000_000_123,
        }
    }
}

struct Series {
    labels: [(&'static str, String); LABELS],
    value: f64,
    timestamp_ms: i64,
}

/// The same shape makes the same series.
fn series(shape: Shape<'_>) -> impl Iterator<Item = Series> + '_ {
    // Any full-period generator will do: values must not compress.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..shape.series).map(move |index| {
        let node = index / 24;
        let pair = shape.pairs.get(index % shape.pairs.len().max(1)).copied();
        let (cluster, replica) = pair.unwrap_or(("", ""));
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963);
        let metric = METRICS[index / 8 % METRICS.len()];
        let mode = MODES[index % MODES.len()];
        let pod_hash = (node as u64 + 1).wrapping_mul(0x9e37_79b9) % 0xf_ffff;
        Series {
            labels: [
                ("__name__", metric.to_owned()),
                ("__replica__", replica.to_owned()),
                ("cluster", cluster.to_owned()),
                ("cpu", (index / 8 % 64).to_string()),
                ("endpoint", "metrics".to_owned()),
                (
                    "instance",
                    format!("10.{}.{}.7:9100", node / 200, node % 200),
                ),
                ("job", "node-exporter".to_owned()),
                ("mode", mode.to_owned()),
                ("namespace", "monitoring".to_owned()),
                ("pod", format!("prometheus-node-exporter-{pod_hash:05x}")),
                ("service", "node-exporter".to_owned()),
            ],
            // Seconds with two decimals, as counters of CPU time are.
            value: (state >> 24) as f64 / 100.0,
            timestamp_ms: shape.timestamp_ms + (node % 15) as i64,
        }
    })
}

/// A request, not compressed. Pairs with an empty cluster or replica are sent as empty labels.
pub fn request(version: Version, shape: Shape<'_>) -> Vec<u8> {
    match version {
        Version::V1 => request_v1(shape).encode_to_vec(),
        Version::V2 => request_v2(shape).encode_to_vec(),
    }
}

/// The same as [`request`], as a message of 1.0.
pub fn request_v1(shape: Shape<'_>) -> v1::WriteRequest {
    let timeseries = series(shape)
        .map(|series| v1::TimeSeries {
            labels: series
                .labels
                .map(|(name, value)| v1::Label {
                    name: name.to_owned(),
                    value,
                })
                .into(),
            samples: vec![v1::Sample {
                value: series.value,
                timestamp: series.timestamp_ms,
            }],
            ..Default::default()
        })
        .collect();
    v1::WriteRequest {
        timeseries,
        metadata: Vec::new(),
    }
}

/// The same as [`request`], as a message of 2.0: symbols numbered by first use, as Prometheus does.
pub fn request_v2(shape: Shape<'_>) -> v2::Request {
    let mut request = v2::Request {
        symbols: vec![String::new()],
        timeseries: Vec::new(),
    };
    let mut references = std::collections::HashMap::from([(String::new(), 0u32)]);
    let mut reference = |symbol: &str| {
        if let Some(&reference) = references.get(symbol) {
            return reference;
        }
        let reference = request.symbols.len() as u32;
        request.symbols.push(symbol.to_owned());
        references.insert(symbol.to_owned(), reference);
        reference
    };
    request.timeseries = series(shape)
        .map(|series| {
            let help = format!("Help of the metric {}.", series.labels[0].1);
            v2::TimeSeries {
                labels_refs: series
                    .labels
                    .iter()
                    .flat_map(|(name, value)| [reference(name), reference(value)])
                    .collect(),
                samples: vec![v2::Sample {
                    value: series.value,
                    timestamp: series.timestamp_ms,
                    start_timestamp: 0,
                }],
                metadata: Some(v2::Metadata {
                    r#type: 2,
                    help_ref: reference(&help),
                    unit_ref: 0,
                }),
                ..Default::default()
            }
        })
        .collect();
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use remote_write::{Scratch, Verdict, compress_into};

    #[test]
    fn requests_have_the_announced_size_and_scan() {
        for (version, raw) in [
            (Version::V1, 250_000..350_000),
            (Version::V2, 50_000..120_000),
        ] {
            let mut bytes = request(version, Shape::usual(1_000));
            assert!(
                raw.contains(&bytes.len()),
                "{version:?}: {} bytes",
                bytes.len()
            );
            let mut compressed = Vec::new();
            compress_into(&bytes, &mut compressed);
            assert!(
                compressed.len() < 60_000,
                "{version:?}: {} bytes",
                compressed.len()
            );
            let mut scratch = Scratch::default();
            let scan = remote_write::scan(
                version,
                &mut bytes,
                Some(HA_LABELS),
                &mut scratch,
                &mut |_, _| Verdict::Keep,
            )
            .unwrap();
            assert_eq!(scan.groups.len(), 1);
            assert_eq!((scan.kept_series(), scan.total().samples), (1_000, 1_000));
        }
    }

    #[test]
    fn pairs_take_turns() {
        let pairs = [("a", "0"), ("b", "1"), ("", "")];
        let shape = Shape {
            series: 9,
            pairs: &pairs,
            timestamp_ms: 5,
        };
        for version in [Version::V1, Version::V2] {
            let scan = remote_write::scan(
                version,
                &mut request(version, shape),
                Some(HA_LABELS),
                &mut Scratch::default(),
                &mut |_, _| Verdict::Keep,
            )
            .unwrap();
            assert_eq!(scan.groups.len(), 2);
            assert_eq!(scan.other.series, 3);
        }
    }
}
