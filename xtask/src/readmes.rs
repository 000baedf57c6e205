//! READMEs of the library crates: the front pages of their documentation, as GitHub and crates.io
//! show them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::services::package_of;
use crate::workspace::Workspace;

/// Crates for use in other programs.
const CRATES: &[(&str, &str)] = &[
    ("ha-failover", "crates/ha-failover/README.md"),
    ("ha-tracker", "crates/ha-tracker/README.md"),
    ("kv-consul", "crates/kv-consul/README.md"),
    ("kv-core", "crates/kv-core/README.md"),
    ("kv-election", "crates/kv-election/README.md"),
    ("kv-etcd", "crates/kv-etcd/README.md"),
    ("kv-memberlist", "crates/kv-memberlist/README.md"),
    ("kv-multi", "crates/kv-multi/README.md"),
    (
        "memberlist-protocol",
        "crates/memberlist-protocol/README.md",
    ),
    ("remote-write", "crates/remote-write/README.md"),
    ("settings", "crates/settings/README.md"),
    ("tls-files", "crates/tls-files/README.md"),
    ("watched-files", "crates/watched-files/README.md"),
];

/// The files that are made.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CRATES.iter().map(|(_, file)| *file)
}

/// The files and their content.
pub(crate) fn files(workspace: &Workspace) -> Result<Vec<(&'static str, Vec<u8>)>> {
    CRATES
        .iter()
        .map(|(name, file)| {
            let source = PathBuf::from("crates").join(name).join("src/lib.rs");
            let text = workspace
                .read(&source)
                .with_context(|| format!("reading {}", source.display()))?;
            Ok((*file, readme(package_of(name), &text).into_bytes()))
        })
        .collect()
}

/// The inner documentation of a `lib.rs` as Markdown.
fn readme(name: &str, source: &str) -> String {
    let mut page = format!("# {name}\n\n");
    let mut is_in_code = false;
    for line in source.lines().take_while(|line| line.starts_with("//!")) {
        let line = line.strip_prefix("//!").unwrap_or_default();
        let line = line.strip_prefix(' ').unwrap_or(line);
        if let Some(info) = line.strip_prefix("```") {
            page.push_str(match (is_in_code, info) {
                (false, "" | "no_run") => "```rust",
                _ => line,
            });
            is_in_code = !is_in_code;
        } else if is_in_code {
            // Lines that rustdoc hides.
            if line == "#" || line.starts_with("# ") {
                continue;
            }
            page.push_str(line);
        } else if line.starts_with('#') {
            page.push('#');
            page.push_str(&without_rust_links(line));
        } else {
            page.push_str(&without_rust_links(line));
        }
        page.push('\n');
    }
    page.push_str("\nLicensed under Apache-2.0.\n");
    page
}

/// Links to items of Rust lead somewhere in rustdoc only: their text stays.
fn without_rust_links(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((label, after)) = after.split_once(']') else {
            break;
        };
        text.push_str(before);
        let (target, remaining) = match after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            Some((target, remaining)) => (Some(target), remaining),
            None => (None, after),
        };
        match target {
            Some(target) if target.contains("://") || target.starts_with('#') => {
                text.push_str(&format!("[{label}]({target})"));
            }
            Some(_) => text.push_str(label),
            None if label.starts_with('`') => text.push_str(label),
            None => text.push_str(&format!("[{label}]")),
        }
        rest = remaining;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_page_becomes_markdown() {
        let source = "//! Does it: [`Thing`], [by hand](Thing::by_hand), [there](https://e.org).\n\
                      //!\n//! # When\n//!\n//! ```no_run\n//! # use it;\n//! it()?;\n//! ```\n\nmod x;\n";
        let expected = "# it\n\nDoes it: `Thing`, by hand, [there](https://e.org).\n\n## When\n\n\
                        ```rust\nit()?;\n```\n\nLicensed under Apache-2.0.\n";
        assert_eq!(readme("it", source), expected);
    }
}
