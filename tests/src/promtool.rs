//! Prometheus's own tool, as an operator runs it.

use std::path::Path;
use std::process::Command;

use peers::{output_of, program};

use crate::Prometheus;

/// `promtool check metrics` of a page in the text format: what it finds, a line each.
///
/// # Errors
/// The page cannot be read.
pub async fn check_metrics(page: &str) -> Result<Vec<String>, String> {
    let mut command = promtool();
    command.args(["check", "metrics"]);
    match output_of(command, page.as_bytes().to_vec()).await {
        Ok(_) => Ok(Vec::new()),
        // It ends so when the page is right, and something in it unusual.
        Err(problem) => match problem.strip_prefix("exit status: 3: ") {
            Some(found) => Ok(found.lines().map(str::to_owned).collect()),
            None => Err(problem),
        },
    }
}

/// `promtool query instant`: the series that it prints, a line each.
///
/// # Errors
/// The query is refused.
pub async fn query(prometheus: &Prometheus, promql: &str) -> Result<Vec<String>, String> {
    let mut command = promtool();
    command.args(["query", "instant", &prometheus.url(""), promql]);
    let printed = output_of(command, Vec::new()).await?;
    let printed = String::from_utf8(printed).map_err(|error| error.to_string())?;
    // Without any series it prints an empty line.
    let rows = printed.lines().filter(|line| !line.is_empty());
    Ok(rows.map(str::to_owned).collect())
}

/// `promtool check rules` of a file.
///
/// # Errors
/// What is wrong with it.
pub async fn check_rules(file: &Path) -> Result<(), String> {
    let mut command = promtool();
    command.args(["check", "rules"]).arg(file);
    output_of(command, Vec::new()).await.map(drop)
}

/// `promtool test rules` of a file of tests.
///
/// # Errors
/// The tests that fail, with what was expected and found.
pub async fn test_rules(file: &Path) -> Result<(), String> {
    let mut command = promtool();
    command.args(["test", "rules"]).arg(file);
    output_of(command, Vec::new()).await.map(drop)
}

fn promtool() -> Command {
    Command::new(program("promtool", "promtool"))
}
