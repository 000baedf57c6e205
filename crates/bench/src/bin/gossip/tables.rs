//! What was measured, for people.

use std::fmt::Write as _;

use bench::report::thousands;

use crate::cost::Cost;
use crate::phases::{Joined, Life, Memory};
use crate::{CHANGES, Report};

/// Seconds in which 99 of 100 changes are to be everywhere.
const SPREAD: f64 = 2.0;

/// Seconds in which a joiner is to hold everything.
const JOIN: f64 = 10.0;

/// The costs of a phase.
type OfLife = fn(&Life) -> Cost;

/// All tables.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    if let Some(first) = report.lives.first() {
        lives(&mut out, report, first);
    }
    if let Some(first) = report.memory.first() {
        memory(&mut out, &report.memory, first);
    }
    out
}

/// Lives side by side.
fn lives(out: &mut String, report: &Report, first: &Life) {
    let what = format!(
        "{} nodes × {} keys, gossip every 200 ms, seed {}",
        first.cluster.nodes,
        thousands(first.cluster.keys as u64),
        report.seed,
    );
    let mut row =
        |what: &str, of: &dyn Fn(&Life) -> String, target: &str, met: &dyn Fn(&Life) -> bool| {
            let cells: Vec<String> = report.lives.iter().map(of).collect();
            let met = match (target, report.lives.iter().all(met)) {
                ("" | "---:" | "target", _) => "",
                (_, true) => "yes",
                (_, false) => "**no**",
            };
            let met = match target {
                "target" => "met",
                "---:" => "---",
                _ => met,
            };
            // Writing to a string cannot fail.
            let _ = writeln!(out, "| {what} | {} | {target} | {met} |", cells.join(" | "));
        };
    let any = |_: &Life| true;
    let faults = |life: &Life| {
        if life.cluster.faulty {
            "with faults".to_owned()
        } else {
            "without faults".to_owned()
        }
    };
    row(&what, &faults, "target", &any);
    row("---", &|_| "---:".to_owned(), "---:", &any);
    let seconds = |seconds: f64| format!("{seconds:.2} s");
    row(
        "a change is on all nodes: p50",
        &|life| seconds(life.spread.p50),
        "",
        &any,
    );
    row(
        "– p99",
        &|life| seconds(life.spread.p99),
        &format!("< {SPREAD} s"),
        &|life| life.spread.p99 < SPREAD,
    );
    row("– max", &|life| seconds(life.spread.max), "", &any);
    row(
        "– changes measured",
        &|life| thousands(life.spread.changes as u64),
        "",
        &any,
    );
    row(
        "– of them not on all nodes in the end",
        &|life| life.spread.lost.to_string(),
        "0",
        &|life| life.spread.lost == 0,
    );
    row(
        "a joiner is ready, slowest",
        &|life| seconds(slowest(life, |joined| joined.ready)),
        "",
        &any,
    );
    row(
        "– holds everything as of its start",
        &|life| seconds(slowest(life, |joined| joined.complete)),
        &format!("< {JOIN} s"),
        &|life| slowest(life, |joined| joined.complete) < JOIN,
    );
    let changing = format!("at {CHANGES} changes/s");
    let phases: [(&str, OfLife); 3] = [
        ("at rest, without keys", |life| life.at_rest_without_keys),
        ("at rest", |life| life.at_rest),
        (&changing, |life| life.changing),
    ];
    for (number, (phase, of)) in phases.into_iter().enumerate() {
        let what = format!("CPU per node, of one core: {phase}");
        row(
            &what,
            &|life| format!("{:.2} %", of(life).cpu * 100.0),
            "",
            &any,
        );
        // The first is the reference.
        if number == 0 {
            continue;
        }
        let times = |life: &Life| format!("{:.1} ×", of(life).cpu / life.at_rest_without_keys.cpu);
        row("– as a multiple of at rest without keys", &times, "", &any);
    }
    for (phase, of) in phases {
        let what = format!("sent per node: {phase}");
        row(
            &what,
            &|life| format!("{}/s", bytes(of(life).bytes)),
            "",
            &any,
        );
        row(
            "– packets",
            &|life| format!("{:.0}/s", of(life).packets),
            "",
            &any,
        );
    }
    // By memberlist's protocol, each node has a copy.
    if !first.cluster.by_memberlist {
        row(
            &format!("copies in the cluster per key: {changing}"),
            &|life| format!("{:.2}", life.copies_while_changing),
            "",
            &any,
        );
        row(
            &format!("– {:.0} s after the last change", first.rest),
            &|life| format!("{:.2}", life.copies_at_rest),
            "≤ 1.05",
            &|life| life.copies_at_rest <= 1.05,
        );
    }
    row(
        &format!("memory per key and node: {changing}"),
        &|life| bytes(per_key(&life.memory, life.memory_while_changing)),
        "",
        &any,
    );
}

