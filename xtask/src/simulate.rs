//! `cargo xtask simulate`: the failover without loss, on simulated fleets.

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run as run_command};

/// Seeds of the long form.
const SEEDS: u64 = 100_000;

/// `simulate [--seeds N] [--seed S]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut seeds = SEEDS;
    let mut seed = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let text = arguments
                .next()
                .with_context(|| format!("{argument} needs a number"))?;
            text.parse()
                .with_context(|| format!("{argument} {text}: not a number"))
        };
        match argument.as_str() {
            "--seeds" => seeds = number()?,
            "--seed" => seed = Some(number()?),
            other => bail!("unknown argument {other}"),
        }
    }
    let what = match seed {
        Some(seed) => ["--seed".to_owned(), seed.to_string()],
        None => ["--seeds".to_owned(), seeds.to_string()],
    };
    let mut command = workspace.cargo(&[
        "run",
        "--quiet",
        "-p",
        "ha-failover",
        "--example",
        "simulate",
        "--",
    ]);
    command.args(what);
    run_command(&mut command)
}
