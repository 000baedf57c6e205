//! The simulation of fleets, for `cargo xtask simulate`: `--seeds N` runs N seeds, from `--first F` on
//! (0), `--seed S` runs one, with a trace of what happens.

#![allow(clippy::print_stdout, reason = "what it found is its output")]

#[path = "../simulation/mod.rs"]
mod simulation;

use std::process::ExitCode;

use simulation::Scenario;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|one| one == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        return one(seed);
    }
    many(
        number("--first").unwrap_or(0),
        number("--seeds").unwrap_or(1_000),
    )
}

fn one(seed: u64) -> ExitCode {
    let scenario = Scenario::of(seed);
    let mut report = simulation::run(&scenario, true);
    let trace = std::mem::take(&mut report.trace);
    println!("{scenario:#?}\n{trace}\n{report:#?}");
    if report.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

fn many(first: u64, seeds: u64) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let bad = std::thread::scope(|scope| {
        let run = |offset: u64| {
            let mut bad = Vec::new();
            for seed in (first + offset..first + seeds).step_by(threads as usize) {
                let scenario = Scenario::of(seed);
                let report = simulation::run(&scenario, false);
                if !report.violations.is_empty() {
                    println!(
                        "seed {seed} ({:?}): {:?}",
                        scenario.class, report.violations
                    );
                    bad.push(seed);
                }
            }
            bad
        };
        let started: Vec<_> = (0..threads)
            .map(|offset| scope.spawn(move || run(offset)))
            .collect();
        let ended = started
            .into_iter()
            .map(|one| one.join().unwrap_or_default());
        ended.flatten().count()
    });
    println!("{seeds} seeds, {bad} with violations");
    if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
