//! Markdown: relative links and anchors lead somewhere, and examples are still true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::Findings;
use crate::workspace::{Workspace, stdout_of};

/// What one page offers and uses.
#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    links: Vec<String>,
    /// Fenced blocks: info string, text.
    blocks: Vec<(String, String)>,
}

pub(super) fn check(
    workspace: &Workspace,
    files: &[PathBuf],
    findings: &mut Findings,
) -> Result<()> {
    let mut pages = BTreeMap::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "md"))
    {
        let text = workspace.read(file)?;
        for command in unknown_commands(&text) {
            findings.add(file, format!("`cargo xtask {command}`: no such command"));
        }
        pages.insert(file.clone(), parse(&text));
    }
    for (file, page) in &pages {
        for link in &page.links {
            if let Some(problem) = link_problem(workspace, &pages, file, link) {
                findings.add(file, format!("link `{link}`: {problem}"));
            }
        }
        check_examples(workspace, file, page, findings)?;
    }
    Ok(())
}

fn parse(text: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    let mut block: Option<(String, String)> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                // A repeated heading gets a number, as on GitHub.
                let unique = (0..)
                    .map(|n| {
                        if n == 0 {
                            slug.clone()
                        } else {
                            format!("{slug}-{n}")
                        }
                    })
                    .find(|candidate| !page.anchors.contains(candidate));
                page.anchors.extend(unique);
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let info = match kind {
                    CodeBlockKind::Fenced(info) => info.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                block = Some((info, String::new()));
            }
            Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push(dest_url.into_string());
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, block)) = &mut block {
                    block.push_str(&text);
                }
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    page
}

/// GitHub's anchor of a heading.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn link_problem(
    workspace: &Workspace,
    pages: &BTreeMap<PathBuf, Page>,
    file: &Path,
    link: &str,
) -> Option<String> {
    let has_scheme = link
        .split_once(':')
        .is_some_and(|(scheme, _)| !scheme.contains(['/', '#']));
    if has_scheme {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if path.is_empty() {
        file.to_path_buf()
    } else {
        resolve(file, path)
    };
    if !workspace.root.join(&target).exists() {
        return Some(format!("{} does not exist", target.display()));
    }
    let page = pages.get(&target)?;
    if !anchor.is_empty() && !page.anchors.contains(anchor) {
        return Some(format!("{} has no heading `{anchor}`", target.display()));
    }
    None
}

/// `path` as written in `file`, relative to the root.
fn resolve(file: &Path, path: &str) -> PathBuf {
    let joined = file.parent().unwrap_or(Path::new("")).join(path);
    let mut resolved = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            other => resolved.push(other),
        }
    }
    resolved
}

fn unknown_commands(text: &str) -> Vec<String> {
    text.split("cargo xtask ")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(char::is_ascii_lowercase)
                .collect::<String>()
        })
        .filter(|command| !command.is_empty() && !crate::HELP.contains(&format!("\n  {command} ")))
        .collect()
}

/// JSON parses; YAML marked `yaml config` is a configuration that the distributor accepts.
fn check_examples(
    workspace: &Workspace,
    file: &Path,
    page: &Page,
    findings: &mut Findings,
) -> Result<()> {
    for (info, text) in &page.blocks {
        let mut words = info.split_whitespace();
        match (words.next(), words.next()) {
            (Some("json"), _) => {
                if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
                    findings.add(file, format!("a JSON example does not parse: {error}"));
                }
            }
            (Some("yaml"), Some("config")) => {
                let folder = tempfile::tempdir()?;
                let yaml = folder.path().join("example.yaml");
                fs::write(&yaml, text)?;
                let mut distributor = workspace.distributor()?;
                distributor
                    .arg("-config.check")
                    .arg(format!("-config.file={}", yaml.display()))
                    // The file that an example names is on the reader's machine.
                    .arg("-runtime-config.file=");
                if let Err(error) = stdout_of(&mut distributor) {
                    findings.add(
                        file,
                        format!("a configuration example is refused: {error:#}"),
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_links_and_blocks_are_read() {
        let page = parse(
            "# Two words\n## `code` & more!\n# Two words\n[a](b.md#c) ![i](i.png)\n\
             ```yaml config\na: 1\n```\n",
        );
        let anchors: Vec<&str> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["code--more", "two-words", "two-words-1"]);
        assert_eq!(page.links, ["b.md#c", "i.png"]);
        assert_eq!(
            page.blocks,
            [("yaml config".to_owned(), "a: 1\n".to_owned())]
        );
    }

    #[test]
    fn paths_are_relative_to_the_page() {
        assert_eq!(
            resolve(Path::new("docs/a.md"), "../b/./c.md"),
            Path::new("b/c.md")
        );
    }

    #[test]
    fn commands_must_exist() {
        let text = concat!("cargo xtask test --no-lint; cargo xtask", " frobnicate x");
        assert_eq!(unknown_commands(text), ["frobnicate"]);
    }
}
