//! Manifests: one place for package data, lints and versions; every crate on the map.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Findings;
use crate::services::package_of;
use crate::workspace::Workspace;

const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];
const MAP: &str = "docs/architecture.md";

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    findings: &mut Findings,
) -> Result<()> {
    let root = parse(workspace, Path::new("Cargo.toml"))?;
    let toolchain = parse(workspace, Path::new("rust-toolchain.toml"))?;
    if !tested_is_declared(&root, &toolchain) {
        findings.add(
            "Cargo.toml",
            "rust-version is not the compiler of rust-toolchain.toml, with which everything is tested",
        );
    }
    let map = workspace.read(MAP).unwrap_or_default();
    for file in files {
        // The root has no package; the fuzz targets, programs that use the packages, and protoc are
        // workspaces of their own.
        let is_member = file.ends_with("Cargo.toml")
            && file.components().count() > 1
            && !file.starts_with("fuzz")
            && !file.starts_with("tests/services")
            && !file.starts_with("xtask/protoc");
        if !is_member {
            continue;
        }
        let manifest = parse(workspace, file)?;
        for problem in member_problems(&manifest) {
            findings.add(file, problem);
        }
        if let Some(name) = folder_in_crates(file) {
            for problem in crate_problems(workspace, &root, &manifest, &map, name) {
                findings.add(file, problem);
            }
        }
    }
    Ok(())
}

/// Whether the oldest compiler that is declared is the one that CI uses.
fn tested_is_declared(root: &Table, toolchain: &Table) -> bool {
    let declared = at(root, &["workspace", "package", "rust-version"]).and_then(Value::as_str);
    let tested = at(toolchain, &["toolchain", "channel"]).and_then(Value::as_str);
    match (declared, tested) {
        (Some(declared), Some(tested)) => tested == declared || tested == format!("{declared}.0"),
        _ => false,
    }
}

fn parse(workspace: &Workspace, file: &Path) -> Result<Table> {
    workspace
        .read(file)?
        .parse()
        .with_context(|| format!("parsing {}", file.display()))
}

/// The folder's name when the manifest is `crates/<name>/Cargo.toml`.
fn folder_in_crates(file: &Path) -> Option<&str> {
    file.strip_prefix("crates").ok()?.parent()?.to_str()
}

fn member_problems(manifest: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    for key in INHERITED {
        if !inherits(at(manifest, &["package", key])) {
            problems.push(format!(
                "package.{key} must be inherited: `{key}.workspace = true`"
            ));
        }
    }
    if !inherits(manifest.get("lints")) {
        problems.push("lints must be inherited: `[lints] workspace = true`".to_owned());
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(Value::Table(dependencies)) = manifest.get(section) else {
            continue;
        };
        // `path = "."`: a crate that switches on a feature of its own for its tests.
        let is_itself = |value: &Value| value.get("path").and_then(Value::as_str) == Some(".");
        let own = |value: &Value| !inherits(Some(value)) && !is_itself(value);
        for (name, _) in dependencies.iter().filter(|(_, value)| own(value)) {
            problems.push(format!("{section}.{name} must be `{{ workspace = true }}`"));
        }
    }
    problems
}

fn crate_problems(
    workspace: &Workspace,
    root: &Table,
    manifest: &Table,
    map: &str,
    folder: &str,
) -> Vec<String> {
    let mut problems = Vec::new();
    let package = package_of(folder);
    if at(manifest, &["package", "name"]).and_then(Value::as_str) != Some(package) {
        problems.push(format!("the package must be called {package}"));
    }
    // A tool of its own (such as the benchmarks) has no dependents.
    let is_tool = workspace
        .root
        .join("crates")
        .join(folder)
        .join("src/main.rs")
        .is_file();
    if !is_tool && at(root, &["workspace", "dependencies", folder]).is_none() {
        problems.push("missing in [workspace.dependencies] of the root manifest".to_owned());
    }
    if !map.contains(&format!("{folder}/")) && !map.contains(&format!("`{folder}`")) {
        problems.push(format!("missing in {MAP}"));
    }
    problems
}

fn at<'t>(table: &'t Table, path: &[&str]) -> Option<&'t Value> {
    let (last, folders) = path.split_last()?;
    let mut table = table;
    for key in folders {
        table = table.get(*key)?.as_table()?;
    }
    table.get(*last)
}

fn inherits(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_values_are_found() {
        let good = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
                    rust-version.workspace = true\nlicense.workspace = true\n\
                    publish.workspace = true\n[dependencies]\nb = { workspace = true }\n\
                    [lints]\nworkspace = true\n";
        assert!(member_problems(&good.parse().unwrap()).is_empty());
        let bad = good
            .replace("edition.workspace = true", "edition = \"2021\"")
            .replace("{ workspace = true }", "\"1\"")
            .replace("[lints]\nworkspace = true", "");
        assert_eq!(member_problems(&bad.parse().unwrap()).len(), 3);
    }

    #[test]
    fn the_declared_compiler_is_the_tested_one() {
        let root = |version: &str| {
            format!("[workspace.package]\nrust-version = \"{version}\"\n")
                .parse()
                .unwrap()
        };
        let toolchain = "[toolchain]\nchannel = \"1.95.0\"\n".parse().unwrap();
        assert!(tested_is_declared(&root("1.95"), &toolchain));
        assert!(!tested_is_declared(&root("1.94"), &toolchain));
    }

    #[test]
    fn only_folders_in_crates_are_crates() {
        assert_eq!(
            folder_in_crates(Path::new("crates/a/Cargo.toml")),
            Some("a")
        );
        assert_eq!(folder_in_crates(Path::new("xtask/Cargo.toml")), None);
    }
}
