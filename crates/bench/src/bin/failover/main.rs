//! The `bench-failover` binary: what failovers without loss cost, and knowing the senders.

use anyhow::Result;
use bench::arguments::Arguments;
use bench::report::Report;
use bench::{lossless, tracker};

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let mut report = Report::default();
    lossless::times(arguments.effort, &mut report)?;
    tracker::senders(arguments.effort, &mut report)?;
    lossless::memory(&mut report)?;
    print!("{}", report.markdown());
    arguments.write(&report)
}
