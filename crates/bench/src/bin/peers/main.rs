//! The `bench-peers` binary: what a push costs the whole process of the distributor, beside the least
//! that any receiver must do, and beside vmagent. Prints markdown tables, writes JSON.
//!
//! `cargo xtask bench peers` runs it and tells it where the programs are. Each server has one
//! processor for itself; the senders, and the downstream that everything is forwarded to, have
//! another one. `bench-peers scale` measures how memory and CPU of the distributor grow;
//! `bench-peers null` is the null receiver.

mod cases;
mod compare;
mod cores;
mod load;
mod message;
mod null;
mod scale;
mod servers;
mod sink;
mod tables;

use anyhow::{Context, Result, bail, ensure};
use bench::arguments::Arguments;
use bench::measure::Effort;

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "null") {
        let work = null::Work::parse(arguments.get(1..).unwrap_or_default())?;
        return null::serve(work);
    }
    let mut select = |name: &str| -> Result<Option<String>> {
        let Some(at) = arguments.iter().position(|argument| argument == name) else {
            return Ok(None);
        };
        ensure!(at + 1 < arguments.len(), "{name} needs a value");
        let value = arguments.drain(at..at + 2).nth(1);
        Ok(value)
    };
    let series = select("--series")?;
    let outcome = select("--outcome")?;
    let version = select("--version")?;
    let is_scale = arguments.first().is_some_and(|first| first == "scale");
    let arguments = Arguments::parse_from(arguments.into_iter().skip(usize::from(is_scale)))?;
    for variable in ["DISTRIBUTOR_BIN", "PEERS_DIR"] {
        if std::env::var_os(variable).is_none() {
            bail!("{variable} is not set; `cargo xtask bench peers` does it");
        }
    }
    if is_scale {
        let rows = scale::measure(arguments.effort)?;
        print!("{}", scale::markdown(&rows));
        return arguments.write(&rows);
    }
    let mut all = cases::all();
    if let Some(series) = series {
        let series: usize = series.parse().context("--series")?;
        all.retain(|case| case.series == series);
    }
    if let Some(outcome) = outcome {
        all.retain(|case| case.outcome.name() == outcome);
    }
    if let Some(version) = version {
        all.retain(|case| case.version_name() == version);
    }
    let (rounds, seconds) = match arguments.effort {
        Effort::Quick => (2, 0.15),
        Effort::Full => (5, 0.5),
    };
    let rows = compare::measure(&all, rounds, seconds)?;
    print!("{}", tables::markdown(&rows));
    arguments.write(&rows)
}
