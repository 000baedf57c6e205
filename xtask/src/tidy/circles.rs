//! Circles of files that import each other: which one to read first would be anybody's guess.
//!
//! The graph is that of `use` items at the level of a file, tests aside. A name that a file only
//! re-exports leads to the file that defines it: a child that takes a sibling's type by way of
//! their parent does not know the parent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;
use crate::workspace::Workspace;

/// Crates whose files must not import each other in a circle.
const CRATES: &[&str] = &[
    "admin",
    "distributor",
    "distributor-config",
    "ha-tracker",
    "ingest",
    "kv-memberlist",
    "kv-multi",
    "memberlist-protocol",
];

/// Imports that close a circle and stay: crate, file, file that it imports, reason.
const ALLOWED: &[(&str, &str, &str, &str)] = &[
    (
        "distributor-config",
        "sources/collect.rs",
        "downstream.rs",
        "a list is read by the walk of its section, and each of its entries is such a section",
    ),
    (
        "ingest",
        "downstream/exchange.rs",
        "downstream/connections.rs",
        "a connection goes back to its pool by itself, when its answer has been read",
    ),
    (
        "kv-memberlist",
        "engine/mod.rs",
        "engine/chitchat/mod.rs",
        "the border names the engine behind it, as the one file outside that may",
    ),
];

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    findings: &mut Findings,
) -> Result<()> {
    for name in CRATES {
        let root = Path::new("crates").join(name).join("src");
        let mut sources = BTreeMap::new();
        for file in files.iter().filter(|file| file.starts_with(&root)) {
            if let Ok(inside) = file.strip_prefix(&root)
                && file.extension().is_some_and(|extension| extension == "rs")
            {
                let inside = inside.to_string_lossy().into_owned();
                sources.insert(inside, workspace.read(file)?);
            }
        }
        let mut imports = imports(&sources);
        for (_, from, to, _) in ALLOWED.iter().filter(|(of, ..)| of == name) {
            let known = imports
                .get_mut(*from)
                .is_some_and(|to_all| to_all.remove(*to));
            if !known {
                let problem = format!("does not import {to} any more: take it from circles.rs");
                findings.add(root.join(from), problem);
            }
        }
        for circle in circles(&imports) {
            let problem = format!(
                "these files import each other in a circle: {}; cut it, or name the import in \
                 xtask/src/tidy/circles.rs with its reason",
                circle.join(" -> ")
            );
            findings.add(&root, problem);
        }
    }
    Ok(())
}

/// Files by the path of their module, and what each file's `use` items bring into its scope.
struct Modules<'s> {
    /// `a::b` for `a/b.rs` and `a/b/mod.rs`; empty for `lib.rs`.
    files: BTreeMap<String, &'s str>,
    uses: BTreeMap<&'s str, Vec<Vec<String>>>,
}

/// What each file imports of the other files.
fn imports(sources: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules = Modules {
        files: sources
            .keys()
            .map(|file| (module(file), file.as_str()))
            .collect(),
        uses: sources
            .iter()
            .map(|(file, text)| (file.as_str(), use_paths(text)))
            .collect(),
    };
    let mut imports = BTreeMap::new();
    for (own, file) in &modules.files {
        let of_file = modules.uses.get(file).into_iter().flatten();
        let targets = of_file
            .filter_map(|path| modules.defining_file(own, path, 0))
            .filter(|target| target != file)
            .collect();
        imports.insert(*file, targets);
    }
    imports
}

impl<'s> Modules<'s> {
    /// The file that defines what `path` names in the module `own`; `None` for another crate's.
    fn defining_file(&self, own: &str, path: &[String], depth: usize) -> Option<&'s str> {
        let mut at = match path.first()?.as_str() {
            "crate" => String::new(),
            "self" => own.to_owned(),
            "super" => parent(own)?,
            first => {
                // A child of the module, or else another crate.
                self.files.get(&child(own, first))?;
                own.to_owned()
            }
        };
        let skipped = usize::from(matches!(path[0].as_str(), "crate" | "self" | "super"));
        let mut rest = path[skipped..].iter();
        while let Some(name) = rest.next() {
            if name == "super" {
                at = parent(&at)?;
                continue;
            }
            let deeper = child(&at, name);
            if self.files.contains_key(&deeper) {
                at = deeper;
                continue;
            }
            let remaining: Vec<String> = rest.cloned().collect();
            return self.follow(&at, name, &remaining, depth);
        }
        self.files.get(&at).copied()
    }

    /// Where `name` of the module `at` is defined: there, unless a `use` has brought it there.
    fn follow(&self, at: &str, name: &str, rest: &[String], depth: usize) -> Option<&'s str> {
        let file = self.files.get(at).copied()?;
        // A re-export of itself, which the compiler would refuse.
        if depth > self.files.len() {
            return Some(file);
        }
        let brought = self.uses.get(file).into_iter().flatten();
        let brought = brought.filter(|path| path.last().is_some_and(|last| last == name));
        for path in brought {
            let whole: Vec<String> = path.iter().chain(rest).cloned().collect();
            if let Some(found) = self.defining_file(at, &whole, depth + 1) {
                return Some(found);
            }
        }
        Some(file)
    }
}

fn module(file: &str) -> String {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    match stem {
        "lib" | "main" => String::new(),
        stem => stem.replace('/', "::"),
    }
}

