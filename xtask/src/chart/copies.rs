//! Files of the chart that are copies: Helm reads nothing outside of a chart's folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

/// Rules and dashboards.
const FROM: &str = "deploy/observability";
const TO: &str = "deploy/helm/ha-distributor/files";
/// What is copied: a file, and the files of a folder that have this extension.
const RULES: &str = "rules.yaml";
const DASHBOARDS: (&str, &str) = ("dashboards", "json");

/// Copies what has changed, and removes copies of files that are gone.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    let (from, to) = (workspace.root.join(FROM), workspace.root.join(TO));
    let wanted = listed(&from)?;
    for file in listed(&to)? {
        if !wanted.contains(&file) {
            fs::remove_file(to.join(&file))?;
            println!("removed: {TO}/{}", file.display());
        }
    }
    for file in wanted {
        let content = fs::read(from.join(&file))?;
        let path = to.join(&file);
        if fs::read(&path).is_ok_and(|found| found == content) {
            continue;
        }
        fs::create_dir_all(path.parent().context("a copy is in a folder")?)?;
        fs::write(&path, content)?;
        println!("written: {TO}/{}", file.display());
    }
    Ok(())
}

/// Fails if a copy is missing, left over or different.
pub(crate) fn compare(workspace: &Workspace) -> Result<()> {
    let (from, to) = (workspace.root.join(FROM), workspace.root.join(TO));
    let (wanted, found) = (listed(&from)?, listed(&to)?);
    let is_same = |file: &PathBuf| {
        let read = |folder: &Path| fs::read(folder.join(file)).ok();
        found.contains(file) && read(&from) == read(&to)
    };
    ensure!(
        wanted.len() == found.len() && wanted.iter().all(is_same),
        "{TO} is not a copy of {FROM}; run `cargo xtask codegen`"
    );
    Ok(())
}

/// The files to copy, relative to `folder`, sorted.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if folder.join(RULES).is_file() {
        files.push(PathBuf::from(RULES));
    }
    let (name, extension) = DASHBOARDS;
    let dashboards = folder.join(name);
    if dashboards.is_dir() {
        for entry in fs::read_dir(&dashboards)? {
            let file = PathBuf::from(name).join(entry?.file_name());
            if file.extension().is_some_and(|found| found == extension) {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_follow_what_they_are_copies_of() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace {
            root: root.path().to_path_buf(),
            target: root.path().join("target"),
            built: true,
        };
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        compare(&workspace).unwrap();
        put("deploy/observability/rules.yaml", "groups: []");
        put("deploy/observability/dashboards/a.json", "{}");
        put("deploy/observability/dashboards/notes.md", "");
        put("deploy/helm/ha-distributor/files/dashboards/old.json", "{}");
        compare(&workspace).unwrap_err();
        write(&workspace).unwrap();
        compare(&workspace).unwrap();
        let copies = listed(&root.path().join(TO)).unwrap();
        assert_eq!(
            copies,
            [
                PathBuf::from("dashboards/a.json"),
                PathBuf::from("rules.yaml")
            ]
        );
        put("deploy/observability/rules.yaml", "groups: [{}]");
        compare(&workspace).unwrap_err();
    }
}
