//! The measurements as markdown.

use std::fmt::Write as _;

use bench::report::thousands;

use crate::cases::Outcome;
use crate::compare::Row;

/// The distributor over the least that has to be done, at most.
const MOST: f64 = 1.35;
/// vmagent over the distributor, at least.
const VMAGENT: f64 = 6.0;
/// The part of the processors that the model uses.
const MODEL_LOAD: f64 = 0.7;

pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "| one request | the least | its network | and forward | decompress alone | compress alone \
         | distributor | – user | – kernel | ratio | target | met |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for row in rows {
        let only = |wanted: bool, seconds| {
            if wanted {
                micros(seconds)
            } else {
                "–".to_owned()
            }
        };
        let outcome = row.outcome;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.2} × | ≤ {MOST} × | {} |",
            name(row),
            micros(row.least),
            only(outcome != Outcome::Accepted, row.null),
            only(outcome != Outcome::Deduplicated, row.null_forward),
            micros(row.decompress),
            only(outcome != Outcome::Deduplicated, row.compress),
            micros(row.distributor.cpu.total()),
            micros(row.distributor.cpu.user),
            micros(row.distributor.cpu.system),
            row.ratio,
            met(row.ratio <= MOST),
        );
    }
    out += "\n| one request | requests per CPU second | samples per CPU second | p50 | p99 |\n\
            |---|---:|---:|---:|---:|\n";
    for row in rows {
        let each = row.distributor.cpu.total();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            name(row),
            thousands((1.0 / each).round() as u64),
            thousands((row.series as f64 / each).round() as u64),
            micros(row.distributor.p50),
            micros(row.distributor.p99),
        );
    }
    out += &model(rows);
    if rows.iter().all(|row| row.vmagent.is_none()) {
        return out;
    }
    out += "\n| one request | vmagent | – user | – kernel | p50 | p99 | distributor | vmagent / distributor \
            | target | met |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n";
    for row in rows {
        let (Some(vmagent), Some(ratio)) = (row.vmagent, row.vmagent_ratio) else {
            continue;
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {ratio:.1} × | ≥ {VMAGENT} × | {} |",
            name(row),
            micros(vmagent.cpu.total()),
            micros(vmagent.cpu.user),
            micros(vmagent.cpu.system),
            micros(vmagent.p50),
            micros(vmagent.p99),
            micros(row.distributor.cpu.total()),
            met(ratio >= VMAGENT),
        );
    }
    out
}

/// What larger machines could take, from the requests of an HA pair of Prometheus servers.
fn model(rows: &[Row]) -> String {
    let is_usual =
        |row: &&Row| (row.version, row.series, row.outcome) == ("1.0", 1_000, Outcome::Mixed);
    let Some(row) = rows.iter().find(is_usual) else {
        return String::new();
    };
    let mut out = String::from(
        "\n| model: processors | requests per second | samples per second | received | forwarded |\n\
         |---:|---:|---:|---:|---:|\n",
    );
    for processors in [1.0, 16.0, 64.0] {
        let rate = processors * MODEL_LOAD / row.distributor.cpu.total();
        let gigabits = rate * row.compressed_bytes as f64 * 8.0 / 1e9;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| {processors} | {} | {} | {gigabits:.1} Gbit/s | {:.1} Gbit/s |",
            thousands(rate.round() as u64),
            thousands((rate * row.series as f64).round() as u64),
            gigabits / 2.0,
        );
    }
    out
}

fn name(row: &Row) -> String {
    let series = thousands(row.series as u64);
    format!("{}, {series} series, {}", row.version, row.outcome.name())
}

fn micros(seconds: f64) -> String {
    let micros = seconds * 1e6;
    match micros < 100.0 {
        true => format!("{micros:.1} µs"),
        false => format!("{} µs", thousands(micros.round() as u64)),
    }
}

fn met(is_met: bool) -> &'static str {
    if is_met { "yes" } else { "**no**" }
}
