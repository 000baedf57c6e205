//! The test binaries, as many at a time as there are processors.
//!
//! `cargo test` runs one after the other. Most of them wait for real servers more than they compute.

use std::collections::VecDeque;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::{Workspace, package_name};

/// A line that cargo prints about what it builds, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

/// Programs are built as well, for tests to call: those are no test binaries.
#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// One of the binaries, and how to call it alone.
struct Binary {
    path: PathBuf,
    arguments: Vec<&'static str>,
    /// Where cargo would run it: the folder of its package.
    folder: PathBuf,
    chosen_by: String,
}

/// What has become of all of them.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
}

/// Builds and runs all tests; says at the end which failed.
pub(crate) fn run(workspace: &Workspace, environment: &[(&str, String)]) -> Result<()> {
    let mut binaries = build(workspace)?;
    // Those of whole processes are the largest, and take longest: none is left for the end.
    binaries.sort_by_key(|binary| fs::metadata(&binary.path).map_or(0, |file| file.len()));
    // Popped first: the tests in documentation, which are compiled only now.
    let cargo = workspace.cargo(&[]);
    binaries.push(Binary {
        path: PathBuf::from(cargo.get_program()),
        arguments: vec!["test", "--no-fail-fast", "--workspace", "--doc"],
        folder: workspace.root.clone(),
        chosen_by: "--doc".to_owned(),
    });
    let count = binaries.len();
    let queue = Mutex::new(VecDeque::from(binaries));
    let outcome = Mutex::new(Outcome::default());
    let workers = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| work(&queue, environment, &outcome)))
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let Outcome { passed, failed } = outcome.into_inner().unwrap_or_default();
    println!("\n{passed} tests of {count} binaries passed");
    if !failed.is_empty() {
        for chosen_by in &failed {
            println!("FAILED; again: cargo xtask test --no-lint -- {chosen_by}");
        }
        bail!("{} of {count} test binaries failed", failed.len());
    }
    Ok(())
}

fn build(workspace: &Workspace) -> Result<Vec<Binary>> {
    let mut cargo = workspace.cargo(&["test", "--no-run", "--workspace"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("building the tests failed: {}", output.status);
    }
    let messages = String::from_utf8(output.stdout).context("what cargo prints")?;
    let mut binaries = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let (Some(path), Some(manifest), Some(target), Some(Profile { test: true })) = (
            message.executable,
            message.manifest_path,
            message.target,
            message.profile,
        ) else {
            continue;
        };
        let folder = manifest.parent().context("a manifest has a folder")?;
        let text = fs::read_to_string(&manifest)?.parse()?;
        let package = package_name(&text).context("a package has a name")?;
        let kind = match target.kind.first().map_or("", String::as_str) {
            "test" => format!("--test {}", target.name),
            "bin" => format!("--bin {}", target.name),
            "example" => format!("--example {}", target.name),
            _ => "--lib".to_owned(),
        };
        binaries.push(Binary {
            path,
            arguments: Vec::new(),
            folder: folder.to_path_buf(),
            chosen_by: format!("-p {package} {kind}"),
        });
    }
    Ok(binaries)
}

fn work(
    queue: &Mutex<VecDeque<Binary>>,
    environment: &[(&str, String)],
    outcome: &Mutex<Outcome>,
) -> Result<()> {
    loop {
        let Some(binary) = queue.lock().map_or(None, |mut queue| queue.pop_back()) else {
            return Ok(());
        };
        println!("     Running {}", binary.chosen_by);
        let (status, output) = run_one(&binary, environment)
            .with_context(|| format!("running {}", binary.path.display()))?;
        let Ok(mut outcome) = outcome.lock() else {
            return Ok(());
        };
        println!("\n     Output of {}\n{output}", binary.chosen_by);
        outcome.passed += passed(&output);
        if !status.success() {
            outcome.failed.push(binary.chosen_by);
        }
    }
}

/// Its output in the order in which it was written, errors included.
fn run_one(binary: &Binary, environment: &[(&str, String)]) -> Result<(ExitStatus, String)> {
    let mut file = tempfile::tempfile()?;
    let status = Command::new(&binary.path)
        .args(&binary.arguments)
        .current_dir(&binary.folder)
        .env("CARGO_MANIFEST_DIR", &binary.folder)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .status()?;
    let mut output = Vec::new();
    std::io::Seek::rewind(&mut file)?;
    file.read_to_end(&mut output)?;
    Ok((status, String::from_utf8_lossy(&output).into_owned()))
}

/// How many tests passed, by what the test harness prints.
fn passed(output: &str) -> usize {
    let results = output.lines().filter_map(|line| {
        let rest = line.strip_prefix("test result: ")?;
        rest.split_once(". ")?
            .1
            .split_once(" passed")?
            .0
            .parse::<usize>()
            .ok()
    });
    results.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let output = "running 3 tests\ntest a ... ok\n\n\
             test result: FAILED. 2 passed; 1 failed; 0 ignored; finished in 0.05s\n\
             test result: ok. 41 passed; 0 failed; 0 ignored; finished in 0.00s\n";
        assert_eq!(passed(output), 43);
        assert_eq!(passed("error: it did not start\n"), 0);
    }
}
