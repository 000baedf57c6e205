//! `cargo xtask book`: the documentation as a site.
//!
//! mdBook knows the pages of `docs` only. Links from there to other files of the repository become
//! plain text with the path, and the links of what was built are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use pulldown_cmark::{Event, Options, Parser, Tag};

use crate::tools::Tool;
use crate::workspace::{Workspace, run as run_command};

const MDBOOK: Tool = Tool {
    name: "mdbook",
    version: "0.5.4",
    features: "search",
};

/// `book`: no arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("book takes no arguments");
    }
    let program = MDBOOK.provide(workspace)?;
    let sources = workspace.target.join("book-sources");
    let site = workspace.target.join("book");
    for folder in [&sources, &site] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    let pages = copy_pages(&workspace.root.join("docs"), &sources)?;
    unlisted(&sources.join("src"), &pages)?;
    let mut build = Command::new(program);
    build
        .arg("build")
        .arg(&sources)
        .arg("--dest-dir")
        .arg(&site);
    run_command(&mut build)?;
    let checked = check_links(&site)?;
    println!(
        "{}: {} pages, {checked} links lead somewhere",
        site.join("index.html").display(),
        pages.len()
    );
    Ok(())
}

/// Copies pages and pictures, as mdBook wants them; returns the pages.
fn copy_pages(docs: &Path, sources: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut pages = BTreeSet::new();
    let source = sources.join("src");
    fs::create_dir_all(&source)?;
    fs::copy(docs.join("book.toml"), sources.join("book.toml"))?;
    for file in files_below(docs)? {
        let name = file.strip_prefix(docs)?;
        let to = source.join(name);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        if file.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&file)?;
            fs::write(&to, without_foreign_links(&text))?;
            pages.insert(name.to_path_buf());
        } else if name != Path::new("book.toml") {
            fs::copy(&file, &to)?;
        }
    }
    Ok(pages)
}

/// Pages that the summary does not list are not built.
fn unlisted(source: &Path, pages: &BTreeSet<PathBuf>) -> Result<()> {
    let summary = fs::read_to_string(source.join("SUMMARY.md"))?;
    let missing: Vec<String> = pages
        .iter()
        .map(|page| page.display().to_string())
        .filter(|page| page != "SUMMARY.md" && !summary.contains(&format!("({page})")))
        .collect();
    if !missing.is_empty() {
        bail!("docs/SUMMARY.md does not list {}", missing.join(", "));
    }
    Ok(())
}

/// Turns links that leave `docs` into their text and the path.
fn without_foreign_links(page: &str) -> String {
    let mut edited = String::with_capacity(page.len());
    let mut copied = 0;
    for (event, range) in Parser::new_ext(page, Options::ENABLE_TABLES).into_offset_iter() {
        let Event::Start(Tag::Link { dest_url, .. }) = event else {
            continue;
        };
        let Some(path) = dest_url.strip_prefix("../") else {
            continue;
        };
        let Some(link) = page.get(range.clone()) else {
            continue;
        };
        let Some(end) = link.rfind("](") else {
            continue;
        };
        let text = link.get(1..end).unwrap_or_default();
        edited.push_str(page.get(copied..range.start).unwrap_or_default());
        edited.push_str(text);
        if text.trim_matches('`') != path {
            edited.push_str(&format!(" (`{path}`)"));
        }
        copied = range.end;
    }
    edited.push_str(page.get(copied..).unwrap_or_default());
    edited
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Checks that each relative link of each built page leads to a file, and to a heading of it;
/// returns how many there are.
fn check_links(site: &Path) -> Result<usize> {
    let mut pages = BTreeMap::new();
    for file in files_below(site)? {
        let is_page = file
            .extension()
            .is_some_and(|extension| extension == "html");
        // All pages in one, whose links are those of the pages.
        if is_page && !file.ends_with("print.html") && !file.ends_with("404.html") {
            let text = fs::read_to_string(&file)?;
            pages.insert(file, text);
        }
    }
    let mut checked = 0;
    let mut broken = Vec::new();
    for (page, text) in &pages {
        for link in attributes(text, "href").chain(attributes(text, "src")) {
            if link.contains("://") || link.starts_with("mailto:") || link.starts_with("data:") {
                continue;
            }
            checked += 1;
            if !leads_somewhere(&pages, page, link) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    if !broken.is_empty() {
        bail!(
            "{} links lead nowhere:\n{}",
            broken.len(),
            broken.join("\n")
        );
    }
    Ok(checked)
}

fn leads_somewhere(pages: &BTreeMap<PathBuf, String>, page: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match (path.is_empty(), page.parent()) {
        (false, Some(folder)) => folder.join(path),
        _ => page.to_path_buf(),
    };
    let Ok(target) = target.canonicalize() else {
        return false;
    };
    let text = pages
        .iter()
        .find(|(page, _)| page.canonicalize().is_ok_and(|page| page == target));
    anchor.is_empty() || text.is_none_or(|(_, text)| attributes(text, "id").any(|id| id == anchor))
}

/// Values of an attribute of HTML as mdBook writes it.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(start.as_str())?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_leave_the_folder_become_text() {
        let page = "See [`ha-tracker`](../crates/ha-tracker/src/lib.rs), [a page](page.md#x), \
                    [`../a`](../a) and [b](https://example.org/../b).\n";
        let expected = "See `ha-tracker` (`crates/ha-tracker/src/lib.rs`), [a page](page.md#x), \
                        `../a` (`a`) and [b](https://example.org/../b).\n";
        assert_eq!(without_foreign_links(page), expected);
    }

    #[test]
    fn attributes_are_found_in_order() {
        let html = r##"<a href="x.html">x</a><h2 id="y"><a href="#y">y</a></h2>"##;
        let links: Vec<_> = attributes(html, "href").collect();
        assert_eq!(links, ["x.html", "#y"]);
    }
}
