//! Programs in Go: members of gossip rings that tests run, built from sources of this repository, and
//! tools from their modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::workspace::{run, stdout_of};

/// From here on Go fetches the version that a `go.mod` asks for.
const OLDEST: (u32, u32) = (1, 21);
/// Debian packages that have such a Go, compiler and standard library, and their release.
const PACKAGES: &[&str] = &["golang-1.24-go", "golang-1.24-src"];
const SUITE: &str = "trixie";
const IN_PACKAGES: &str = "usr/lib/go-1.24/bin/go";

/// Go itself: the one on `PATH` if it will do, else Debian's, unpacked below the target folder.
pub(crate) struct Go(PathBuf);

impl Go {
    /// Finds it, or unpacks it below `target`.
    pub(crate) fn provide(target: &Path) -> Result<Self> {
        let on_path = Self("go".into());
        if on_path.version().is_ok_and(|version| version >= OLDEST) {
            return Ok(on_path);
        }
        let folder = target.join("tools/golang-1.24");
        let go = Self(folder.join(IN_PACKAGES));
        if go.version().is_ok() {
            return Ok(go);
        }
        fs::create_dir_all(&folder)?;
        for package in PACKAGES {
            apt::unpack(SUITE, package, &folder)
                .with_context(|| format!("unpacking {package} of Debian {SUITE}"))?;
        }
        go.version().context("what was unpacked does not run")?;
        Ok(go)
    }

    fn command(&self) -> Command {
        let mut go = Command::new(&self.0);
        // C is not needed, and a linker for it may be missing.
        go.env("CGO_ENABLED", "0")
            // Debian's does not fetch newer ones by default.
            .env("GOTOOLCHAIN", "auto");
        go
    }

    /// Of itself, not of one that it would fetch.
    fn version(&self) -> Result<(u32, u32)> {
        let printed = stdout_of(
            self.command()
                .env("GOTOOLCHAIN", "local")
                .args(["env", "GOVERSION"]),
        )?;
        parse_version(printed.trim()).with_context(|| format!("{printed:?} is no version"))
    }

    /// Builds the program in `sources` as `binary`. Always: Go itself finds out whether anything
    /// changed.
    pub(crate) fn build(&self, sources: &Path, binary: &Path) -> Result<()> {
        let mut build = self.command();
        build
            .args(["build", "-trimpath", "-mod=readonly", "-o"])
            .arg(binary)
            .arg(".")
            .current_dir(sources);
        stdout_of(&mut build).map(drop)
    }

    /// Installs the program `module`, such as `example.org/module/cmd/name@v1.2.3`, into `folder`.
    pub(crate) fn install(&self, module: &str, folder: &Path) -> Result<()> {
        let mut install = self.command();
        install
            .args(["install", "-trimpath", module])
            .env("GOBIN", folder);
        run(&mut install)
    }
}

/// `go1.24.4`, or `go1.26rc1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("go")?.split_once('.')?;
    let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The version that the program prints last.
pub(crate) fn check(binary: &Path) -> Result<String> {
    let printed = stdout_of(Command::new(binary).arg("--version"))?;
    match printed.split_whitespace().next_back() {
        Some(version) => Ok(version.to_owned()),
        None => bail!("{} prints no version", binary.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("go1.24.4"), Some((1, 24)));
        assert_eq!(parse_version("go1.26rc1"), Some((1, 26)));
        assert!(parse_version("go1.9.7") < Some(OLDEST));
        assert_eq!(parse_version("devel"), None);
    }
}
