//! The scanner against the least that any receiver must do, and against a full decoder.

use anyhow::{Context, Result};
use prost::Message as _;
use remote_write::proto::{v1, v2};
use remote_write::{
    Decides, HaLabelNames, Scratch, Verdict, Version, compress_into, compress_reusing,
    decompress_reusing, scan_in_place,
};

use crate::measure::{Effort, interleaved};
use crate::reference::Codec;
use crate::report::{Report, Target, Timing, thousands};
use remote_write_testkit::generate::{HA_LABELS, Shape, request};

const SECTION: &str = "remote write";
const LIMIT: u64 = 100 << 20;

/// Measures both versions at both sizes.
pub fn run(effort: Effort, report: &mut Report) -> Result<()> {
    for version in [Version::V1, Version::V2] {
        for series in [1_000, 10_000] {
            measure(effort, version, series, report)?;
        }
    }
    Ok(())
}

fn measure(effort: Effort, version: Version, series: usize, report: &mut Report) -> Result<()> {
    let raw = request(version, Shape::usual(series));
    let mut compressed = Vec::new();
    compress_into(&raw, &mut compressed);
    let mut stripped = raw.clone();
    let kept = scanned(
        version,
        &mut stripped,
        &mut Scratch::default(),
        Verdict::Keep,
    )?;
    stripped.truncate(kept);
    anyhow::ensure!(
        full_decode(version, &raw, HA_LABELS)? == stripped,
        "the results differ"
    );

    // Each contender owns warm buffers, as a receiver does.
    let mut work: [Buffers; 3] = std::array::from_fn(|_| Buffers::default());
    let [drop_all, strip_all, strip_only] = &mut work;
    let (mut decompress, mut round_trip) = (Codec::default(), Codec::default());
    let times = interleaved(
        effort,
        &mut [
            &mut || {
                checked(decompress.decompress(&compressed));
            },
            &mut || {
                let Buffers { raw, scratch, .. } = &mut *drop_all;
                let length = checked(decompress_reusing(&compressed, LIMIT, raw));
                checked(scanned(version, &mut raw[..length], scratch, Verdict::Drop));
            },
            &mut || {
                checked(round_trip.decompress(&compressed));
                checked(round_trip.compress(&stripped));
            },
            &mut || {
                let Buffers { raw, out, scratch } = &mut *strip_all;
                let length = checked(decompress_reusing(&compressed, LIMIT, raw));
                let kept = checked(scanned(version, &mut raw[..length], scratch, Verdict::Keep));
                compress_reusing(&raw[..kept], out);
            },
            &mut || {
                // The scan edits in place, so its input has to be copied for every call.
                strip_only.raw.clear();
                strip_only.raw.extend_from_slice(&raw);
                checked(scanned(
                    version,
                    &mut strip_only.raw,
                    &mut strip_only.scratch,
                    Verdict::Keep,
                ));
            },
            &mut || {
                std::hint::black_box(checked(full_decode(version, &raw, HA_LABELS)));
            },
        ],
    );
    let number = match version {
        Version::V1 => "1.0",
        Version::V2 => "2.0",
    };
    let case = format!(
        "{number}, {} series, {} KB, {} KB compressed",
        thousands(series as u64),
        raw.len() / 1000,
        compressed.len() / 1000
    );
    let rows = [
        (
            1,
            "decompress, scan, drop all",
            0,
            "decompress",
            Target::AtMost(2.5),
        ),
        (
            3,
            "decompress, scan, strip all, compress",
            2,
            "decompress, compress the same",
            Target::AtMost(1.6),
        ),
        (
            4,
            "scan, strip all",
            5,
            "prost: decode, filter, encode",
            Target::AtLeastTimesFaster(8.0),
        ),
    ];
    for (ours, ours_name, reference, reference_name, target) in rows {
        report.timings.push(Timing {
            section: SECTION,
            case: case.clone(),
            ours: ours_name,
            ours_ns: times.seconds(ours) * 1e9,
            reference: reference_name,
            reference_ns: times.seconds(reference) * 1e9,
            ratio: times.ratio(ours, reference),
            target: Some(target),
        });
    }
    Ok(())
}

#[derive(Default)]
struct Buffers {
    raw: Vec<u8>,
    out: Vec<u8>,
    scratch: Scratch,
}

fn scanned(
    version: Version,
    raw: &mut [u8],
    scratch: &mut Scratch,
    verdict: Verdict,
) -> Result<usize> {
    let rule = HA_LABELS.rule(Decides::FirstSeries);
    let found = scan_in_place(version, raw, Some(rule), scratch, &mut |_, _| verdict)?;
    Ok(std::hint::black_box(found).length)
}

/// A generated request is valid; if not, the numbers would mean nothing.
#[expect(clippy::panic, reason = "a benchmark of errors must not go unnoticed")]
fn checked<T, E: std::fmt::Debug>(result: std::result::Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// What a receiver does that has only a decoder.
fn full_decode(version: Version, raw: &[u8], names: HaLabelNames<'_>) -> Result<Vec<u8>> {
    match version {
        Version::V1 => {
            let mut request = v1::WriteRequest::decode(raw)?;
            request.timeseries.retain_mut(|series| {
                let has = |name| series.labels.iter().any(|label| label.name == name);
                if has(names.cluster) && has(names.replica) {
                    series.labels.retain(|label| label.name != names.replica);
                }
                true
            });
            Ok(request.encode_to_vec())
        }
        Version::V2 => {
            let mut request = v2::Request::decode(raw)?;
            let position = |name| request.symbols.iter().position(|symbol| symbol == name);
            let cluster = position(names.cluster).context("no cluster label")? as u32;
            let replica = position(names.replica).context("no replica label")? as u32;
            request.timeseries.retain_mut(|series| {
                let pairs = series.labels_refs.as_chunks::<2>().0;
                let has = |name| pairs.iter().any(|pair| pair[0] == name);
                if has(cluster) && has(replica) {
                    let left = pairs.iter().filter(|pair| pair[0] != replica);
                    series.labels_refs = left.flatten().copied().collect();
                }
                true
            });
            Ok(request.encode_to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_what_it_says() {
        let mut report = Report::default();
        measure(Effort::Quick, Version::V2, 20, &mut report).unwrap();
        assert_eq!(report.timings.len(), 3);
        assert!(report.timings.iter().all(|timing| timing.ratio > 0.0));
    }
}
