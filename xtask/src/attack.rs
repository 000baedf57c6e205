//! `cargo xtask attack`: attacks a real distributor and judges what became of it.

use anyhow::{Result, bail};

use crate::peers;
use crate::workspace::{Workspace, run as run_command};

/// `attack [--short] [--list] [NAME...]`. The program checks the arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    for package in ["e2e", "distributor-cli"] {
        run_command(&mut workspace.cargo(&[
            "build",
            "--quiet",
            "--release",
            "--bins",
            "--package",
            package,
        ]))?;
    }
    let mut program = std::process::Command::new(workspace.target.join("release/attack"));
    program
        .args(arguments)
        .env(
            "DISTRIBUTOR_BIN",
            std::env::var_os("DISTRIBUTOR_BIN")
                .unwrap_or_else(|| workspace.target.join("release/distributor").into()),
        )
        .env("PEERS_DIR", peers::folder(workspace));
    let status = program.status()?;
    if !status.success() {
        bail!("not all attacks were held: {status}");
    }
    Ok(())
}
