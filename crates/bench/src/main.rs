//! The `bench` binary: runs every section, prints the table, writes JSON.

use anyhow::Result;
use bench::arguments::Arguments;
use bench::report::Report;
use bench::{allocations, process, push, remote_write, tracker};

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let effort = arguments.effort;
    let mut report = Report::default();
    remote_write::run(effort, &mut report)?;
    push::run(effort, &mut report)?;
    tracker::run(effort, &mut report)?;
    process::run(effort, &mut report)?;
    allocations::run(&mut report)?;
    print!("{}", report.markdown());
    arguments.write(&report)
}
