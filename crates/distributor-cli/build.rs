//! Tells the program which revision it is built from.

use std::env;
use std::path::Path;
use std::process::Command;

/// Which revision this is, for those who build without a repository.
const VARIABLE: &str = "GIT_REVISION";
/// Has the commit in the archives that git makes (`.gitattributes`).
const ARCHIVED: &str = "revision.txt";
/// Digits of a commit.
const LENGTH: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = env::var(VARIABLE).ok().filter(|given| !given.is_empty());
    println!("cargo::rerun-if-changed={ARCHIVED}");
    let revision = given.or_else(of_archive).unwrap_or_else(|| {
        // While developing, a commit is no reason to compile everything again.
        if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
            of_repository().unwrap_or_else(|| "unknown".to_owned())
        } else {
            "development".to_owned()
        }
    });
    println!("cargo::rustc-env={VARIABLE}={revision}");
}

/// The commit that git has written into an archive.
fn of_archive() -> Option<String> {
    let text = std::fs::read_to_string(ARCHIVED).ok()?;
    let commit = text.trim().get(..LENGTH)?;
    let is_commit = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| commit.to_owned())
}

/// The commit of the working copy, and whether anything in it differs.
fn of_repository() -> Option<String> {
    // Sources that were unpacked inside of another repository are not of that one.
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()
        .ok()?;
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?) != root {
        return None;
    }
    // Each commit and each change of branch is a line there.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "HEAD"])?.get(..LENGTH)?.to_owned();
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed {
        format!("{commit}-modified")
    } else {
        commit
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
