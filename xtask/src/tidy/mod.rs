//! `cargo xtask tidy`: checks what no compiler checks.
//!
//! Each check adds its findings to one list, so that one run reports everything.

mod asyncs;
mod circles;
mod deny;
mod layers;
mod manifests;
mod markdown;
mod sources;

use std::path::Path;

use anyhow::{Result, bail};

use crate::codegen;
use crate::workspace::Workspace;

/// What was found, a line each.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, file: impl AsRef<Path>, what: impl std::fmt::Display) {
        self.0.push(format!("{}: {what}", file.as_ref().display()));
    }
}

/// `tidy`: no arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("tidy takes no arguments");
    }
    let files = workspace.files()?;
    let mut findings = Findings::default();
    manifests::check(workspace, &files, &mut findings)?;
    layers::check(workspace, &files, &mut findings)?;
    circles::check(workspace, &files, &mut findings)?;
    sources::check(workspace, &files, &mut findings)?;
    asyncs::check(workspace, &files, &mut findings)?;
    markdown::check(workspace, &files, &mut findings)?;
    for finding in &findings.0 {
        eprintln!("{finding}");
    }
    if !findings.0.is_empty() {
        bail!("{} findings", findings.0.len());
    }
    // The other generated files need the distributor; CI compares them as a step of its own.
    codegen::run(
        workspace,
        &["--check".to_owned(), "observability".to_owned()],
    )?;
    deny::check(workspace)?;
    println!("{} files are tidy", files.len());
    Ok(())
}
