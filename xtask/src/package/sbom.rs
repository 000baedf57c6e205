//! The software bill of materials: what is linked into the program, as CycloneDX, from Cargo's own view
//! of it. Two runs write the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use toml::Table;

use super::{NAME, Package};
use crate::workspace::{Workspace, stdout_of};

const FILE: &str = "sbom.cdx.json";
const PROGRAM: &str = "distributor-cli";
/// What differs between targets that the image is for: nothing that is linked.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Name and version.
type Id = (String, String);

pub(super) fn make(package: &Package<'_>) -> Result<PathBuf> {
    let bom = bom(package.workspace, &package.version)?;
    let count = bom["components"].as_array().map_or(0, Vec::len);
    // Fewer would mean that it was not read.
    ensure!(count > 50, "only {count} components");
    let path = package.folder.join(FILE);
    fs::write(&path, format!("{bom:#}\n"))?;
    println!("{FILE}: {count} components");
    Ok(path)
}

fn bom(workspace: &Workspace, version: &str) -> Result<Value> {
    let linked = linked(workspace)?;
    let mut metadata = workspace.cargo(&["metadata", "--format-version", "1", "--locked"]);
    metadata.args(["--filter-platform", TARGET]);
    let metadata: Value = serde_json::from_str(&stdout_of(&mut metadata)?)?;
    let sums = checksums(&workspace.read("Cargo.lock")?)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let mut ids = BTreeMap::new();
    let mut components = BTreeMap::new();
    for package in packages {
        let id = id_of(package)?;
        if linked.contains(&id) {
            let key = package["id"].as_str().context("a package has no id")?;
            ids.insert(key, id.clone());
            components.insert(id.clone(), component(package, &id, sums.get(&id)));
        }
    }
    let root = (PROGRAM.to_owned(), version.to_owned());
    components
        .remove(&root)
        .with_context(|| format!("{PROGRAM} {version} is not linked"))?;
    let nodes = metadata["resolve"]["nodes"].as_array();
    let dependencies: BTreeMap<&Id, BTreeSet<String>> = nodes
        .context("no graph")?
        .iter()
        .filter_map(|node| Some((ids.get(node["id"].as_str()?)?, normal(node, &ids))))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": purl(&root),
            "name": NAME,
            "version": version,
            "licenses": [{"expression": "Apache-2.0"}],
        }},
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies
            .into_iter()
            .map(|(id, on)| json!({"ref": purl(id), "dependsOn": on}))
            .collect::<Vec<_>>(),
    }))
}

/// What the program is linked from, with the features that it has: not what tests or builds use.
fn linked(workspace: &Workspace) -> Result<BTreeSet<Id>> {
    let mut tree = workspace.cargo(&["tree", "--locked", "--package", PROGRAM]);
    tree.args(["--edges", "normal", "--target", TARGET])
        .args(["--prefix", "none", "--format", "{p}"]);
    let printed = stdout_of(&mut tree)?;
    let ids = printed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let version = words.next()?.strip_prefix('v')?;
        Some((name.to_owned(), version.to_owned()))
    });
    Ok(ids.collect())
}

/// SHA-256 of the archives of crates.io.
fn checksums(lock: &str) -> Result<BTreeMap<Id, String>> {
    let lock: Table = lock.parse().context("parsing Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let sums = packages.context("Cargo.lock has no packages")?.iter();
    let text = |package: &toml::Value, key: &str| {
        let value = package.get(key)?.as_str()?;
        Some(value.to_owned())
    };
    Ok(sums
        .filter_map(|package| {
            let id = (text(package, "name")?, text(package, "version")?);
            Some((id, text(package, "checksum")?))
        })
        .collect())
}

fn id_of(package: &Value) -> Result<Id> {
    let text = |key: &str| package[key].as_str().map(str::to_owned);
    let id = text("name").zip(text("version"));
    id.context("a package has no name or version")
}

fn component(package: &Value, id: &Id, sum: Option<&String>) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(id),
        "name": id.0,
        "version": id.1,
        "purl": purl(id),
    });
    if let Some(license) = package["license"].as_str() {
        // Old manifests separate by a slash.
        let expression = license.replace('/', " OR ").replace("  ", " ");
        component["licenses"] = json!([{"expression": expression}]);
    }
    if let Some(sum) = sum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    if let Some(repository) = package["repository"].as_str() {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

/// What a node of the graph needs that is linked as well.
fn normal(node: &Value, ids: &BTreeMap<&str, Id>) -> BTreeSet<String> {
    let is_normal = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    let dependencies = node["deps"].as_array().into_iter().flatten();
    dependencies
        .filter(is_normal)
        .filter_map(|dependency| ids.get(dependency["pkg"].as_str()?))
        .map(purl)
        .collect()
}

fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_with_its_licence_and_sum() {
        let workspace = Workspace::find().unwrap();
        let bom = bom(&workspace, env!("CARGO_PKG_VERSION")).unwrap();
        assert_eq!(
            bom.to_string(),
            super::bom(&workspace, env!("CARGO_PKG_VERSION"))
                .unwrap()
                .to_string()
        );
        let components = bom["components"].as_array().unwrap();
        let find = |name: &str| {
            components
                .iter()
                .find(|component| component["name"] == name)
        };
        let ring = find("ring").unwrap();
        assert!(ring["hashes"][0]["content"].as_str().unwrap().len() == 64);
        assert!(ring["licenses"][0]["expression"].is_string());
        assert!(find("ha-tracker").is_some());
        // Of tests and of the build.
        for absent in ["proptest", "rcgen", "xtask", "prost-build"] {
            assert!(find(absent).is_none(), "{absent}");
        }
        let known: BTreeSet<&str> = components
            .iter()
            .filter_map(|one| one["bom-ref"].as_str())
            .collect();
        let dependencies = bom["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), components.len() + 1);
        let mut on = dependencies
            .iter()
            .flat_map(|one| one["dependsOn"].as_array().unwrap());
        assert!(on.all(|one| known.contains(one.as_str().unwrap())));
    }
}
