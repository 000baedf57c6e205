//! `cargo xtask soak`: two distributors under load and disturbances for half an hour.

use anyhow::{Result, bail};

use crate::peers;
use crate::workspace::{Workspace, run as run_command};

const USAGE: &str = "usage: cargo xtask soak [--short | --minutes N]";

/// `soak [--short | --minutes N]`: the test of `tests/tests/deployments/soak`, which CI runs for less than a
/// minute.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let minutes: u64 = match arguments.as_slice() {
        [] => 30,
        ["--short"] => 2,
        ["--minutes", number] => match number.parse() {
            Ok(minutes) if minutes > 0 => minutes,
            _ => bail!("--minutes {number}: a whole number from 1 on\n{USAGE}"),
        },
        _ => bail!("{USAGE}"),
    };
    let build = ["build", "--quiet", "--release", "-p", "distributor-cli"];
    run_command(&mut workspace.cargo(&build))?;
    peers::run(workspace, &["etcd".to_owned()])?;
    let mut test = workspace.cargo(&["test", "--quiet", "-p", "e2e", "--test", "deployments"]);
    test.args(["--", "--nocapture", "soak::"])
        .env("SOAK_SECONDS", (minutes * 60).to_string())
        .env(
            "DISTRIBUTOR_BIN",
            workspace.target.join("release/distributor"),
        )
        .env("PEERS_DIR", peers::folder(workspace));
    run_command(&mut test)
}
