//! What was measured, for people.

use std::fmt::Write as _;

use bench::report::thousands;

use crate::Report;
use crate::cost::{Cost, Server};
use crate::slow::{Comparison, DELAY, Round};

/// All tables.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    if let Some(reference) = report.cost.first() {
        cost(&mut out, &report.cost, reference);
    }
    if !report.slow_store.is_empty() {
        slow(&mut out, &report.slow_store);
    }
    out
}

/// Stores side by side; the first is the reference.
fn cost(out: &mut String, costs: &[Cost], reference: &Cost) {
    let what = format!(
        "{} clusters, {} series/s, {:.0} s",
        thousands(reference.clusters as u64),
        thousands(reference.series_pushed.round() as u64),
        reference.seconds,
    );
    let mut row = |what: &str, of: &dyn Fn(&Cost) -> Option<String>| {
        let cells: Vec<String> = costs
            .iter()
            .map(|cost| of(cost).unwrap_or_else(|| "–".to_owned()))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {what} | {} |", cells.join(" | "));
    };
    row(&what, &|cost| Some(cost.store.to_owned()));
    row("---", &|_| Some("---:".to_owned()));
    row("elections updated", &|cost| Some(each(cost.updates)));
    row("requests to the store", &server(requests));
    row("– reads", &server(|server| each(server.reads)));
    row("– writes", &server(|server| each(server.writes)));
    row(
        "– messages of the watch",
        &server(|server| each(server.watch_answers)),
    );
    row("size of a watch's answer", &|cost| {
        Some(bytes(cost.server.as_ref()?.watch_answer_bytes?))
    });
    row(
        "bytes to the store",
        &server(|server| rate(server.bytes_to_store)),
    );
    row(
        "bytes from the store",
        &server(|server| rate(server.bytes_from_store)),
    );
    row("CPU of the distributor, of one core", &|cost| {
        Some(percent(cost.cpu))
    });
    row("– as a multiple of inmemory", &|cost| {
        Some(format!("{:.2} ×", cost.cpu / reference.cpu))
    });
    row("– more than inmemory", &|cost| {
        cost.server.as_ref()?;
        Some(percent(cost.cpu - reference.cpu))
    });
    row(
        "CPU of the store, of one core",
        &server(|server| percent(server.cpu)),
    );
    row("memory of the distributor", &|cost| {
        Some(bytes(cost.resident_bytes as f64))
    });
    row("per cluster: requests to the store", &|cost| {
        let server = cost.server.as_ref()?;
        let requests = server.reads + server.writes;
        Some(format!("{:.3}/s", requests / cost.clusters as f64))
    });
    row("per cluster: bytes to and from the store", &|cost| {
        let server = cost.server.as_ref()?;
        let moved = server.bytes_to_store + server.bytes_from_store;
        Some(rate(moved / cost.clusters as f64))
    });
    row("per cluster: CPU of the distributor", &|cost| {
        Some(format!("{:.1} µs/s", cost.cpu / cost.clusters as f64 * 1e6))
    });
    row("failed pushes", &|cost| {
        Some(cost.failed_pushes.to_string())
    });
    row("failed calls of the store", &|cost| {
        Some(format!("{:.0}", cost.failed_calls))
    });
}

fn requests(server: &Server) -> String {
    each(server.reads + server.writes)
}

fn server(of: impl Fn(&Server) -> String) -> impl Fn(&Cost) -> Option<String> {
    move |cost| cost.server.as_ref().map(&of)
}

fn slow(out: &mut String, comparisons: &[Comparison]) {
    let delay = DELAY.as_secs();
    let _ = write!(
        out,
        "\n| pushes of known clusters | direct | {delay} s per call | slow / direct |\n\
         |---|---:|---:|---:|\n"
    );
    for comparison in comparisons {
        let store = comparison.store;
        let mut latency = |name, number: fn(&Round) -> f64| {
            let _ = writeln!(
                out,
                "| {store}: {name} of a push | {:.3} ms | {:.3} ms | {:.2} × |",
                comparison.typical(|pair| &pair.direct, number),
                comparison.typical(|pair| &pair.slow, number),
                comparison.ratio(number),
            );
        };
        latency("p50", |round| round.p50_ms);
        latency("p99", |round| round.p99_ms);
        let took = |round: &Round| round.update_seconds * 1e3;
        let _ = writeln!(
            out,
            "| {store}: an update of an election, mean | {:.1} ms | {:.0} ms |  |",
            comparison.typical(|pair| &pair.direct, took),
            comparison.typical(|pair| &pair.slow, took),
        );
    }
}

fn each(per_second: f64) -> String {
    if per_second >= 100.0 {
        format!("{}/s", thousands(per_second.round() as u64))
    } else {
        format!("{per_second:.2}/s")
    }
}

fn rate(per_second: f64) -> String {
    format!("{}/s", bytes(per_second))
}

fn bytes(bytes: f64) -> String {
    if bytes >= 1e6 {
        format!("{:.2} MB", bytes / 1e6)
    } else if bytes >= 1e3 {
        format!("{:.1} KB", bytes / 1e3)
    } else {
        format!("{bytes:.1} B")
    }
}

fn percent(cores: f64) -> String {
    format!("{:.1} %", cores * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slow::Pair;

    fn cost_of(store: &'static str, cpu: f64, server: Option<Server>) -> Cost {
        Cost {
            store,
            clusters: 10_000,
            seconds: 60.0,
            series_pushed: 4_000.0,
            failed_pushes: 0,
            updates: 600.0,
            failed_calls: 0.0,
            cpu,
            resident_bytes: 20_000_000,
            server,
        }
    }

    #[test]
    fn costs_stand_beside_the_reference() {
        let server = Server {
            reads: 600.0,
            writes: 600.0,
            watch_answers: 0.95,
            bytes_to_store: 250_000.0,
            bytes_from_store: 2_500_000.0,
            cpu: 0.4,
            watch_answer_bytes: Some(2_100_000.0),
        };
        let report = Report {
            cost: vec![
                cost_of("inmemory", 0.02, None),
                cost_of("Consul", 0.1, Some(server)),
            ],
            ..Report::default()
        };
        let table = markdown(&report);
        for row in [
            "| 10,000 clusters, 4,000 series/s, 60 s | inmemory | Consul |",
            "| --- | ---: | ---: |",
            "| requests to the store | – | 1,200/s |",
            "| – messages of the watch | – | 0.95/s |",
            "| size of a watch's answer | – | 2.10 MB |",
            "| – as a multiple of inmemory | 1.00 × | 5.00 × |",
            "| – more than inmemory | – | 8.0 % |",
            "| per cluster: bytes to and from the store | – | 275.0 B/s |",
            "| per cluster: CPU of the distributor | 2.0 µs/s | 10.0 µs/s |",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
    }

    #[test]
    fn the_ratio_is_of_rounds_side_by_side() {
        let round = |p50_ms| Round {
            p50_ms,
            p99_ms: 2.0,
            max_ms: 3.0,
            updates: 100.0,
            update_seconds: 2.0,
        };
        let pair = |direct, slow| Pair {
            direct: round(direct),
            slow: round(slow),
        };
        let report = Report {
            slow_store: vec![Comparison {
                store: "etcd",
                pushes_in_a_round: 10,
                rounds: vec![pair(1.0, 1.1), pair(2.0, 2.2), pair(4.0, 4.0)],
            }],
            ..Report::default()
        };
        let row = "| etcd: p50 of a push | 2.000 ms | 2.200 ms | 1.10 × |";
        let table = markdown(&report);
        assert!(table.contains(row), "{table}");
    }
}
