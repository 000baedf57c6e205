//! Where things are, and how commands are run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// The cargo workspace this binary belongs to.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the root.
    pub(crate) target: PathBuf,
    /// Whether the binaries are up to date, so that nothing needs to build them.
    pub(crate) built: bool,
}

impl Workspace {
    /// Finds the root from the place this crate was compiled at.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Cargo reads a relative folder from where it was called.
            Some(folder) => env::current_dir()?.join(folder),
            None => root.join("target"),
        };
        Ok(Self {
            root,
            target,
            built: false,
        })
    }

    /// A cargo command in the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// The distributor, which is built first unless [`Workspace::built`].
    pub(crate) fn distributor(&self) -> Result<Command> {
        if !self.built {
            let mut build = self.cargo(&["build", "--quiet", "--package", "distributor-cli"]);
            stdout_of(&mut build).context("building the distributor")?;
        }
        Ok(Command::new(self.target.join("debug/distributor")))
    }

    /// The files git tracks or would track, relative to the root, sorted.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut git = Command::new("git");
        git.args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(&self.root);
        let mut files: Vec<PathBuf> = stdout_of(&mut git)?
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            // Deleted in the work tree, still in the index.
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The text of a file named relative to the root.
    pub(crate) fn read(&self, file: impl AsRef<Path>) -> Result<String> {
        let path = self.root.join(file);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }
}

/// Whether this runs in CI, where nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Says what is run, runs it with its output shown, and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    println!("\n$ {line}");
    let status = command
        .status()
        .with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What a command prints; its standard error is part of the error when it fails.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{line}`"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}\n{}", output.status, errors.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed no UTF-8"))
}

/// The name of the package of a manifest.
pub(crate) fn package_name(manifest: &toml::Table) -> Option<&str> {
    manifest.get("package")?.get("name")?.as_str()
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Replaces what stands between the two markers of this name.
pub(crate) fn splice(page: &str, name: &str, table: &str) -> Result<String> {
    let begin = format!("<!-- {name}:begin -->");
    let end = format!("<!-- {name}:end -->");
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("no {begin}"))?;
    let (_, after) = rest
        .split_once(&end)
        .with_context(|| format!("no {end} after {begin}"))?;
    Ok(format!(
        "{before}{begin}\n\n{}\n\n{end}{after}",
        table.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splicing_twice_changes_nothing() {
        let others = "<!-- bench-stores:begin -->\nkept\n<!-- bench-stores:end -->";
        let page = format!("# A\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nrest\n{others}\n");
        let once = splice(&page, "bench", "| a |\n").unwrap();
        let block = "<!-- bench:begin -->\n\n| a |\n\n<!-- bench:end -->";
        assert_eq!(once, format!("# A\n{block}\nrest\n{others}\n"));
        assert_eq!(splice(&once, "bench", "| a |\n").unwrap(), once);
        assert!(splice("# A\n", "bench", "").is_err());
    }
}
