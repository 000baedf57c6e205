//! Source text: leading docs, length, leftovers, words that do not belong in the tree.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::codegen;
use crate::workspace::Workspace;

/// Lines of Rust in one file, tests included.
const MAX_LINES: usize = 600;

/// Written in halves, so that this file passes its own check.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("#[ign", "ore"),
    concat!("dbg", "!("),
];

/// Paths of a developer's machine and hosts of package registries: the project must work
/// anywhere, through whatever mirror a machine is set up with.
const FOREIGN: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("deb.deb", "ian.org"),
    concat!("index.crat", "es.io"),
    concat!("static.crat", "es.io"),
    concat!("proxy.gol", "ang.org"),
    concat!("registry.npm", "js.org"),
    concat!("pypi", ".org"),
];

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    findings: &mut Findings,
) -> Result<()> {
    for file in files {
        // Binary files (fuzz seeds, for one) have no words.
        let Ok(text) = workspace.read(file) else {
            continue;
        };
        if file.extension().is_some_and(|extension| extension == "rs") {
            check_rust(file, &text, findings);
        }
        // The lock file names the registry's index.
        if file.ends_with("Cargo.lock") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            for word in FOREIGN.iter().filter(|word| line.contains(**word)) {
                findings.add(
                    file,
                    format!("line {}: `{word}` must not be in the tree", index + 1),
                );
            }
        }
    }
    Ok(())
}

fn check_rust(file: &Path, text: &str, findings: &mut Findings) {
    if !text.starts_with("//!") {
        findings.add(
            file,
            "must begin with a `//!` line that says what it is for",
        );
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !codegen::generated().any(|generated| file == Path::new(generated)) {
        findings.add(
            file,
            format!("{lines} lines; split it (at most {MAX_LINES})"),
        );
    }
    for (index, line) in text.lines().enumerate() {
        for leftover in LEFTOVERS
            .iter()
            .filter(|leftover| line.contains(**leftover))
        {
            findings.add(file, format!("line {}: leftover `{leftover}`", index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_and_missing_docs_are_found() {
        let mut findings = Findings::default();
        check_rust(
            Path::new("a.rs"),
            concat!("fn a() {} // TO", "DO\n"),
            &mut findings,
        );
        assert_eq!(findings.0.len(), 2, "{:?}", findings.0);
    }
}
