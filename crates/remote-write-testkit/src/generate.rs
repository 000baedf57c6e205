//! Requests as an HA pair of Prometheus servers sends them for a fleet of node exporters.
//!
//! All of it is made ahead: what is measured with a request pays nothing for its making.

use remote_write::{HaLabelNames, Version};

use crate::encode::to_protobuf;
use crate::series::{MetricMetadata, Sample, Series, labels};

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
    /// Milliseconds since the epoch of every sample, or of the first.
    pub timestamp_ms: i64,
    /// The nodes are scraped within so many milliseconds, one after the other; 1 for all at once.
    pub spread_ms: u8,
}

impl Shape<'static> {
    /// One pair, as a usual sender has.
    pub fn usual(series: usize) -> Self {
        Self {
            series,
            pairs: &[("production-eu-west-1", "prometheus-0")],
            timestamp_ms: 1_760_000_000_123,
            spread_ms: 15,
        }
    }
}

/// The same shape makes the same series.
pub fn series(shape: Shape<'_>) -> impl Iterator<Item = Series> + '_ {
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
        let own: [(&str, &str); LABELS] = [
            ("__name__", metric),
            ("__replica__", replica),
            ("cluster", cluster),
            ("cpu", &(index / 8 % 64).to_string()),
            ("endpoint", "metrics"),
            (
                "instance",
                &format!("10.{}.{}.7:9100", node / 200, node % 200),
            ),
            ("job", "node-exporter"),
            ("mode", mode),
            ("namespace", "monitoring"),
            ("pod", &format!("prometheus-node-exporter-{pod_hash:05x}")),
            ("service", "node-exporter"),
        ];
        // Seconds with two decimals, as counters of CPU time are.
        let value = (state >> 24) as f64 / 100.0;
        let after_ms = node % usize::from(shape.spread_ms.max(1));
        Series {
            labels: labels(&own),
            samples: vec![Sample {
                timestamp: shape.timestamp_ms + after_ms as i64,
                bits: value.to_bits(),
            }],
            metadata: Some(MetricMetadata {
                name: metric.to_owned(),
                kind: 2,
                help: format!("Help of the metric {metric}."),
                unit: String::new(),
            }),
            ..Series::default()
        }
    })
}

/// A request, not compressed. Pairs with an empty cluster or replica are sent as empty labels.
pub fn request(version: Version, shape: Shape<'_>) -> Vec<u8> {
    to_protobuf(version, &series(shape).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use remote_write::{Decides, Scratch, Verdict, compress_into};

    use super::*;
    use crate::decode::decode;
    use crate::encode::compress;

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
                Some(HA_LABELS.rule(Decides::EachSeries)),
                &mut scratch,
                &mut |_, _| Verdict::Keep,
            )
            .unwrap();
            assert_eq!(scan.groups.len(), 1);
            assert_eq!((scan.kept_series(), scan.total().samples), (1_000, 1_000));
        }
    }

    #[test]
    fn both_versions_say_the_same() {
        let shape = Shape {
            series: 200,
            pairs: &[("demo", "r1")],
            timestamp_ms: 1_700_000_000_123,
            spread_ms: 1,
        };
        let decoded = [Version::V1, Version::V2].map(|version| {
            let body = compress(&request(version, shape));
            let (mut series, _) = decode(version, &body, 1 << 20).unwrap();
            for one in &mut series {
                one.metadata = None;
            }
            series
        });
        assert_eq!(decoded[0], decoded[1]);
        assert_eq!(decoded[0].len(), 200);
        assert_eq!(decoded[0][7].samples[0].timestamp, 1_700_000_000_123);
        let has = |name: &str, value: &str| decoded[0][199].labels[name] == value;
        assert!(has("__replica__", "r1") && has("cluster", "demo"));
        assert!(has("instance", "10.0.8.7:9100"));
    }

    #[test]
    fn pairs_take_turns() {
        let pairs = [("a", "0"), ("b", "1"), ("", "")];
        let shape = Shape {
            series: 9,
            pairs: &pairs,
            timestamp_ms: 5,
            spread_ms: 15,
        };
        for version in [Version::V1, Version::V2] {
            let scan = remote_write::scan(
                version,
                &mut request(version, shape),
                Some(HA_LABELS.rule(Decides::EachSeries)),
                &mut Scratch::default(),
                &mut |_, _| Verdict::Keep,
            )
            .unwrap();
            assert_eq!(scan.groups.len(), 2);
            assert_eq!(scan.other.series, 3);
        }
    }
}
