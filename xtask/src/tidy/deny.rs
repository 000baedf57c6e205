//! Licences, bans, duplicates and sources of dependencies, by cargo-deny and `deny.toml`.

use std::process::Command;

use anyhow::Result;

use crate::tools::Tool;
use crate::workspace::{Workspace, run};

const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    features: "",
};

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let program = CARGO_DENY.provide(workspace)?;
    let mut command = Command::new(program);
    // Advisories need a database from the network; the rest needs nothing.
    command
        .args([
            "--all-features",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ])
        .current_dir(&workspace.root);
    run(&mut command)
}
