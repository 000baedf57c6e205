//! `cargo xtask fuzz`: coverage-guided fuzzing on the toolchain of the workspace.
//!
//! cargo-fuzz wants a nightly compiler for its sanitizers. The scanner is safe Rust, so what
//! matters is coverage, and a stable compiler can instrument for that.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run as run_command};

/// What libFuzzer needs to see edges and comparisons.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares \
     --cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// `fuzz [--seconds N] [TARGET...]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut seconds: u64 = 60;
    let mut chosen = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = arguments.next().context("--seconds needs a number")?;
                seconds = number
                    .parse()
                    .with_context(|| format!("--seconds {number}"))?;
            }
            flag if flag.starts_with('-') => bail!("unknown argument {flag}"),
            target => chosen.push(target.to_owned()),
        }
    }
    let targets = targets(workspace)?;
    if let Some(unknown) = chosen.iter().find(|target| !targets.contains(target)) {
        bail!(
            "no such fuzz target: {unknown} (known: {})",
            targets.join(", ")
        );
    }
    let chosen = if chosen.is_empty() { targets } else { chosen };
    build(workspace)?;
    let each = (seconds / chosen.len().max(1) as u64).max(1);
    for target in &chosen {
        fuzz_one(workspace, target, each)?;
    }
    Ok(())
}

/// Compiles every target, so that none rots.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let triple = host_triple()?;
    let mut command =
        workspace.cargo(&["build", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
    // With a target named, the flags stay away from build scripts and macros.
    command
        .args(["--target", &triple])
        .env("CARGO_TARGET_DIR", workspace.target.join("fuzz"))
        .env("RUSTFLAGS", INSTRUMENTATION);
    run_command(&mut command)
}

fn fuzz_one(workspace: &Workspace, target: &str, seconds: u64) -> Result<()> {
    let triple = host_triple()?;
    let folder = workspace.root.join("fuzz");
    let (corpus, artifacts) = (
        folder.join("corpus").join(target),
        folder.join("artifacts").join(target),
    );
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut command = Command::new(
        workspace
            .target
            .join("fuzz")
            .join(triple)
            .join("release")
            .join(target),
    );
    command
        .arg(&corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=10"])
        .current_dir(&folder);
    // Checked-in seeds are read, never written.
    let seeds = folder.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    run_command(&mut command)
}

fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let manifest: toml::Table = workspace.read("fuzz/Cargo.toml")?.parse()?;
    let binaries = manifest.get("bin").and_then(toml::Value::as_array);
    let names: Vec<String> = binaries
        .into_iter()
        .flatten()
        .filter_map(|binary| binary.get("name")?.as_str().map(str::to_owned))
        .collect();
    if names.is_empty() {
        bail!("fuzz/Cargo.toml has no [[bin]]");
    }
    Ok(names)
}

fn host_triple() -> Result<String> {
    let version = crate::workspace::stdout_of(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}
