//! `distributor migration status`, asked as a script would.

use std::process::Command;

use serde_json::{Value, json};

use super::fleet::Fleet;
use super::plan::Step;
use crate::distributor::binary;
use crate::{Distributor, LONG};
use peers::comes_true;

/// Its verdict.
struct Told {
    success: bool,
    page: Value,
}

async fn ask(fleet: &Fleet, more: &[String]) -> Result<Told, String> {
    let targets: Vec<String> = fleet
        .mesh
        .distributors
        .iter()
        .map(|distributor: &Distributor| distributor.http_address().to_string())
        .collect();
    let mut command = Command::new(binary());
    command
        .args(["migration", "status", "--json", "--interval", "300ms"])
        .arg(format!("--targets={}", targets.join(",")))
        .args(more);
    if fleet.beside.is_some() {
        command.arg("--shared-ring");
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let page = serde_json::from_str(&text).map_err(|error| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{error}: {text} {errors}")
    })?;
    Ok(Told {
        success: output.status.success(),
        page,
    })
}

/// It says that the whole fleet is on this step, and that the next is safe.
pub(crate) async fn lets_go_on(fleet: &Fleet, step: Step) -> Result<(), String> {
    let next = (step < Step::LAST).then_some(step.number() + 1);
    comes_true("migration status to let it go on", LONG, || async {
        let told = ask(fleet, &[format!("--step={step}")]).await?;
        let page = &told.page;
        let is_right =
            page["safe"] == true && page["step"] == step.number() && page["next"] == json!(next);
        match told.success && is_right {
            true => Ok(()),
            false => Err(page.to_string()),
        }
    })
    .await
}

/// It says that the fleet is between two steps, and lets it not go on.
pub(crate) async fn sees_a_roll_out(fleet: &Fleet) -> Result<(), String> {
    let told = ask(fleet, &[]).await?;
    let page = &told.page;
    let is_right = page["safe"] == false && page["step"].is_null();
    match !told.success && is_right && has_finding(page, "stop", "a rollout is in progress") {
        true => Ok(()),
        false => Err(format!("migration status of a mixed fleet says {page}")),
    }
}

/// It warns that going back is not safe while the secondary is unavailable, and lets the fleet
/// continue.
pub(crate) async fn warns_of_the_secondary(fleet: &Fleet) -> Result<(), String> {
    comes_true("migration status to warn", LONG, || async {
        let told = ask(fleet, &[]).await?;
        let page = &told.page;
        match told.success && has_finding(page, "warn", "going back to step 2 is not safe") {
            true => Ok(()),
            false => Err(page.to_string()),
        }
    })
    .await
}

fn has_finding(page: &Value, severity: &str, text: &str) -> bool {
    page["findings"].as_array().is_some_and(|findings| {
        findings.iter().any(|finding| {
            let what = finding["what"].as_str().unwrap_or_default();
            finding["severity"] == severity && what.contains(text)
        })
    })
}
