//! `cargo xtask services --costs`: what each crate for other programs, and each of its features, adds
//! to a build, as a table in docs/crates.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::services::{self, CRATES};
use crate::workspace::{Workspace, run as run_command, splice, stdout_of};

const PAGE: &str = "docs/crates.md";

/// Features that are on by default and can be off, or the other way: crate, how it is asked for,
/// and what it is.
const VARIANTS: &[(&str, &str, &str)] = &[
    ("ha-tracker", "features = [\"grpc\"]", "with `grpc`"),
    (
        "kv-consul",
        "default-features = false",
        "without `client`: only its settings",
    ),
    ("kv-core", "features = [\"testing\"]", "with `testing`"),
    (
        "kv-etcd",
        "default-features = false",
        "without `client`: only its settings",
    ),
    ("remote-write", "features = [\"proto\"]", "with `proto`"),
];

struct Cost {
    packages: usize,
    cpu_seconds: f64,
}

/// Builds each crate alone, from its package, with nothing built before.
pub(crate) fn write(workspace: &Workspace, packages: &Path) -> Result<()> {
    let mut table = String::from(
        "| Crate | | Packages | CPU seconds of a first debug build |\n|---|---|---:|---:|\n",
    );
    for name in CRATES {
        let mut variants = vec![("", "")];
        variants.extend(
            VARIANTS
                .iter()
                .filter(|(of, ..)| of == name)
                .map(|(_, feature, what)| (*feature, *what)),
        );
        for (feature, what) in variants {
            let cost = measure(workspace, packages, name, feature)
                .with_context(|| format!("measuring {name} {what}"))?;
            let line = format!(
                "| `{name}` | {what} | {} | {:.0} |\n",
                cost.packages, cost.cpu_seconds
            );
            print!("{line}");
            table.push_str(&line);
        }
    }
    let page = splice(&workspace.read(PAGE)?, "costs", &table)?;
    fs::write(workspace.root.join(PAGE), page)?;
    println!("table written: {PAGE}");
    Ok(())
}

fn measure(workspace: &Workspace, packages: &Path, name: &str, feature: &str) -> Result<Cost> {
    let outside = tempfile::tempdir_in(&workspace.target)?;
    services::replace_published(outside.path(), packages)?;
    let program = outside.path().join("program");
    fs::create_dir_all(program.join("src"))?;
    fs::write(program.join("src/main.rs"), "fn main() {}\n")?;
    let separator = if feature.is_empty() { "" } else { ", " };
    fs::write(
        program.join("Cargo.toml"),
        format!(
            "[package]\nname = \"program\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
             {} = {{ version = \"{}\"{separator}{feature} }}\n",
            services::package_of(name),
            env!("CARGO_PKG_VERSION")
        ),
    )?;
    // The versions that everything here is tested with.
    fs::copy(
        workspace.root.join("Cargo.lock"),
        program.join("Cargo.lock"),
    )?;
    let mut tree = services::outside(&["tree", "--edges", "normal,build", "--prefix", "none"]);
    let tree = stdout_of(tree.current_dir(&program))?;
    let packages: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .collect();
    let mut build = services::outside(&["build", "--quiet", "--offline"]);
    build
        .current_dir(&program)
        .env("CARGO_TARGET_DIR", outside.path().join("target"));
    let before = cpu_seconds_of_children()?;
    run_command(&mut build)?;
    Ok(Cost {
        // Without the program itself.
        packages: packages.len() - 1,
        cpu_seconds: cpu_seconds_of_children()? - before,
    })
}

/// CPU time of all processes that have ended below this one. A busy machine changes it little, unlike
/// the time on a clock.
fn cpu_seconds_of_children() -> Result<f64> {
    let stat = procfs::process::Process::myself()?.stat()?;
    let ticks = stat.cutime + stat.cstime;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(ticks as f64 / procfs::ticks_per_second() as f64)
}