fn slowest(life: &Life, of: impl Fn(&Joined) -> f64) -> f64 {
    life.joiners.iter().map(of).fold(0.0, f64::max)
}

/// The first is the reference.
fn memory(out: &mut String, sizes: &[Memory], reference: &Memory) {
    out.push_str(
        "\n| memory at rest: nodes | keys | per node without keys | per node, the keys | per key and \
         node | as a multiple of the first row |\n|---:|---:|---:|---:|---:|---:|\n",
    );
    let of = |size: &Memory| per_key(size, size.with_keys);
    for size in sizes {
        let per_node = of(size) * size.keys as f64;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {:.2} × |",
            size.nodes,
            thousands(size.keys as u64),
            bytes(size.without_keys as f64 / size.nodes as f64),
            bytes(per_node),
            bytes(of(size)),
            of(size) / of(reference),
        );
    }
}

/// What a process of this size has more than without keys, per key and node.
fn per_key(memory: &Memory, resident: u64) -> f64 {
    let keys = resident.saturating_sub(memory.without_keys) as f64;
    keys / (memory.nodes * memory.keys) as f64
}

fn bytes(bytes: f64) -> String {
    if bytes >= 1e6 {
        format!("{:.2} MB", bytes / 1e6)
    } else if bytes >= 1e3 {
        format!("{:.1} KB", bytes / 1e3)
    } else {
        format!("{bytes:.0} B")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phases::Cluster;
    use crate::spread::Times;

    #[test]
    fn missed_targets_stand_out() {
        let cost = |cpu| Cost {
            cpu,
            bytes: 1_500.0,
            packets: 45.0,
        };
        let memory = Memory {
            nodes: 10,
            keys: 100,
            without_keys: 1_000_000,
            with_keys: 1_500_000,
        };
        let joined = |complete| Joined {
            ready: 0.5,
            missing: 0,
            stale: 0,
            complete,
        };
        let life = |faulty, p99| Life {
            cluster: Cluster {
                nodes: 10,
                keys: 100,
                faulty,
                seed: 7,
                by_memberlist: false,
            },
            at_rest_without_keys: cost(0.01),
            at_rest: cost(0.02),
            changing: cost(0.05),
            spread: Times {
                changes: 1_000,
                p50: 0.5,
                p99,
                max: 4.0,
                lost: 0,
            },
            joiners: vec![joined(1.0), joined(2.0)],
            memory: memory.clone(),
            memory_while_changing: 2_000_000,
            copies_while_changing: 3.0,
            copies_at_rest: 1.0,
            rest: 40.0,
            took: (1.0, 2.0),
        };
        let report = Report {
            seed: 7,
            lives: vec![life(false, 0.9), life(true, 2.5)],
            memory: vec![memory.clone()],
        };
        let table = markdown(&report);
        for row in [
            "| 10 nodes × 100 keys, gossip every 200 ms, seed 7 | without faults | with faults | target | met |",
            "| --- | ---: | ---: | ---: | --- |",
            "| a change is on all nodes: p50 | 0.50 s | 0.50 s |  |  |",
            "| – p99 | 0.90 s | 2.50 s | < 2 s | **no** |",
            "| – holds everything as of its start | 2.00 s | 2.00 s | < 10 s | yes |",
            "| CPU per node, of one core: at 700 changes/s | 5.00 % | 5.00 % |  |  |",
            "| – as a multiple of at rest without keys | 5.0 × | 5.0 × |  |  |",
            "| 10 | 100 | 100.0 KB | 50.0 KB | 500 B | 1.00 × |",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
    }
}
