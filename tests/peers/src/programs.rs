//! Real servers: where their programs are, and how they and their tools are run.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::{LONG, Process, wait_for};

/// Where `cargo xtask peers` puts the program `binary` of `peer`.
///
/// # Panics
/// When it is not there, with the reason.
pub fn program(peer: &str, binary: &str) -> PathBuf {
    let peers = env::var_os("PEERS_DIR").map_or_else(|| target_folder().join("peers"), Into::into);
    let program = peers.join(peer).join(binary);
    if !program.is_file() {
        let reason = fs::read_to_string(peers.join(format!("{peer}.failed")));
        let reason = reason.unwrap_or_else(|_| "run `cargo xtask peers`".to_owned());
        panic!("{} is not there: {reason}", program.display());
    }
    program
}

/// Cargo's target folder: this test runs as `<target>/<profile>/deps/<name>`.
pub fn target_folder() -> PathBuf {
    let program = env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_path_buf()
}

/// Waits until `check` is `Ok`; false when the process exited before.
pub async fn comes_up<F, C>(process: &mut Process, check: F) -> bool
where
    F: Fn() -> C,
    C: Future<Output = Result<(), String>>,
{
    let what = format!("{} to be ready", process.name());
    wait_for(&what, LONG, || {
        let exited = process.exit_status().is_some();
        let check = check();
        async move {
            if exited {
                return Ok(false);
            }
            check.await.map(|()| true)
        }
    })
    .await
}

/// A server exited at its start: fine if something outside of our reservations took a port of it
/// in between.
///
/// # Panics
/// When it was something else.
pub fn only_lost_its_port(process: &Process) {
    let log = process.log();
    assert!(
        log.contains("address already in use"),
        "{} exited:\n{log}",
        process.name()
    );
}

/// Runs a tool with this standard input, off the runtime: what it prints, or why it failed.
pub async fn output_of(mut command: Command, stdin: Vec<u8>) -> Result<Vec<u8>, String> {
    let run = move || -> Result<Vec<u8>, String> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{command:?}: {e}"))?;
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(&stdin);
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}", output.status, errors.trim_end()));
        }
        Ok(output.stdout)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}
