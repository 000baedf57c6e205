//! What failovers without loss cost: time of a request, and memory of what is held.

use anyhow::{Context, Result};
use bytes::Bytes;
use remote_write::Version;
use remote_write_testkit::generate::Shape;

use crate::measure::{Effort, interleaved};
use crate::push::{LOSING, PushPath, body, body_at};
use crate::report::{Number, Report, Target, Timing, thousands};

const SECTION: &str = "failover without loss";
/// Later than the samples of [`Shape::usual`].
const NEWER_MS: i64 = 1_760_000_060_000;
const VERSIONS: [(Version, &str); 2] = [(Version::V1, "1.0"), (Version::V2, "2.0")];

/// The load of the memory rows: series, and the time between two scrapes.
const SERIES: usize = 1_000_000;
const INTERVAL_S: f64 = 15.0;
/// Samples of a request, as Prometheus sends them by default.
const SAMPLES: usize = 2_000;
/// Prometheus sends what has gathered after this time at the latest, so that much of a standby is held
/// until the elected replica has sent as much.
const SKEW_S: f64 = 5.0;
/// With the defaults, a standby is held for this long after the death of the elected replica.
const LATE_S: f64 = 22.0;
/// May be held: more than there is.
const ENOUGH: u64 = 4 << 30;
const MIB: f64 = (1 << 20) as f64;

/// Times of requests of a tenant in lossless mode against those in classic mode.
pub fn times(effort: Effort, report: &mut Report) -> Result<()> {
    let path = PushPath::start()?;
    for (version, number) in VERSIONS {
        for series in [1_000, 10_000] {
            let accepted = body(version, series, Shape::usual(1).pairs);
            let standby = body_at(version, series, LOSING, NEWER_MS);
            path.push_lossless(version, &accepted)?;
            let times = interleaved(
                effort,
                &mut [
                    &mut || drop(path.push(version, &accepted)),
                    &mut || drop(path.push_lossless(version, &accepted)),
                    &mut || drop(path.push(version, &standby)),
                    &mut || drop(path.push_lossless(version, &standby)),
                ],
            );
            for (ours, ours_name, reference, reference_name, most) in [
                (1, "accepted, lossless", 0, "accepted, classic", 1.05),
                (3, "held, lossless", 2, "deduplicated, classic", 1.10),
            ] {
                report.timings.push(Timing {
                    section: SECTION,
                    case: format!("{number}, {} series", thousands(series as u64)),
                    ours: ours_name,
                    ours_ns: times.seconds(ours) * 1e9,
                    reference: reference_name,
                    reference_ns: times.seconds(reference) * 1e9,
                    ratio: times.ratio(ours, reference),
                    target: Some(Target::AtMost(most)),
                });
            }
        }
    }
    Ok(())
}

/// Heap memory that a distributor holds which gets the whole load, for one pair of it.
///
/// # Errors
/// A request is not held.
pub fn memory(report: &mut Report) -> Result<()> {
    let per_second = SERIES as f64 / INTERVAL_S / SAMPLES as f64;
    for (version, number) in VERSIONS {
        for (what, seconds) in [
            ("in quiet times, replicas 5 s apart", SKEW_S),
            ("22 s after the elected replica died", SKEW_S + LATE_S),
        ] {
            let requests = (per_second * seconds).ceil() as usize;
            report.numbers.push(Number {
                section: SECTION,
                what: format!(
                    "memory held of {} series at {INTERVAL_S} s, {number}: {what}",
                    thousands(SERIES as u64)
                ),
                value: held_bytes(version, requests)? / MIB,
                unit: "MiB",
                target: None,
            });
        }
    }
    Ok(())
}

/// Heap bytes that remain when so many requests of a standby have been answered.
fn held_bytes(version: Version, requests: usize) -> Result<f64> {
    let path = PushPath::with_hold(ENOUGH)?;
    path.push_lossless(version, &body(version, 1, Shape::usual(1).pairs))?;
    // What grows once is warm.
    let standby = body_at(version, SAMPLES, LOSING, NEWER_MS);
    hold(&path, version, &standby, 1)?;
    let mut held = None;
    let counted =
        allocation_counter::measure(|| held = Some(hold(&path, version, &standby, requests)));
    held.context("nothing was measured")??;
    Ok(counted.bytes_current as f64)
}

fn hold(path: &PushPath, version: Version, body: &Bytes, requests: usize) -> Result<()> {
    for _ in 0..requests {
        let answer = path.push_lossless(version, body)?;
        let is_held = answer.message().contains("held for a failover");
        anyhow::ensure!(is_held, "{answer:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ingest::Outcome;

    use super::*;

    #[test]
    fn requests_in_lossless_mode_are_accepted_and_held() {
        let path = PushPath::start().unwrap();
        let accepted = body(Version::V2, 10, Shape::usual(1).pairs);
        let answer = path.push_lossless(Version::V2, &accepted).unwrap();
        assert_eq!(answer.outcome, Outcome::Stored);
        let standby = body_at(Version::V2, 10, LOSING, NEWER_MS);
        let answer = path.push_lossless(Version::V2, &standby).unwrap();
        assert!(
            answer.message().contains("held for a failover"),
            "{answer:?}"
        );
    }

    #[test]
    fn what_is_held_is_the_compressed_body_and_little_more() {
        let body = body_at(Version::V2, SAMPLES, LOSING, NEWER_MS).len() as f64;
        let held = held_bytes(Version::V2, 50).unwrap();
        assert!((50.0 * body..60.0 * body).contains(&held), "{held}, {body}");
    }
}
