//! `cargo xtask screenshots`: pictures of the pages for the documentation.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::peers;
use crate::workspace::{Workspace, run as run_command};

/// Where the pictures are.
const FOLDER: &str = "docs/images";

/// `screenshots`: no arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("screenshots takes no arguments");
    }
    for package in ["distributor-cli", "e2e"] {
        let build = ["build", "--quiet", "--bins", "--package", package];
        run_command(&mut workspace.cargo(&build))?;
    }
    peers::run(workspace, &["chromium".to_owned()])?;
    let folder = workspace.root.join(FOLDER);
    fs::create_dir_all(&folder)?;
    run_command(
        Command::new(workspace.target.join("debug/screenshots"))
            .arg(folder)
            .env(
                "DISTRIBUTOR_BIN",
                workspace.target.join("debug/distributor"),
            )
            .env("PEERS_DIR", peers::folder(workspace)),
    )
}
