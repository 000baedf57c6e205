//! `cargo xtask churn`: members of both kinds, distributors and members that run Mimir's code, come and
//! go in one gossip ring for minutes.

use anyhow::{Context, Result, bail};

use crate::peers;
use crate::workspace::{Workspace, run as run_command};

/// Minutes without `--minutes`.
const MINUTES: u64 = 10;

/// `churn [--minutes N]`: the tests of `tests/tests/memberlist/churn.rs`, which CI runs for seconds, and
/// `ten.rs`, of which CI leaves out the second deaths.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut minutes = MINUTES;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--minutes" => {
                let number = arguments.next().context("--minutes needs a number")?;
                minutes = number
                    .parse()
                    .with_context(|| format!("--minutes {number}"))?;
            }
            other => bail!("unknown argument: {other}"),
        }
    }
    let build = ["build", "--quiet", "--release", "-p", "distributor-cli"];
    run_command(&mut workspace.cargo(&build))?;
    peers::run(workspace, &["memberlist-go".to_owned()])?;
    let mut test = workspace.cargo(&["test", "--quiet", "-p", "e2e", "--test", "memberlist"]);
    test.args(["--", "--nocapture", "churn::", "ten::"])
        .env("MEMBERLIST_CHURN_SECONDS", (minutes * 60).to_string())
        .env(
            "DISTRIBUTOR_BIN",
            workspace.target.join("release/distributor"),
        )
        .env("PEERS_DIR", peers::folder(workspace));
    run_command(&mut test)
}
