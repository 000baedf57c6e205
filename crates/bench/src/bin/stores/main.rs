//! The `bench-stores` binary: what each store costs one distributor, and whether a slow one is felt
//! by senders. Prints markdown tables, writes JSON.
//!
//! `cargo xtask bench stores` runs it and tells it where the distributor and the real servers are.

mod backend;
mod cost;
mod counted;
mod fleet;
mod slow;
mod tables;

use anyhow::{Result, ensure};
use bench::arguments::Arguments;
use bench::measure::Effort;
use serde::Serialize;

use crate::backend::Kind;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
struct Report {
    cost: Vec<cost::Cost>,
    slow_store: Vec<slow::Comparison>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    // Without them, the harness searches for the programs as a test would, from another folder.
    for variable in ["DISTRIBUTOR_BIN", "PEERS_DIR"] {
        ensure!(
            std::env::var_os(variable).is_some(),
            "{variable} is not set; `cargo xtask bench stores` does it"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(arguments.effort))?;
    print!("{}", tables::markdown(&report));
    arguments.write(&report)
}

async fn measure(effort: Effort) -> Result<Report> {
    let mut report = Report::default();
    for kind in [Kind::Inmemory, Kind::Etcd, Kind::Consul] {
        eprintln!("cost: {}", kind.name());
        report.cost.push(cost::measure(effort, kind).await?);
    }
    for kind in [Kind::Etcd, Kind::Consul] {
        eprintln!("slow store: {}", kind.name());
        report.slow_store.push(slow::measure(effort, kind).await?);
    }
    Ok(report)
}
