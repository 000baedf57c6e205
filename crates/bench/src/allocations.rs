//! Heap allocations of one request with warm buffers: their number must not grow with the request.

use anyhow::{Context, Result};
use remote_write::{
    Decides, Scratch, Verdict, Version, Window, compress_into, decompress_into, scan,
};

use crate::report::{Constant, Report};
use remote_write_testkit::generate::{HA_LABELS, Shape, request};

const SIZES: [usize; 3] = [100, 1_000, 10_000];
const LIMIT: u64 = 100 << 20;
/// No sample lies within.
const AFTER_ALL: Window = Window {
    after_ms: i64::MAX - 1,
    until_ms: i64::MAX,
};

/// Counts for both versions and every verdict.
pub fn run(report: &mut Report) -> Result<()> {
    for (version, number) in [(Version::V1, "1.0"), (Version::V2, "2.0")] {
        for (verdict, what) in [
            (Verdict::Drop, "decompress, scan, drop all"),
            (Verdict::Keep, "decompress, scan, strip all, compress"),
            (Verdict::Later, "decompress, scan, decide later, drop all"),
            (
                Verdict::Within(AFTER_ALL),
                "decompress, scan, drop all by a window",
            ),
        ] {
            let counts = SIZES
                .iter()
                .map(|&series| Ok((series as u64, allocations(version, series, verdict)?)))
                .collect::<Result<_>>()?;
            report.constants.push(Constant {
                section: "allocations",
                case: format!("{number}: {what}"),
                counts,
            });
        }
    }
    Ok(())
}

/// Allocations of the second of two equal requests.
pub fn allocations(version: Version, series: usize, verdict: Verdict) -> Result<u64> {
    let mut compressed = Vec::new();
    compress_into(&request(version, Shape::usual(series)), &mut compressed);
    let (mut raw, mut out, mut scratch) = (Vec::new(), Vec::new(), Scratch::default());
    let mut handle = || -> Result<()> {
        decompress_into(&compressed, LIMIT, &mut raw)?;
        let mut found = scan(
            version,
            &mut raw,
            Some(HA_LABELS.rule(Decides::FirstSeries)),
            &mut scratch,
            &mut |_, _| verdict,
        )?;
        match verdict {
            Verdict::Drop | Verdict::Within(_) => {}
            Verdict::Keep => compress_into(&raw, &mut out),
            Verdict::Later => found.discard(&mut raw, &[0]),
        }
        Ok(())
    };
    handle()?;
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(handle()));
    result.context("nothing was measured")??;
    Ok(counted.count_total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_series_does_not_matter() {
        for version in [Version::V1, Version::V2] {
            for verdict in [
                Verdict::Drop,
                Verdict::Keep,
                Verdict::Later,
                Verdict::Within(AFTER_ALL),
            ] {
                let [few, more, many] =
                    SIZES.map(|series| allocations(version, series, verdict).unwrap());
                assert_eq!((few, more), (more, many), "{version:?} {verdict:?}");
                assert!(few < 10, "{version:?} {verdict:?}: {few}");
            }
        }
    }
}