fn parent(module: &str) -> Option<String> {
    match module.rsplit_once("::") {
        Some((parent, _)) => Some(parent.to_owned()),
        None => (!module.is_empty()).then(String::new),
    }
}

fn child(module: &str, name: &str) -> String {
    match module {
        "" => name.to_owned(),
        module => format!("{module}::{name}"),
    }
}

/// The paths of all `use` items that stand at the level of the file, without those of tests. Of
/// `a as b` it is `a`.
fn use_paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut lines = text.lines();
    let mut is_of_tests = false;
    while let Some(line) = lines.next() {
        if line.starts_with("#[") {
            is_of_tests |= line.starts_with("#[cfg(test)]");
            continue;
        }
        let item = match line.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => {
                rest.split_once(") ").map_or("", |(_, item)| item)
            }
            Some(rest) => rest.trim_start(),
            None => line,
        };
        if let Some(start) = item.strip_prefix("use ") {
            let mut tree = start.to_owned();
            while !tree.contains(';') {
                let Some(line) = lines.next() else { break };
                tree.push_str(line.trim());
            }
            if !is_of_tests {
                let tree = tree.split(';').next().unwrap_or_default();
                expand(tree, &[], &mut paths);
            }
        }
        is_of_tests = false;
    }
    paths
}

/// Adds the paths of a tree such as `a::{b, c::{d, e}}`.
fn expand(tree: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    if let Some((head, branches)) = tree.split_once('{') {
        let mut before = before.to_vec();
        before.extend(segments(head));
        let branches = branches.strip_suffix('}').unwrap_or(branches);
        for branch in split_at_level(branches) {
            expand(branch, &before, paths);
        }
        return;
    }
    let tree = tree.split(" as ").next().unwrap_or_default();
    let mut path = before.to_vec();
    // `a::{self}` is `a`; what a glob brings is everything of the module.
    path.extend(segments(tree).filter(|name| name != "*"));
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if !path.is_empty() {
        paths.push(path);
    }
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    let names = path.split("::").map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Splits at commas that stand outside of braces.
fn split_at_level(text: &str) -> Vec<&str> {
    let (mut parts, mut level, mut start) = (Vec::new(), 0, 0);
    for (index, letter) in text.char_indices() {
        match letter {
            '{' => level += 1,
            '}' => level -= 1,
            ',' if level == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// One circle through each group of files of which each reaches each other.
fn circles<'g>(imports: &BTreeMap<&'g str, BTreeSet<&'g str>>) -> Vec<Vec<&'g str>> {
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    for file in imports.keys() {
        if told.contains(file) {
            continue;
        }
        if let Some(circle) = shortest_circle(imports, file) {
            told.extend(circle.iter().copied());
            found.push(circle);
        }
    }
    found
}

/// From `start` back to it, by the fewest imports.
fn shortest_circle<'g>(
    imports: &BTreeMap<&'g str, BTreeSet<&'g str>>,
    start: &'g str,
) -> Option<Vec<&'g str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = vec![start];
    while !next.is_empty() {
        let mut after = Vec::new();
        for file in next {
            for to in imports.get(file).into_iter().flatten() {
                if *to == start {
                    let mut way = vec![start, file];
                    while let Some(before) = way.last().and_then(|last| came_from.get(last)) {
                        way.push(before);
                    }
                    // It was walked backwards, and `start` stands at its end unless it is all.
                    if way.last() != Some(&start) {
                        way.push(start);
                    }
                    way.reverse();
                    return Some(way);
                }
                if !came_from.contains_key(to) {
                    came_from.insert(to, file);
                    after.push(*to);
                }
            }
        }
        next = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter();
        let sources = files.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let sources: BTreeMap<String, String> = sources.collect();
        let circles = circles(&imports(&sources));
        circles.iter().map(|circle| circle.join(" -> ")).collect()
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            (
                "a.rs",
                "use std::fmt;\n\nuse crate::b::{\n    B,\n    inner::{X, Y as Z},\n};\n",
            ),
            ("b/mod.rs", "mod inner;\npub(crate) use super::c::C;\n"),
            ("b/inner.rs", "use bytes::Bytes;\n"),
            ("c.rs", "use crate::{\n    a::A,\n};\n"),
        ];
        assert_eq!(circles_of(&files), ["a.rs -> b/mod.rs -> c.rs -> a.rs"]);
    }

    #[test]
    fn a_parent_that_re_exports_is_not_imported() {
        let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::B;\n");
        let by_parent = ("b.rs", "use crate::A;\n");
        assert!(circles_of(&[lib, ("a.rs", "struct A;\n"), by_parent]).is_empty());
        // It is the sibling that is imported.
        let back = ("a.rs", "use super::B;\n");
        assert_eq!(
            circles_of(&[lib, back, by_parent]),
            ["a.rs -> b.rs -> a.rs"]
        );
        // What the parent defines is of the parent.
        let own = ("b.rs", "use super::Own;\n");
        assert_eq!(
            circles_of(&[lib, ("a.rs", ""), own]),
            ["b.rs -> lib.rs -> b.rs"]
        );
    }

    #[test]
    fn tests_and_other_crates_do_not_count() {
        let files = [
            ("lib.rs", "mod a;\nuse a::A;\n"),
            (
                "a.rs",
                "#[cfg(test)]\nuse crate::Own;\nuse std::io;\n\nmod tests {\n    use crate::Own;\n}\n",
            ),
        ];
        assert!(circles_of(&files).is_empty());
    }
}
