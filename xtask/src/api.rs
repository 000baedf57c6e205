//! `cargo xtask api`: the public API of the crates for other programs, as files that show every
//! change of it in a diff.
//!
//! rustdoc describes the crates as JSON, which the pinned compiler has as an unstable option. The
//! same run finds links in documentation that lead nowhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::services::{CRATES, package_of};
use crate::workspace::{Workspace, run as run_command};

/// Where the files are, relative to the root.
const FOLDER: &str = "xtask/public-api";

/// `api [--check]`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("api takes no arguments but --check"),
    };
    describe(workspace)?;
    let mut changed = Vec::new();
    for name in CRATES {
        let file = Path::new(FOLDER).join(format!("{name}.txt"));
        let now = listed(&json(workspace, name)).with_context(|| format!("the API of {name}"))?;
        let before = fs::read_to_string(workspace.root.join(&file)).unwrap_or_default();
        if now == before {
            continue;
        }
        if check {
            print_difference(name, &before, &now);
            changed.push(*name);
        } else {
            fs::create_dir_all(workspace.root.join(FOLDER))?;
            fs::write(workspace.root.join(&file), now)?;
            println!("wrote {}", file.display());
        }
    }
    if !changed.is_empty() {
        bail!(
            "the public API of {} has changed: if that is intended, run `cargo xtask api`, raise \
             the version if a user's code can break, and name it in CHANGELOG.md",
            changed.join(", ")
        );
    }
    Ok(())
}

/// Has rustdoc write a JSON file for each crate.
fn describe(workspace: &Workspace) -> Result<()> {
    let mut doc = workspace.cargo(&["doc", "--quiet", "--no-deps", "--all-features"]);
    for name in CRATES {
        doc.args(["--package", package_of(name)]);
        // cargo takes documentation for up to date that is only HTML.
        if !json(workspace, name).is_file() {
            let folder = workspace.target.join("doc").join(lib_name(name));
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
    }
    doc.env("RUSTDOC", unstable_rustdoc(workspace)?).env(
        "RUSTDOCFLAGS",
        "-Z unstable-options --output-format json -D warnings",
    );
    run_command(&mut doc)
}

/// A rustdoc with unstable options. A variable for all of cargo's compilers would have build scripts
/// probe for unstable features.
fn unstable_rustdoc(workspace: &Workspace) -> Result<PathBuf> {
    let file = workspace.target.join("tmp/unstable-rustdoc");
    fs::create_dir_all(workspace.target.join("tmp"))?;
    fs::write(&file, "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

fn json(workspace: &Workspace, name: &str) -> PathBuf {
    workspace
        .target
        .join("doc")
        .join(format!("{}.json", lib_name(name)))
}

fn lib_name(folder: &str) -> String {
    folder.replace('-', "_")
}

/// A line for each public item, without what every type has by a blanket or automatic
/// implementation.
fn listed(json: &Path) -> Result<String> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    let mut text = String::new();
    for item in api.items() {
        writeln!(text, "{item}")?;
    }
    Ok(text)
}

fn print_difference(name: &str, before: &str, now: &str) {
    let before: BTreeSet<&str> = before.lines().collect();
    let now: BTreeSet<&str> = now.lines().collect();
    println!("{name}:");
    for line in before.difference(&now) {
        println!("- {line}");
    }
    for line in now.difference(&before) {
        println!("+ {line}");
    }
}
