//! Virtual environments with Python packages, without touching the system.
//!
//! Which index the packages come from is up to the machine's own pip configuration.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::stdout_of;

/// The interpreter of an environment, relative to its folder.
pub(crate) const INTERPRETER: &str = "bin/python";

/// What an environment has to have.
pub(crate) struct Packages {
    /// Names and exact versions. The first is what the environment is for; those that it needs are
    /// here as well, since none is added.
    pub(crate) pinned: &'static [(&'static str, &'static str)],
    /// What must be importable.
    pub(crate) modules: &'static [&'static str],
}

/// Makes an environment with `packages` in `folder`, which is empty. Wheels only, so that nothing is
/// compiled.
pub(crate) fn make_environment(packages: &Packages, folder: &Path) -> Result<()> {
    make_venv(folder)?;
    let mut pip = pip_install(folder);
    pip.args(
        packages
            .pinned
            .iter()
            .map(|(name, version)| format!("{name}=={version}")),
    );
    stdout_of(&mut pip).map(drop)
}

fn make_venv(folder: &Path) -> Result<()> {
    stdout_of(Command::new("python3").args(["-m", "venv"]).arg(folder)).context(
        "making a virtual environment (on Debian, it takes the packages python3 and python3-venv)",
    )?;
    Ok(())
}

/// `pip install` of an environment; which packages comes after it.
fn pip_install(environment: &Path) -> Command {
    let mut pip = Command::new(environment.join(INTERPRETER));
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input"])
        .args(["install", "--quiet", "--no-deps", "--only-binary=:all:"]);
    pip
}

/// Unpacks the wheel of one package into `folder`, without those that it needs: for the files in it.
pub(crate) fn unpack(package: &str, version: &str, folder: &Path) -> Result<()> {
    // Debian's own Python has no pip outside of environments.
    let environment = tempfile::tempdir()?;
    make_venv(environment.path())?;
    let mut pip = pip_install(environment.path());
    pip.args(["--no-compile", "--target"])
        .arg(folder)
        .arg(format!("{package}=={version}"));
    stdout_of(&mut pip).map(drop)
}

/// The first package's version, if the interpreter has all of them in their versions and can import
/// them.
pub(crate) fn check(packages: &Packages, interpreter: &Path) -> Result<String> {
    let names = packages.pinned.iter().map(|(name, _)| *name);
    let program = format!(
        "import {}\nimport importlib.metadata, sys\n\
         for name in sys.argv[1:]:\n    print(name, importlib.metadata.version(name))",
        packages.modules.join(", ")
    );
    let printed = stdout_of(Command::new(interpreter).args(["-c", &program]).args(names))?;
    let wanted: Vec<String> = packages
        .pinned
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    if !printed.lines().eq(&wanted) {
        bail!(
            "{} has {printed:?}, not {}",
            interpreter.display(),
            wanted.join(", ")
        );
    }
    let (_, version) = packages.pinned.first().context("no package is wanted")?;
    Ok((*version).to_owned())
}
