//! `cargo xtask test`: what CI runs.

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::workspace::{Workspace, run as run_command};
use crate::{
    api, binaries, book, chart, codegen, fuzz, observability, package, peers, services, tidy,
};

/// `test [--no-lint] [-- CARGO TEST ARGUMENTS]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut lint = true;
    for (index, argument) in arguments.iter().enumerate() {
        match argument.as_str() {
            "--no-lint" => lint = false,
            "--" => return steps(workspace, lint, &arguments[index + 1..]),
            other => bail!("unknown argument {other}; arguments of cargo test come after --"),
        }
    }
    steps(workspace, lint, &[])
}

/// Cheap checks first, tests last, so that their counts close the output.
fn steps(workspace: &Workspace, lint: bool, test_arguments: &[String]) -> Result<()> {
    timed("peers", || peers::run(workspace, &[]))?;
    if lint {
        timed("fmt", || {
            run_command(&mut workspace.cargo(&["fmt", "--all", "--", "--check"]))
        })?;
    }
    // Tests and binaries in one build: alone, the distributor would resolve to other features,
    // and many dependencies would be compiled twice.
    timed("build", || {
        run_command(&mut workspace.cargo(&[
            "build",
            "--workspace",
            "--bins",
            "--examples",
            "--tests",
        ]))
    })?;
    let workspace = &Workspace {
        root: workspace.root.clone(),
        target: workspace.target.clone(),
        built: true,
    };
    if lint {
        timed("codegen", || codegen::check(workspace))?;
        timed("chart", || chart::run(workspace, &[]))?;
        timed("dashboards", || observability::schema::check(workspace))?;
        timed("book", || book::run(workspace, &[]))?;
        timed("package", || package::check(workspace))?;
        timed("tidy", || tidy::run(workspace, &[]))?;
        timed("clippy", || {
            let mut clippy = workspace.cargo(&["clippy", "--workspace", "--all-targets"]);
            run_command(clippy.args(["--", "-D", "warnings"]))
        })?;
        timed("public API", || {
            api::run(workspace, &["--check".to_owned()])
        })?;
        timed("fuzz targets build", || fuzz::build(workspace))?;
    }
    timed("services", || services::run(workspace, &[]))?;
    // End-to-end tests wait for real servers more than they compute. Of binaries that run beside each
    // other, there are more the more processors there are; of one alone, there are more threads.
    let threads = match (env::var("RUST_TEST_THREADS"), test_arguments.is_empty()) {
        (Ok(threads), _) => threads,
        (Err(_), true) => "6".to_owned(),
        (Err(_), false) => {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            (3 * cores).to_string()
        }
    };
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let environment = [
        (
            "DISTRIBUTOR_BIN",
            path(workspace.target.join("debug/distributor")),
        ),
        ("SERVICES_DIR", path(services::folder(workspace))),
        (
            "EXAMPLES_DIR",
            path(workspace.target.join("debug/examples")),
        ),
        ("PEERS_DIR", path(peers::folder(workspace))),
        ("CARGO_TARGET_DIR", path(workspace.target.clone())),
        ("RUST_TEST_THREADS", threads),
    ];
    timed("test", || {
        if test_arguments.is_empty() {
            return binaries::run(workspace, &environment);
        }
        // Beside `--workspace`, cargo ignores a choice of packages.
        let chosen = test_arguments
            .iter()
            .any(|a| a.starts_with("-p") || a.starts_with("--pack"));
        let mut cargo = workspace.cargo(if chosen {
            &["test", "--no-fail-fast"]
        } else {
            &["test", "--no-fail-fast", "--workspace"]
        });
        cargo.args(test_arguments);
        run_command(cargo.envs(environment.iter().map(|(name, value)| (name, value))))
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "wall time for a person; there is no runtime here"
)]
fn timed(step: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let outcome = run();
    let verdict = if outcome.is_ok() { "done" } else { "FAILED" };
    println!(
        "-- {step}: {verdict} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    outcome
}
