//! What the documentation of an asynchronous function must say, in crates for other programs: whether
//! its future is `Send`, and what happens if it is cancelled.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::services::CRATES;
use crate::workspace::Workspace;

/// Generated, or only for tests.
const PASSED_OVER: &[&str] = &["generated.rs", "conformance", "simulated.rs"];

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    findings: &mut Findings,
) -> Result<()> {
    for file in files {
        let path = file.to_string_lossy();
        let is_library = CRATES
            .iter()
            .any(|name| path.starts_with(&format!("crates/{name}/src/")));
        if !is_library || !path.ends_with(".rs") || PASSED_OVER.iter().any(|s| path.contains(s)) {
            continue;
        }
        for function in unsaid(&workspace.read(Path::new(file))?) {
            findings.add(
                file,
                format!("the documentation of {function} must say \"[`Send`]\" and \"cancel\""),
            );
        }
    }
    Ok(())
}

/// Public asynchronous functions whose documentation does not say both.
fn unsaid(source: &str) -> Vec<String> {
    let mut documentation = String::new();
    let mut found = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            documentation.push_str(text);
        } else if !line.starts_with("#[") {
            if let Some(rest) = line.strip_prefix("pub async fn ")
                && !(documentation.contains("[`Send`]") && documentation.contains("cancel"))
            {
                let name = rest.split(['(', '<']).next().unwrap_or(rest);
                found.push(name.to_owned());
            }
            documentation.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsaid_is_found() {
        let source = "/// Waits. [`Send`], and\n/// cancel safe.\n#[must_use]\npub async fn good() {}\n\
                      /// Waits. [`Send`].\n    pub async fn short<T>(&self) {}\npub async fn bare(a: u8) {}\n\
                      async fn private() {}\n";
        assert_eq!(unsaid(source), ["short", "bare"]);
    }
}
