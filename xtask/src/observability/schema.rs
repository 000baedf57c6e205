//! `cargo xtask dashboards`: the dashboards by Grafana's own schema.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::dashboards;
use crate::golang::Go;
use crate::workspace::{Workspace, in_ci, stdout_of};

/// A program around the Go types that Grafana publishes of its schema.
const SOURCES: &str = "deploy/observability/tests/grafana-schema";

/// `dashboards`: no field that Grafana does not have, of another type or out of its bounds, and none missing.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("usage: cargo xtask dashboards");
    }
    let files: Vec<&str> = dashboards::all().iter().map(|one| one.file).collect();
    let program = workspace.target.join("tools/grafana-schema-check");
    Go::provide(&workspace.target)?.build(&workspace.root.join(SOURCES), &program)?;
    let mut check = Command::new(&program);
    let printed = stdout_of(check.args(&files).current_dir(&workspace.root))
        .context("a dashboard is not what Grafana's schema says")?;
    print!("{printed}");
    let read = printed.lines().count();
    ensure!(read == files.len(), "{read} of {} were read", files.len());
    Ok(())
}

/// In CI. Elsewhere a machine may lack the tools.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    match run(workspace, &[]) {
        Err(error) if !in_ci() => {
            println!("WARNING: the dashboards were NOT checked: {error:#}");
            Ok(())
        }
        outcome => outcome,
    }
}
