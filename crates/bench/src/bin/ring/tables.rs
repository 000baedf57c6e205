//! What was measured, for people.

use std::fmt::Write as _;

use crate::{Measured, Report};

/// A value of a ring.
type OfRing = fn(&Measured) -> f64;

/// Its text.
type Show = fn(f64) -> String;

/// The table. The ring of Mimir's code, the last one, is the reference of each ratio.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    let load = report.load;
    let mut row = |what: &str, cell: &dyn Fn(&Measured) -> String| {
        let cells: Vec<String> = report.rings.iter().map(cell).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {what} | {} |", cells.join(" | "));
    };
    let what = format!(
        "{} members, {} changes/s in all",
        load.members,
        load.members as f64 * f64::from(load.changes)
    );
    row(&what, &|ring| ring.ring.to_owned());
    row("---", &|_| "---:".to_owned());
    let seconds: Show = |seconds| format!("{seconds:.2} s");
    let percent: Show = |share| format!("{:.2} %", share * 100.0);
    let bytes: Show = |bytes| format!("{:.1} KB/s", bytes / 1e3);
    let rows: [(&str, OfRing, Show); 5] = [
        ("CPU per member, of one core", |ring| ring.cpu, percent),
        ("sent per member", |ring| ring.bytes, bytes),
        ("a change is on all: p50", |ring| ring.spread[0], seconds),
        ("a change is on all: p99", |ring| ring.spread[1], seconds),
        (
            "a change is on all: slowest",
            |ring| ring.spread[2],
            seconds,
        ),
    ];
    for (what, of, show) in rows {
        let reference = report.rings.last().map_or(f64::NAN, of);
        row(what, &|ring| {
            format!("{} ({:.2} ×)", show(of(ring)), of(ring) / reference)
        });
    }
    row("changes that were not on all after 3 s", &|ring| {
        ring.missing.to_string()
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Load;

    #[test]
    fn the_last_ring_is_the_reference() {
        let ring = |ring, cpu| Measured {
            ring,
            cpu,
            bytes: 2_000.0,
            spread: [0.1, 0.2, 0.4],
            missing: 0,
        };
        let report = Report {
            load: Load {
                members: 10,
                keys: 100,
                changes: 10,
                seconds: 1,
            },
            rings: vec![ring("memberlist", 0.01), ring("Mimir's code", 0.02)],
        };
        let table = markdown(&report);
        for row in [
            "| 10 members, 100 changes/s in all | memberlist | Mimir's code |",
            "| CPU per member, of one core | 1.00 % (0.50 ×) | 2.00 % (1.00 ×) |",
            "| sent per member | 2.0 KB/s (1.00 ×) | 2.0 KB/s (1.00 ×) |",
            "| a change is on all: slowest | 0.40 s (1.00 ×) | 0.40 s (1.00 ×) |",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
    }
}
