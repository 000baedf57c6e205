//! `cargo xtask package`: everything that is installed: a Debian package, an archive, the root file
//! system of the image, and the list of what is linked into the program. Each is unpacked and tried.

mod archive;
mod debian;
mod image;
mod sbom;
mod unit;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, in_ci, run as run_command, stdout_of};

/// What the packages are called.
const NAME: &str = "ha-distributor";

/// What is packaged.
struct Package<'a> {
    workspace: &'a Workspace,
    /// Cargo's name of the profile, and the folder of its programs.
    profile: &'static str,
    program: PathBuf,
    version: String,
    /// Where the packages go: `target/package`.
    folder: PathBuf,
    /// The time of all files, in seconds since 1970.
    epoch: String,
}

/// `package [--debug]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_debug = match arguments {
        [] => false,
        [one] if one == "--debug" => true,
        _ => bail!("usage: cargo xtask package [--debug]"),
    };
    let (profile, flags): (_, &[&str]) = match is_debug {
        true => ("dev", &[]),
        false => ("release", &["--release"]),
    };
    if !(is_debug && workspace.built) {
        let mut build = workspace.cargo(&["build", "--locked", "--package", "distributor-cli"]);
        run_command(build.args(flags))?;
    }
    let package = Package::new(workspace, profile)?;
    let files = [
        sbom::make(&package)?,
        debian::make(&package)?,
        archive::make(&package)?,
        image::make(&package)?,
    ];
    let mut sums = Command::new("sha256sum");
    sums.args(files.iter().filter_map(|file| file.file_name()))
        .current_dir(&package.folder);
    let sums = stdout_of(&mut sums)?;
    fs::write(package.folder.join("SHA256SUMS"), &sums)?;
    println!("\n{}:\n{sums}", package.folder.display());
    Ok(())
}

/// In CI: the packages of what is built already, made and tried. Elsewhere a machine may lack the tools.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    match run(workspace, &["--debug".to_owned()]) {
        Err(error) if !in_ci() => {
            println!("WARNING: the packages were NOT checked: {error:#}");
            Ok(())
        }
        outcome => outcome,
    }
}

impl<'a> Package<'a> {
    fn new(workspace: &'a Workspace, profile: &'static str) -> Result<Self> {
        let folder = workspace.target.join("package");
        fs::create_dir_all(&folder)?;
        let programs = if profile == "dev" { "debug" } else { profile };
        let program = workspace.target.join(programs).join("distributor");
        let printed = stdout_of(Command::new(&program).arg("-version"))?;
        println!("{}", printed.trim());
        let version = printed.split_whitespace().nth(1);
        Ok(Self {
            workspace,
            profile,
            version: version.context("-version prints no version")?.to_owned(),
            program,
            folder,
            epoch: epoch(workspace),
        })
    }

    /// A command whose output does not depend on when and where it runs.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("SOURCE_DATE_EPOCH", &self.epoch)
            .env("LC_ALL", "C")
            .current_dir(&self.workspace.root);
        command
    }

    /// Packs all of a folder, in an order and with times, owners and names that are always the same.
    fn tar(&self, folder: &Path, file: &Path) -> Result<()> {
        let mut tar = self.command("tar");
        tar.args(["--create", "--sort=name", "--format=gnu", "--numeric-owner"])
            .args(["--owner=0", "--group=0"])
            .arg(format!("--mtime=@{}", self.epoch))
            .arg("--directory")
            .arg(folder)
            .arg("--file")
            .arg(file)
            .arg(".");
        stdout_of(&mut tar).map(drop)
    }
}

/// `SOURCE_DATE_EPOCH`, else when the commit was made; without a repository, 1970.
fn epoch(workspace: &Workspace) -> String {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return given;
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"])
        .current_dir(&workspace.root);
    match stdout_of(&mut git) {
        Ok(time) => time.trim().to_owned(),
        Err(_) => "0".to_owned(),
    }
}

/// Fails unless both files have the same bytes.
fn same_bytes(first: &Path, second: &Path) -> Result<()> {
    if fs::read(first)? != fs::read(second)? {
        bail!("made twice, {} differs", first.display());
    }
    Ok(())
}
