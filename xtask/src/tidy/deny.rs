//! Licences, bans, duplicates and sources of dependencies, by cargo-deny and `deny.toml`.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, run};

/// The version that is built when PATH has none.
const VERSION: &str = "0.20.2";

pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let program = match on_path() {
        Some(program) => program,
        None => built(workspace)?,
    };
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

fn on_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join("cargo-deny"))
        .find(|file| file.is_file())
}

/// Builds it once into the target folder: unoptimised, since it runs for a second.
fn built(workspace: &Workspace) -> Result<PathBuf> {
    let tools = workspace
        .target
        .join("tools")
        .join(format!("cargo-deny-{VERSION}"));
    let program = tools.join("bin/cargo-deny");
    if program.is_file() {
        return Ok(program);
    }
    println!("cargo-deny is not on PATH: building {VERSION} once");
    let build = workspace.target.join("tools/build");
    let mut install = workspace.cargo(&["install", "cargo-deny", "--quiet", "--locked"]);
    install
        .args([
            "--debug",
            "--no-default-features",
            "--version",
            VERSION,
            "--root",
        ])
        .arg(&tools)
        .env("CARGO_TARGET_DIR", &build);
    run(&mut install).context("building cargo-deny")?;
    fs::remove_dir_all(build)?;
    Ok(program)
}
