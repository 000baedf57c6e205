//! Programs in Go that tests run: built from sources of this repository, with the modules that its
//! `go.sum` names.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::stdout_of;

/// Builds the program in `sources` as `binary`. Always: Go itself finds out whether anything changed.
pub(crate) fn build(sources: &Path, binary: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-mod=readonly", "-o"])
        .arg(binary)
        .arg(".")
        .current_dir(sources)
        // C is not needed, and a linker for it may be missing.
        .env("CGO_ENABLED", "0")
        // An older Go fetches the one that go.mod asks for, which Debian's does not by default.
        .env("GOTOOLCHAIN", "auto");
    stdout_of(&mut go)
        .context("building it (on Debian, it takes the package golang-go, from 1.21)")?;
    Ok(())
}

/// The version that the program prints last.
pub(crate) fn check(binary: &Path) -> Result<String> {
    let printed = stdout_of(Command::new(binary).arg("--version"))?;
    match printed.split_whitespace().next_back() {
        Some(version) => Ok(version.to_owned()),
        None => bail!("{} prints no version", binary.display()),
    }
}
