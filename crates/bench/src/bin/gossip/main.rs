//! The `bench-gossip` binary: what a large cluster of the gossip store does, simulated in one
//! process over a network in memory, in virtual time. Prints markdown tables, writes JSON.
//!
//! `bench-gossip [--json FILE] [--quick] [--seed N] [--memberlist]`: by chitchat's protocol, or by
//! memberlist's. Each cluster is simulated by a process of its own, this program called with `--cluster`
//! and what to simulate, so that its memory and its CPU time are its own.

mod cluster;
mod cost;
mod phases;
mod spread;
mod tables;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use bench::arguments::Arguments;
use bench::measure::Effort;
use serde::{Deserialize, Serialize};

use crate::phases::{Cluster, Life, Memory};

/// Changes of the whole cluster, each second: what 10,000 clusters of the tracker make.
const CHANGES: u32 = 700;

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    /// Without faults, then with them.
    lives: Vec<Life>,
    memory: Vec<Memory>,
}

/// What a process of this program is to simulate.
#[derive(Debug, Serialize, Deserialize)]
enum Task {
    /// All phases of a cluster's life.
    Life(Cluster, Effort),
    /// What the keys of a cluster cost in memory.
    Memory(Cluster),
}

fn main() -> Result<()> {
    let (mut seed, mut task, mut others) = (None, None, Vec::new());
    let mut by_memberlist = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => seed = Some(arguments.next().context("--seed needs a number")?.parse()?),
            "--cluster" => task = Some(arguments.next().context("--cluster needs a task")?),
            "--memberlist" => by_memberlist = true,
            _ => others.push(argument),
        }
    }
    if let Some(task) = task {
        return simulate(&serde_json::from_str(&task)?);
    }
    let arguments = Arguments::parse_from(others)?;
    let seed = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    eprintln!("seed: {seed}");
    let report = measure(arguments.effort, seed, by_memberlist)
        .with_context(|| format!("with --seed {seed} it can be repeated"))?;
    print!("{}", tables::markdown(&report));
    arguments.write(&report)
}

fn measure(effort: Effort, seed: u64, by_memberlist: bool) -> Result<Report> {
    let (nodes, keys, memory): (_, _, &[(usize, usize)]) = match effort {
        Effort::Quick => (20, 1_000, &[(5, 1_000), (5, 2_000), (10, 1_000)]),
        Effort::Full => (100, 10_000, &[(10, 10_000), (10, 20_000), (30, 10_000)]),
    };
    let cluster = |(nodes, keys), faulty| Cluster {
        nodes,
        keys,
        faulty,
        seed,
        by_memberlist,
    };
    let mut report = Report {
        seed,
        lives: Vec::new(),
        memory: Vec::new(),
    };
    for size in memory {
        report
            .memory
            .push(ask(&Task::Memory(cluster(*size, true)))?);
    }
    for faulty in [false, true] {
        let life: Life = ask(&Task::Life(cluster((nodes, keys), faulty), effort))?;
        report.lives.push(life);
    }
    report
        .memory
        .extend(report.lives.last().map(|life| life.memory.clone()));
    Ok(report)
}

/// Has another process of this program simulate it.
fn ask<T: serde::de::DeserializeOwned>(task: &Task) -> Result<T> {
    let task = serde_json::to_string(task)?;
    eprintln!("{task}");
    let output = Command::new(std::env::current_exe()?)
        .args(["--cluster", &task])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{task}: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn simulate(task: &Task) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    let outcome = match task {
        Task::Life(cluster, effort) => {
            serde_json::to_string(&runtime.block_on(phases::life(*cluster, *effort))?)?
        }
        Task::Memory(cluster) => {
            serde_json::to_string(&runtime.block_on(phases::memory(*cluster))?)?
        }
    };
    println!("{outcome}");
    Ok(())
}
