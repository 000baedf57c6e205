//! The `bench` binary: runs every section, prints the table, writes JSON.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bench::measure::Effort;
use bench::report::Report;
use bench::{allocations, process, push, remote_write, tracker};

fn main() -> Result<()> {
    let mut json: Option<PathBuf> = None;
    let mut effort = Effort::Full;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = Some(arguments.next().context("--json needs a file")?.into()),
            "--quick" => effort = Effort::Quick,
            other => bail!("unknown argument {other}; usage: bench [--json FILE] [--quick]"),
        }
    }
    let mut report = Report::default();
    remote_write::run(effort, &mut report)?;
    push::run(effort, &mut report)?;
    tracker::run(effort, &mut report)?;
    process::run(effort, &mut report)?;
    allocations::run(&mut report)?;
    print!("{}", report.markdown());
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}
