//! The `bench-ring` binary: three gossip rings of real processes on this machine, one after the other,
//! under the same load: distributors' gossip by memberlist's protocol, by chitchat, and members in Go
//! that run Mimir's code. Prints a markdown table, writes JSON.
//!
//! `bench-ring [--json FILE] [--quick]`. Each member is a process of its own; those in Rust are this
//! program, called with `--member`.

mod member;
mod rings;
mod tables;

use anyhow::{Context, Result};
use bench::arguments::Arguments;
use bench::measure::Effort;
use serde::{Deserialize, Serialize};

/// What each ring is put through.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Load {
    members: usize,
    /// Of each member, written in turn: none is written again before all have it.
    keys: usize,
    /// Of each member, a second.
    changes: u32,
    seconds: u64,
}

impl Load {
    fn of(effort: Effort) -> Self {
        let (members, seconds) = match effort {
            Effort::Quick => (4, 5),
            Effort::Full => (10, 30),
        };
        Self {
            members,
            keys: 100,
            changes: 10,
            seconds,
        }
    }

    /// Of all members together.
    fn written(self) -> usize {
        self.members * self.changes as usize * self.seconds as usize
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Report {
    load: Load,
    rings: Vec<Measured>,
}

/// What was measured of a ring. Of one member, unless it says otherwise.
#[derive(Debug, Clone, Serialize)]
struct Measured {
    ring: &'static str,
    /// CPU seconds in each second.
    cpu: f64,
    /// Sent in each second, without headers of the network.
    bytes: f64,
    /// Seconds from a write until all members have it: median, 99 %, slowest.
    spread: [f64; 3],
    /// Changes that did not reach all members in time, of the ring.
    missing: usize,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // As many as a small pod has.
        .worker_threads(2)
        .enable_all()
        .build()?;
    if arguments.next_if(|first| first == "--member").is_some() {
        let task = arguments.next().context("--member needs a task")?;
        return runtime.block_on(member::run(serde_json::from_str(&task)?));
    }
    let arguments = Arguments::parse_from(arguments)?;
    let load = Load::of(arguments.effort);
    let rings = runtime.block_on(rings::measure(load))?;
    let report = Report { load, rings };
    print!("{}", tables::markdown(&report));
    arguments.write(&report)
}
