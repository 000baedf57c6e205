//! The manual page and the completions of shells, made from what the program says about itself: its
//! `-help-all`, and the `--help` of each command that it lists.

mod completions;
mod man;
mod usage;

use anyhow::{Context, Result};

use crate::workspace::{Workspace, stdout_of};
use usage::Program;

/// A file, and how it is made.
type Maker = fn(&Program, &str) -> String;

/// The files, relative to the root.
const FILES: &[(&str, Maker)] = &[
    ("deploy/man/distributor.1", man::page),
    ("deploy/completions/distributor.bash", |program, _| {
        completions::bash(program)
    }),
    ("deploy/completions/_distributor", |program, _| {
        completions::zsh(program)
    }),
    ("deploy/completions/distributor.fish", |program, _| {
        completions::fish(program)
    }),
];

/// The files that [`files`] makes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(file, _)| *file)
}

/// All files, with their content.
pub(crate) fn files(workspace: &Workspace) -> Result<Vec<(&'static str, String)>> {
    let ask = |arguments: &[&str]| stdout_of(workspace.distributor()?.args(arguments));
    let program = Program::read(&ask)?;
    let version = ask(&["-version"])?;
    let version = version
        .split_whitespace()
        .nth(1)
        .context("-version prints no version")?;
    let files = FILES.iter();
    Ok(files
        .map(|(file, make)| (*file, make(&program, version)))
        .collect())
}
