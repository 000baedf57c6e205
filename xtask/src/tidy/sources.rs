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

/// Words that CONTRIBUTING's glossary replaces by what an operator would search for, and subjects that
/// name no component. Written in halves, as above.
const WORDS: &[&str] = &[
    concat!("am", "iss"),
    concat!("an", "ew"),
    concat!("clock", "work"),
    concat!("every", "body"),
    concat!("late", "ly"),
    concat!("pati", "ence"),
    concat!("sel", "dom"),
    concat!("some", "body"),
    concat!("who", "ever"),
];
const GLOSSARY: &str = "CONTRIBUTING.md";

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
        if file != Path::new(GLOSSARY) {
            check_words(file, &text, findings);
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

fn check_words(file: &Path, text: &str, findings: &mut Findings) {
    for (index, line) in text.lines().enumerate() {
        let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        for word in words.filter(|word| WORDS.iter().any(|other| word.eq_ignore_ascii_case(other)))
        {
            findings.add(
                file,
                format!("line {}: `{word}`: {GLOSSARY} has a better word", index + 1),
            );
        }
    }
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
    fn words_of_the_glossary_are_found() {
        let mut findings = Findings::default();
        let text = concat!("Who", "ever asks, a", "new\nrenewed, ane", "w_name\n");
        check_words(Path::new("a.md"), text, &mut findings);
        assert_eq!(findings.0.len(), 2, "{:?}", findings.0);
    }

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
