//! `cargo xtask services`: programs that use the published crates, as their users would.
//!
//! The crates for other programs are packaged as for crates.io. Programs from `tests/services` are
//! then built from these packages, in a folder outside of the workspace and an environment that has
//! neither `PROTOC` nor the workspace's configuration of cargo. An end-to-end test runs them against
//! real servers. With `--costs`, [`crate::costs`] builds each crate alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::costs;
use crate::workspace::{Workspace, run as run_command};

/// The crates for other programs, by their folders; all that they need of ours is among them.
pub(crate) const CRATES: &[&str] = &[
    "ha-failover",
    "ha-tracker",
    "kv-consul",
    "kv-core",
    "kv-election",
    "kv-etcd",
    "kv-memberlist",
    "kv-multi",
    "memberlist-protocol",
    "remote-write",
    "settings",
    "tls-files",
    "watched-files",
];

/// The name of the package in this folder. Two have another one, since crates.io has theirs already.
pub(crate) fn package_of(folder: &str) -> &str {
    match folder {
        "kv-core" => "kv-contract",
        "settings" => "declared-settings",
        same => same,
    }
}

/// What a build needs of the environment.
const ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
];

/// `services [--costs]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let costs = match arguments {
        [] => false,
        [flag] if flag == "--costs" => true,
        _ => bail!("services takes no arguments but --costs"),
    };
    let packages = packaged(workspace)?;
    if costs {
        return costs::write(workspace, &packages);
    }
    let outside = tempfile::tempdir()?;
    replace_published(outside.path(), &packages)?;
    let sources = workspace.root.join("tests/services");
    for service in services(&sources)? {
        let name = service.file_name().context("a folder has a name")?;
        let copy = outside.path().join(name);
        copy_folder(&service, &copy)?;
        build(workspace, &copy).with_context(|| format!("building {}", service.display()))?;
    }
    println!("services are in {}", folder(workspace).display());
    Ok(())
}

/// Where the programs are built.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    target(workspace).join("debug")
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("services")
}

/// Packages the crates from a copy of the workspace in which publishing is not switched off, since
/// cargo resolves packages that depend on each other only then; returns where they are unpacked.
fn packaged(workspace: &Workspace) -> Result<PathBuf> {
    let copy = workspace.target.join("packages/workspace");
    let packages = workspace.target.join("packages/unpacked");
    for folder in [&copy, &packages] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    for file in workspace.files()? {
        let to = copy.join(&file);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(workspace.root.join(&file), &to)?;
    }
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let published = text.replacen("\npublish = false\n", "\npublish = true\n", 1);
    if published == text {
        bail!("the workspace's Cargo.toml has no line `publish = false`");
    }
    fs::write(&manifest, published)?;
    let built = workspace.target.join("packages/target");
    let mut package = workspace.cargo(&["package", "--quiet", "--no-verify", "--allow-dirty"]);
    for name in CRATES {
        package.args(["--package", package_of(name)]);
    }
    package.current_dir(&copy).env("CARGO_TARGET_DIR", &built);
    run_command(&mut package)?;
    for file in fs::read_dir(built.join("package"))? {
        let file = file?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "crate")
        {
            run_command(
                Command::new("tar")
                    // Not with the times in the package, which are all the same: cargo would not
                    // notice a change.
                    .arg("-xmzf")
                    .arg(&file)
                    .arg("-C")
                    .arg(&packages),
            )?;
        }
    }
    Ok(packages)
}

fn services(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut services = Vec::new();
    for entry in fs::read_dir(folder)? {
        services.push(entry?.path());
    }
    services.sort();
    Ok(services)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let copy = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy)?;
        }
    }
    Ok(())
}

/// Has cargo take the packages instead of those of crates.io, in the folders below this one.
pub(crate) fn replace_published(folder: &Path, packages: &Path) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let mut config = String::from("[patch.crates-io]\n");
    for name in CRATES.iter().copied().map(package_of) {
        let path = packages.join(format!("{name}-{version}"));
        config.push_str(&format!(
            "{name} = {{ path = {:?} }}\n",
            path.display().to_string()
        ));
    }
    fs::create_dir_all(folder.join(".cargo"))?;
    fs::write(folder.join(".cargo/config.toml"), config)?;
    Ok(())
}

fn build(workspace: &Workspace, program: &Path) -> Result<()> {
    let mut cargo = outside(&["build", "--quiet"]);
    cargo
        .current_dir(program)
        // All in one folder, so that what they share is built once.
        .env("CARGO_TARGET_DIR", target(workspace));
    run_command(&mut cargo)
}

/// A cargo that knows nothing of this workspace.
pub(crate) fn outside(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = env::var_os(name) {
            cargo.env(name, value);
        }
    }
    cargo.args(arguments).env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo
}
