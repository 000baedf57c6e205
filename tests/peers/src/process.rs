//! Child processes that cannot outlive their test.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait_for;

/// How to start a process; kept, so that it can be started again.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables on top of the test's own.
    pub environment: Vec<(String, String)>,
}

/// A child process with a folder of its own, which is its working directory and goes with it.
///
/// Standard output and error go to one file, whose end is printed when the test panics. Dropping
/// kills.
#[derive(Debug)]
pub struct Process {
    name: String,
    recipe: Recipe,
    folder: TempDir,
    child: Child,
}

impl Process {
    /// A folder for [`Process::start`], to be filled with configuration before.
    pub fn folder_for(name: &str) -> TempDir {
        tempfile::Builder::new()
            .prefix(&format!("e2e-{name}-"))
            .tempdir()
            .unwrap()
    }

    /// Starts `recipe` in `folder`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, folder: TempDir, recipe: Recipe) -> Self {
        let child = spawn(name, folder.path(), &recipe);
        Self {
            name: name.to_owned(),
            recipe,
            folder,
            child,
        }
    }

    /// Kills the process if it still runs, and starts it again in the same folder.
    pub fn restart(&mut self) {
        self.kill_and_reap();
        self.child = spawn(&self.name, self.folder.path(), &self.recipe);
    }

    /// Changes how the next [`Process::restart`] starts it.
    pub fn recipe_mut(&mut self) -> &mut Recipe {
        &mut self.recipe
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its folder stays when the handle is dropped.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it printed, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(log_path(self.folder.path())).unwrap_or_default())
            .into_owned()
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it still runs after `timeout`.
    pub async fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = &mut self.child;
        wait_for(&format!("{name} to exit"), timeout, || {
            let status = child.try_wait().unwrap();
            async move { status.ok_or_else(|| "still running".to_owned()) }
        })
        .await
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// What Ctrl-C sends.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// Kills it and waits until it is gone.
    pub fn sigkill(&mut self) {
        self.kill_and_reap();
    }

    /// Freezes it: its sockets stay open and silent, as on a machine that hangs.
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`Process::sigstop`].
    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGHUP.
    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        // It is our child and not reaped while `self` is shared, so the id is still its own.
        kill_process(id, signal).unwrap_or_else(|e| panic!("{}: {signal:?}: {e}", self.name));
    }

    fn kill_and_reap(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_and_reap();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(60)..];
            eprintln!(
                "---- end of the log of {} ----\n{}\n----",
                self.name,
                end.join("\n")
            );
        }
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("output.log")
}

fn spawn(name: &str, folder: &Path, recipe: &Recipe) -> Child {
    let log: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_path(folder))
        .unwrap();
    Command::new(&recipe.program)
        .args(&recipe.arguments)
        .envs(recipe.environment.iter().map(|(key, value)| (key, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("starting {name} ({}): {e}", recipe.program.display()))
}
