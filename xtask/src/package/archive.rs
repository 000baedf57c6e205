//! The archive for other systems than Debian: the program and what belongs to it, in one folder.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use super::{NAME, Package, same_bytes};
use crate::workspace::stdout_of;

/// Files of the repository, and where they are in the archive.
const FILES: &[(&str, &str)] = &[
    ("LICENSE", "LICENSE"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("docs/install.md", "install.md"),
    ("deploy/debian/distributor.yaml", "distributor.yaml"),
    (
        "deploy/systemd/ha-distributor.service",
        "ha-distributor.service",
    ),
    (
        "deploy/systemd/ha-distributor.sysusers",
        "ha-distributor.sysusers",
    ),
    ("deploy/man/distributor.1", "man/man1/distributor.1"),
    (
        "deploy/completions/distributor.bash",
        "completions/distributor.bash",
    ),
    (
        "deploy/completions/_distributor",
        "completions/_distributor",
    ),
    (
        "deploy/completions/distributor.fish",
        "completions/distributor.fish",
    ),
    (
        "deploy/observability/rules.yaml",
        "observability/rules.yaml",
    ),
];

/// `ha-distributor-VERSION-linux-ARCHITECTURE.tar.gz`.
pub(super) fn make(package: &Package<'_>) -> Result<PathBuf> {
    let folder = tempfile::tempdir()?;
    let name = format!("{NAME}-{}-linux-{}", package.version, env::consts::ARCH);
    let inside = folder.path().join("archive").join(&name);
    let put = |from: PathBuf, to: &str| -> Result<()> {
        let to = inside.join(to);
        fs::create_dir_all(to.parent().context("it is in a folder")?)?;
        fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    put(package.program.clone(), "distributor")?;
    put(package.folder.join("sbom.cdx.json"), "sbom.cdx.json")?;
    for (from, to) in FILES {
        put(package.workspace.root.join(from), to)?;
    }
    let archives = ["first.tar", "second.tar"].map(|name| folder.path().join(name));
    for archive in &archives {
        package.tar(&folder.path().join("archive"), archive)?;
        stdout_of(
            package
                .command("gzip")
                .args(["--no-name", "--force"])
                .arg(archive),
        )?;
    }
    let [first, second] = archives.map(|archive| archive.with_extension("tar.gz"));
    same_bytes(&first, &second)?;
    let place = package.folder.join(format!("{name}.tar.gz"));
    fs::copy(first, &place)?;

    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked)?;
    let mut tar = package.command("tar");
    stdout_of(tar.arg("-xzf").arg(&place).arg("-C").arg(&unpacked))?;
    let mut program = package.command(unpacked.join(&name).join("distributor"));
    let printed = stdout_of(program.arg("-version"))?;
    ensure!(printed.contains(&package.version), "it is {printed}");
    println!("{name}.tar.gz: unpacked, runs; the same bytes when made twice");
    Ok(place)
}
