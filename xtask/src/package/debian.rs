//! The Debian package, by cargo-deb and the metadata in the manifest of `distributor-cli`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{NAME, Package, same_bytes, unit};
use crate::tools::Tool;
use crate::workspace::stdout_of;

const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    features: "default",
};

/// What the package must have, and the mode of each.
const EXPECTED: &[(&str, u32)] = &[
    ("usr/bin/distributor", 0o755),
    ("etc/ha-distributor/distributor.yaml", 0o644),
    ("etc/default/ha-distributor", 0o644),
    ("usr/lib/systemd/system/ha-distributor.service", 0o644),
    ("usr/lib/sysusers.d/ha-distributor.conf", 0o644),
    ("usr/share/man/man1/distributor.1.gz", 0o644),
    ("usr/share/bash-completion/completions/distributor", 0o644),
    ("usr/share/zsh/vendor-completions/_distributor", 0o644),
    (
        "usr/share/fish/vendor_completions.d/distributor.fish",
        0o644,
    ),
    ("usr/share/doc/ha-distributor/copyright", 0o644),
    ("usr/share/doc/ha-distributor/sbom.cdx.json", 0o644),
    ("usr/share/ha-distributor/rules.yaml", 0o644),
];

/// `ha-distributor_VERSION_ARCHITECTURE.deb`.
pub(super) fn make(package: &Package<'_>) -> Result<PathBuf> {
    // This version, as the bytes of the package depend on it.
    let cargo_deb = CARGO_DEB.built(package.workspace)?;
    let folder = tempfile::tempdir()?;
    let debs = ["first", "second"].map(|name| folder.path().join(name));
    for deb in &debs {
        fs::create_dir(deb)?;
        let mut command = package.command(&cargo_deb);
        command
            .args(["--no-build", "--quiet", "--package", "distributor-cli"])
            .args([
                "--profile",
                package.profile,
                "--deb-revision",
                "",
                "--output",
            ])
            .arg(deb)
            .env("CARGO_TARGET_DIR", &package.workspace.target);
        if package.profile == "dev" {
            // It is only tried.
            command.arg("--fast");
        }
        stdout_of(&mut command)?;
    }
    let [first, second] = debs.map(|folder| only_file(&folder));
    let (first, second) = (first?, second?);
    same_bytes(&first, &second)?;
    let name = first.file_name().context("a package has a name")?;
    let place = package.folder.join(name);
    fs::copy(&first, &place)?;
    check(package, &place)?;
    println!(
        "{}: complete; installed, upgraded, removed and purged; the same bytes when made twice",
        name.display()
    );
    Ok(place)
}

fn check(package: &Package<'_>, deb: &Path) -> Result<()> {
    let field = |name: &str| -> Result<String> {
        let mut command = package.command("dpkg-deb");
        let value = stdout_of(command.arg("--field").arg(deb).arg(name))?;
        Ok(value.trim().to_owned())
    };
    ensure!(field("Package")? == NAME && field("Version")? == package.version);
    let depends = field("Depends")?;
    ensure!(depends.contains("libc6 (>="), "it depends on {depends:?}");

    let folder = tempfile::tempdir()?;
    let (root, control) = (folder.path().join("root"), folder.path().join("control"));
    for (option, to) in [("--extract", &root), ("--control", &control)] {
        stdout_of(package.command("dpkg-deb").arg(option).arg(deb).arg(to))?;
    }
    for (file, mode) in EXPECTED {
        let found = fs::metadata(root.join(file)).with_context(|| format!("no {file}"))?;
        let found = found.permissions().mode() & 0o7777;
        ensure!(found == *mode, "{file} has mode {found:o}");
    }
    let conffiles = fs::read_to_string(control.join("conffiles"))?;
    ensure!(
        conffiles == "/etc/ha-distributor/distributor.yaml\n/etc/default/ha-distributor\n",
        "configuration files: {conffiles}"
    );
    for (script, part) in [
        ("postinst", "systemd-sysusers ha-distributor.conf"),
        ("postinst", "deb-systemd-helper"),
        ("prerm", "deb-systemd-invoke stop"),
    ] {
        let script = control.join(script);
        let text = fs::read_to_string(&script)?;
        ensure!(text.contains(part), "{} lacks {part:?}", script.display());
        ensure!(!text.contains("#DEBHELPER#"), "{}", script.display());
        stdout_of(package.command("sh").arg("-n").arg(&script))?;
    }
    let mut program = package.command(root.join("usr/bin/distributor"));
    let config = root.join("etc/ha-distributor/distributor.yaml");
    program.arg(format!("-config.file={}", config.display()));
    stdout_of(program.arg("-config.check"))?;
    unit::check(package, &root)?;
    install(package, deb)?;
    unit::run_by_systemd(package, deb)
}

/// What an administrator does with it, on this system with a layer above it that takes all changes.
const INSTALL: &str = include_str!("install.sh");

/// Installs it, upgrades it, removes it and purges it, in a scratch root; not where a layer above the
/// system cannot be mounted.
fn install(package: &Package<'_>, deb: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut script = package.command("unshare");
    script
        .args(["--mount", "sh", "-c", INSTALL, "sh"])
        .arg(scratch.path())
        .arg(deb);
    let output = script.output().context("starting unshare")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !printed.lines().any(|line| line == "begun") {
        println!("no scratch root could be mounted: the package was not installed ({errors})");
        return Ok(());
    }
    ensure!(
        output.status.success() && printed.ends_with("done\n"),
        "installing, upgrading, removing or purging the package failed:\n{printed}\n{errors}"
    );
    Ok(())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let files: Vec<_> = fs::read_dir(folder)?.collect::<std::io::Result<_>>()?;
    match files.as_slice() {
        [file] => Ok(file.path()),
        files => bail!("cargo-deb wrote {} files", files.len()),
    }
}
