//! Programs from crates.io that developer commands use, built once into the target folder.

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, run};

/// A program that a crate of the same name has.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// As cargo takes them, without the default ones.
    pub(crate) features: &'static str,
}

impl Tool {
    /// The one on `PATH`, or one that is built now: unoptimised, since it runs for a second.
    pub(crate) fn provide(&self, workspace: &Workspace) -> Result<PathBuf> {
        match self.on_path() {
            Some(program) => Ok(program),
            None => self.built(workspace),
        }
    }

    fn on_path(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH")?;
        env::split_paths(&path)
            .map(|folder| folder.join(self.name))
            .find(|file| file.is_file())
    }

    /// This version, built now if it has not been.
    pub(crate) fn built(&self, workspace: &Workspace) -> Result<PathBuf> {
        let Self {
            name,
            version,
            features,
        } = self;
        let tools = workspace.target.join("tools");
        let root = tools.join(format!("{name}-{version}"));
        let program = root.join("bin").join(name);
        if program.is_file() {
            return Ok(program);
        }
        println!("building {name} {version} once");
        let build = tools.join("build");
        let mut install = workspace.cargo(&["install", name, "--quiet", "--locked", "--debug"]);
        install
            .args(["--no-default-features", "--features", features])
            .args(["--version", version, "--root"])
            .arg(&root)
            .env("CARGO_TARGET_DIR", &build);
        run(&mut install).with_context(|| format!("building {name}"))?;
        fs::remove_dir_all(build)?;
        Ok(program)
    }
}
