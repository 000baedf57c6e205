//! Who may know whom: the crates' layers, and what is kept within one module.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::Findings;
use crate::services::package_of;
use crate::workspace::{Workspace, package_name};

/// Our crates, and which others of ours each may depend on: in `[dependencies]`, and besides in
/// `[dev-dependencies]`. Lower layers first; a crate knows only those above it in this list.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    // Know nothing of ours.
    ("admin-api", &[], &[]),
    ("command-output", &[], &[]),
    ("explanation", &["admin-api"], &[]),
    ("kv-core", &[], &[]),
    ("memberlist-protocol", &[], &[]),
    ("remote-write", &[], &[]),
    ("scrape-client", &[], &[]),
    ("settings", &[], &[]),
    ("watched-files", &[], &[]),
    ("credentials", &["settings"], &[]),
    ("tls-files", &["watched-files"], &[]),
    // Real servers for tests, which are built before any of what they test.
    ("peers", &["scrape-client"], &[]),
    (
        "remote-write-testkit",
        &["remote-write", "scrape-client"],
        &[],
    ),
    // The stores, which know neither each other nor what is stored in them.
    ("kv-consul", &["kv-core", "settings"], &["peers"]),
    ("kv-etcd", &["kv-core", "settings"], &["peers"]),
    (
        "kv-memberlist",
        &[
            "kv-core",
            "memberlist-protocol",
            "settings",
            "tls-files",
            "watched-files",
        ],
        &["peers"],
    ),
    (
        "kv-multi",
        &["kv-core", "settings"],
        &["kv-etcd", "kv-memberlist", "peers"],
    ),
    // Elections of programs know the contract only; their example and tests know backends.
    (
        "kv-election",
        &["kv-core"],
        &["kv-consul", "kv-etcd", "kv-memberlist", "peers", "settings"],
    ),
    // The tracker never sees a backend; one of its examples does.
    (
        "ha-tracker",
        &["kv-core", "settings"],
        &["kv-memberlist", "peers"],
    ),
    // Failover without loss, which knows no samples.
    ("ha-failover", &["ha-tracker", "kv-core", "settings"], &[]),
    (
        "ingest",
        &[
            "ha-failover",
            "ha-tracker",
            "kv-core",
            "remote-write",
            "settings",
            "tls-files",
            "watched-files",
        ],
        &[],
    ),
    (
        "distributor-config",
        &[
            "credentials",
            "ha-failover",
            "ha-tracker",
            "ingest",
            "kv-consul",
            "kv-etcd",
            "kv-memberlist",
            "kv-multi",
            "settings",
        ],
        &[],
    ),
    (
        "admin",
        &[
            "admin-api",
            "distributor-config",
            "explanation",
            "ha-failover",
            "ha-tracker",
            "ingest",
            "kv-core",
            "kv-memberlist",
            "kv-multi",
            "watched-files",
        ],
        &[],
    ),
    ("fleet-client", &["scrape-client", "tls-files"], &[]),
    (
        "fleet-commands",
        &[
            "admin-api",
            "command-output",
            "explanation",
            "fleet-client",
            "kv-core",
            "scrape-client",
            "settings",
        ],
        &[],
    ),
    (
        "migration-status",
        &[
            "admin-api",
            "command-output",
            "fleet-client",
            "kv-core",
            "scrape-client",
            "settings",
        ],
        &[],
    ),
    (
        "distributor",
        &[
            "admin",
            "credentials",
            "distributor-config",
            "ha-failover",
            "ha-tracker",
            "ingest",
            "kv-consul",
            "kv-core",
            "kv-etcd",
            "kv-memberlist",
            "kv-multi",
            "remote-write",
            "tls-files",
            "watched-files",
        ],
        &[],
    ),
    (
        "distributor-demo",
        &[
            "admin-api",
            "command-output",
            "distributor",
            "distributor-config",
            "remote-write-testkit",
            "scrape-client",
        ],
        &[],
    ),
    (
        "distributor-cli",
        &[
            "command-output",
            "distributor",
            "distributor-config",
            "distributor-demo",
            "fleet-commands",
            "migration-status",
        ],
        &[],
    ),
    // Tests and tools, which nothing depends on but the benchmarks on the tests' harness. The harness
    // talks to the binary alone: it does not know the crates that it is made of.
    (
        "e2e",
        &["admin-api", "ha-tracker", "peers", "remote-write-testkit"],
        // What strangers send to a ring.
        &["memberlist-protocol"],
    ),
    (
        "bench",
        &[
            "e2e",
            "ha-failover",
            "ha-tracker",
            "ingest",
            "kv-core",
            "kv-memberlist",
            "peers",
            "remote-write",
            "remote-write-testkit",
        ],
        &[],
    ),
    ("xtask", &[], &[]),
];

/// Share of all lines of Rust that one crate may have, tests included, in hundredths.
const MOST_OF_THE_LINES: usize = 20;

/// Where chitchat may be named in code, and the module that declares this folder.
const ENGINE: &str = "crates/kv-memberlist/src/engine";

