//! `cargo xtask bench`: runs the benchmarks and keeps the published numbers up to date.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, stdout_of};

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// `bench [--quick]`. A quick run prints its table and leaves the page alone: its numbers are
/// too noisy to publish.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let quick = match arguments {
        [] => false,
        [flag] if flag == "--quick" => true,
        other => bail!("unknown arguments: {other:?}"),
    };
    let json = workspace.target.join("bench.json");
    // The bench starts it, and looks at its size.
    crate::workspace::run(&mut workspace.cargo(&[
        "build",
        "--release",
        "--quiet",
        "--package",
        "distributor",
    ]))?;
    let mut command: Command =
        workspace.cargo(&["run", "--release", "--quiet", "--package", "bench", "--"]);
    command.arg("--json").arg(&json);
    if quick {
        command.arg("--quick");
    }
    let table = stdout_of(&mut command)?;
    print!("{table}");
    println!("\nmeasurements: {}", json.display());
    if quick {
        return Ok(());
    }
    let page = splice(&workspace.read(PAGE)?, &table).with_context(|| PAGE.to_owned())?;
    fs::write(workspace.root.join(PAGE), page)?;
    println!("table written: {PAGE}");
    Ok(())
}

/// Replaces what stands between the two markers.
fn splice(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("no {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("no {END} after {BEGIN}"))?;
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        table.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splicing_twice_changes_nothing() {
        let page = format!("# A\n{BEGIN}\nold\n{END}\nrest\n");
        let once = splice(&page, "| a |\n").unwrap();
        assert_eq!(once, format!("# A\n{BEGIN}\n\n| a |\n\n{END}\nrest\n"));
        assert_eq!(splice(&once, "| a |\n").unwrap(), once);
        assert!(splice("# A\n", "").is_err());
    }
}
