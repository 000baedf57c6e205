//! The built binary: its size, and the time from start to ready.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::measure::{Effort, median, seconds_of};
use crate::report::{Number, Report};

const SECTION: &str = "process";

/// Measures the `distributor` beside this binary, which `cargo xtask bench` has built.
pub fn run(effort: Effort, report: &mut Report) -> Result<()> {
    let binary = beside_this_one()?;
    let size = std::fs::metadata(&binary)
        .with_context(|| {
            format!(
                "{}: build it first (cargo xtask bench does)",
                binary.display()
            )
        })?
        .len();
    let starts: Vec<f64> = (0..effort.tracker_rounds())
        .map(|_| start_to_ready(&binary))
        .collect::<Result<_>>()?;
    report.numbers.push(Number {
        section: SECTION,
        what: "start of the process to ready, in-memory store".into(),
        value: median(starts) * 1e3,
        unit: "ms",
        target: None,
    });
    report.numbers.push(Number {
        section: SECTION,
        what: "size of the binary, without debug information".into(),
        value: size as f64 / f64::from(1 << 20),
        unit: "MiB",
        target: None,
    });
    Ok(())
}

/// CPU seconds that a process has used, of all its threads.
pub fn cpu_seconds(process: u32) -> Result<f64> {
    let stat = stat(process)?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// Memory that a process has, bytes.
pub fn resident_bytes(process: u32) -> Result<u64> {
    Ok(stat(process)?.rss * procfs::page_size())
}

fn stat(process: u32) -> Result<procfs::process::Stat> {
    Ok(procfs::process::Process::new(process.try_into()?)?.stat()?)
}

fn beside_this_one() -> Result<PathBuf> {
    let mut path = std::env::current_exe()?;
    path.set_file_name("distributor");
    Ok(path)
}

/// Kills the child whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_to_ready(binary: &PathBuf) -> Result<f64> {
    let mut result = Ok(());
    let seconds = seconds_of(|| result = wait_until_ready(binary));
    result.map(|()| seconds)
}

fn wait_until_ready(binary: &PathBuf) -> Result<()> {
    let mut child = Running(
        Command::new(binary)
            .args([
                "-server.http-listen-address=127.0.0.1",
                "-server.http-listen-port=0",
                "-server.grpc-listen-address=127.0.0.1",
                "-server.grpc-listen-port=0",
            ])
            .args([
                "-distributor.ha-tracker.enable",
                "-memberlist.bind-addr=127.0.0.1",
                "-memberlist.bind-port=0",
            ])
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()?,
    );
    let log = child.0.stderr.take().context("no standard error")?;
    let mut lines = Vec::new();
    for line in BufReader::new(log).lines() {
        let line = line?;
        if line.contains("msg=ready") {
            return Ok(());
        }
        lines.push(line);
    }
    anyhow::bail!(
        "the distributor ended before it was ready:\n{}",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(cpu_seconds(std::process::id()).unwrap() < 1e6);
    }
}