/// The tracker's public face: what it is made of is its own.
const TRACKER: &str = "crates/ha-tracker/src/tracker.rs";

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    findings: &mut Findings,
) -> Result<()> {
    let mut lines = Vec::new();
    for file in files {
        if file.ends_with("Cargo.toml") && is_member(file) {
            let manifest: Table = workspace.read(file)?.parse()?;
            for problem in dependency_problems(&manifest) {
                findings.add(file, problem);
            }
            lines.push((folder(file), 0));
        }
    }
    // The deepest folder first: `tests/peers` is not a part of `tests`.
    lines.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.components().count()));
    for file in files.iter().filter(|file| is_rust(file)) {
        let text = workspace.read(file)?;
        if let Some((_, count)) = lines
            .iter_mut()
            .find(|(folder, _)| file.starts_with(folder))
        {
            *count += text.lines().count();
        }
        for line in chitchat_outside_of_its_engine(file, &text) {
            findings.add(
                file,
                format!("line {line}: chitchat belongs below {ENGINE}/chitchat/"),
            );
        }
    }
    let all: usize = lines.iter().map(|(_, count)| count).sum();
    for (folder, count) in &lines {
        if count * 100 > all * MOST_OF_THE_LINES {
            let problem = format!("{count} of {all} lines, over {MOST_OF_THE_LINES} %: cut it");
            findings.add(folder, problem);
        }
    }
    let tracker = workspace.read(TRACKER)?;
    for line in open_fields(&tracker, "HaTracker").context("no struct HaTracker")? {
        findings.add(
            TRACKER,
            format!("`{line}`: fields of HaTracker are private"),
        );
    }
    Ok(())
}

fn is_member(file: &Path) -> bool {
    file.components().count() > 1
        && !file.starts_with("fuzz")
        && !file.starts_with("tests/services")
        && !file.starts_with("xtask/protoc")
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

fn folder(manifest: &Path) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).to_owned()
}

/// What is wrong with the dependencies of a crate of ours on others of ours.
fn dependency_problems(manifest: &Table) -> Vec<String> {
    let name = package_name(manifest).unwrap_or_default();
    let Some((name, normal, more)) = ALLOWED.iter().find(|(known, ..)| package_of(known) == name)
    else {
        return vec![format!(
            "{name} has no layer: enter it in xtask/src/tidy/layers.rs"
        )];
    };
    let ours: BTreeSet<&str> = ALLOWED.iter().map(|(name, ..)| *name).collect();
    let mut problems = Vec::new();
    for (section, allowed) in [
        ("dependencies", vec![*normal]),
        ("build-dependencies", vec![*normal]),
        ("dev-dependencies", vec![*normal, *more]),
    ] {
        let Some(Value::Table(dependencies)) = manifest.get(section) else {
            continue;
        };
        let of_ours = dependencies.keys().map(String::as_str);
        // A crate may switch on features of its own for its tests.
        let of_ours = of_ours.filter(|one| ours.contains(one) && one != name);
        for one in of_ours.filter(|one| !allowed.concat().contains(one)) {
            problems.push(format!(
                "{section}.{one}: {name} must not know it (xtask/src/tidy/layers.rs)"
            ));
        }
    }
    problems
}

/// Lines of code, not of comments, that name chitchat elsewhere.
fn chitchat_outside_of_its_engine(file: &Path, text: &str) -> Vec<usize> {
    let is_its_own = file.starts_with(format!("{ENGINE}/chitchat"))
        || file == Path::new(ENGINE).join("mod.rs")
        // Elsewhere it is no dependency.
        || !file.starts_with("crates/kv-memberlist");
    if is_its_own {
        return Vec::new();
    }
    let names_it = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.contains("chitchat::") || code.contains("use chitchat")
    };
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| names_it(line))
        .map(|(index, _)| index + 1)
        .collect()
}

/// Fields of a struct that others may reach into; `None` if there is no such struct.
fn open_fields<'t>(text: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let start = text.find(&format!("struct {name} {{"))?;
    let body = text.get(start..)?.lines().skip(1);
    let fields = body.map(str::trim).take_while(|line| *line != "}");
    Some(fields.filter(|line| line.starts_with("pub")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_knows_only_crates_of_lower_layers() {
        let mut lower = BTreeSet::new();
        for (name, normal, more) in ALLOWED {
            for one in normal.iter().chain(*more) {
                assert!(
                    lower.contains(one),
                    "{name} may know {one}, which is not lower"
                );
            }
            lower.insert(*name);
        }
    }

    #[test]
    fn a_dependency_that_runs_up_is_found() {
        let manifest = |section: &str, one: &str| {
            let text = format!(
                "[package]\nname = \"kv-etcd\"\n[{section}]\n{one} = {{ workspace = true }}\n"
            );
            dependency_problems(&text.parse().unwrap())
        };
        assert_eq!(manifest("dependencies", "kv-core"), Vec::<String>::new());
        assert_eq!(manifest("dependencies", "tokio"), Vec::<String>::new());
        assert_eq!(manifest("dev-dependencies", "peers"), Vec::<String>::new());
        assert_eq!(manifest("dependencies", "peers").len(), 1);
        assert_eq!(manifest("dev-dependencies", "ha-tracker").len(), 1);
        let unknown = "[package]\nname = \"another\"\n".parse().unwrap();
        assert_eq!(dependency_problems(&unknown).len(), 1);
    }

    #[test]
    fn chitchat_is_found_in_code_outside_of_its_engine() {
        let text = "// chitchat::x\nuse chitchat::ChitchatId;\n";
        let at = |file: &str| chitchat_outside_of_its_engine(Path::new(file), text);
        assert_eq!(at("crates/kv-memberlist/src/member/join.rs"), [2]);
        assert!(at("crates/kv-memberlist/src/engine/chitchat/wire.rs").is_empty());
    }

    #[test]
    fn a_field_that_is_open_is_found() {
        let text = "pub struct T {\n    a: u8,\n    pub(crate) b: u8,\n}\npub struct U {\n    pub c: u8,\n}\n";
        assert_eq!(open_fields(text, "T"), Some(vec!["pub(crate) b: u8,"]));
        assert_eq!(open_fields(text, "V"), None);
    }
}
