//! Fetches Debian packages of any release into a folder, without touching the system.
//!
//! The mirror, its keys and its trust come from the machine's own apt sources: only the name of
//! the release is replaced. Lists, cache and state live in the folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::stdout_of;

/// One stanza of a deb822 sources file: fields in order, values with their continuation lines.
type Stanza = Vec<(String, String)>;

/// Downloads `package` of `suite` and unpacks it into `into`, which must exist.
pub(crate) fn unpack(suite: &str, package: &str, into: &Path) -> Result<()> {
    let stanza =
        system_stanza().context("finding the Debian mirror in this machine's apt sources")?;
    // What is installed here says nothing about another release.
    let work = Apt::new(Some(render(&stanza, suite)), "")?;
    work.run(&["download", package])?;
    unpack_all(work.folder(), into)
}

/// Downloads `package` of this machine's release with all packages that it needs and that are not
/// installed, and unpacks them into `into`, which must exist.
pub(crate) fn unpack_with_needed(package: &str, into: &Path) -> Result<()> {
    let installed = fs::read_to_string("/var/lib/dpkg/status").unwrap_or_default();
    // Packages of the same family have files that must be beside it, even if they are installed.
    let family = package.split('-').next().unwrap_or(package);
    let family = format!("Package: {family}");
    let others = installed.split("\n\n");
    let others: Vec<&str> = others.filter(|one| !one.starts_with(&family)).collect();
    let installed = others.join("\n\n");
    // From all sources of this machine, as what is installed: its security updates, for one.
    let work = Apt::new(None, &installed)?;
    work.run(&[
        "install",
        "--yes",
        "--download-only",
        "--no-install-recommends",
        package,
    ])?;
    unpack_all(&work.folder().join("cache/archives"), into)
}

/// apt-get with lists, cache and state in a folder of its own.
struct Apt(tempfile::TempDir);

impl Apt {
    /// `sources`: where packages come from, if not from this machine's own sources. `installed`: what
    /// dpkg's status file says.
    fn new(sources: Option<String>, installed: &str) -> Result<Self> {
        let work = tempfile::tempdir()?;
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(work.path().join(folder))?;
        }
        fs::write(work.path().join("state/status"), installed)?;
        // Read after the system's own configuration, so that it wins.
        let in_work = |name: &str| work.path().join(name).display().to_string();
        let mut settings = vec![
            ("Dir::State", in_work("state")),
            ("Dir::State::status", in_work("state/status")),
            ("Dir::Cache", in_work("cache")),
            // Nothing of the system is changed, so nothing has to be locked.
            ("Debug::NoLocking", "true".to_owned()),
            // apt's own user may not write into a temporary folder of ours.
            ("APT::Sandbox::User", String::new()),
            ("Acquire::Retries", "3".to_owned()),
        ];
        if let Some(sources) = sources {
            fs::write(work.path().join("suite.sources"), sources)?;
            settings.push(("Dir::Etc::sourcelist", in_work("suite.sources")));
            settings.push(("Dir::Etc::sourceparts", "-".to_owned()));
        }
        let lines: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("{key} \"{value}\";\n"))
            .collect();
        fs::write(work.path().join("apt.conf"), lines.concat())?;
        let apt = Self(work);
        apt.run(&["update", "--error-on=any"])?;
        Ok(apt)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .arg("-c")
            .arg(self.folder().join("apt.conf"))
            .current_dir(self.folder());
        stdout_of(&mut command)
    }
}

/// Unpacks the packages of a folder.
fn unpack_all(folder: &Path, into: &Path) -> Result<()> {
    let packages: Vec<PathBuf> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    if packages.is_empty() {
        bail!("apt-get downloaded no package");
    }
    for package in packages {
        stdout_of(Command::new("dpkg-deb").arg("-x").arg(package).arg(into))?;
    }
    Ok(())
}

/// The stanza of the main archive in this machine's sources.
fn system_stanza() -> Result<Stanza> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        more.sort();
        files.append(&mut more);
    }
    let codename = release_codename(&fs::read_to_string("/etc/os-release")?)?;
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let stanzas = match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => parse_deb822(&text),
            Some("list") => parse_one_line(&text),
            _ => continue,
        };
        if let Some(stanza) = stanzas
            .into_iter()
            .find(|stanza| is_main(stanza, &codename))
        {
            return Ok(stanza);
        }
    }
    bail!("no source has the suite {codename} with the component main");
}

fn release_codename(os_release: &str) -> Result<String> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release has no VERSION_CODENAME")
}

fn is_main(stanza: &Stanza, codename: &str) -> bool {
    let has = |name: &str, wanted: &str| {
        stanza
            .iter()
            .any(|(key, value)| key == name && value.split_whitespace().any(|word| word == wanted))
    };
    let disabled = has("Enabled", "no");
    has("Types", "deb") && has("Suites", codename) && has("Components", "main") && !disabled
}

fn parse_deb822(text: &str) -> Vec<Stanza> {
    let mut stanzas = vec![Stanza::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(stanza) = stanzas.last_mut() else {
            break;
        };
        if line.trim().is_empty() {
            stanzas.push(Stanza::new());
        } else if line.starts_with([' ', '\t']) {
            // A continuation: an inline key block, for one.
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

fn parse_one_line(text: &str) -> Vec<Stanza> {
    text.lines().filter_map(parse_line).collect()
}

/// `deb [key=value …] uri suite component…`
fn parse_line(line: &str) -> Option<Stanza> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb ")?.trim_start();
    let mut stanza = vec![("Types".to_owned(), "deb".to_owned())];
    let rest = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        None => rest,
        Some((options, rest)) => {
            for (key, value) in options
                .split_whitespace()
                .filter_map(|word| word.split_once('='))
            {
                let key = match key {
                    "arch" => "Architectures",
                    "signed-by" => "Signed-By",
                    "trusted" => "Trusted",
                    other => other,
                };
                stanza.push((key.to_owned(), value.replace(',', " ")));
            }
            rest
        }
    };
    let mut words = rest.split_whitespace();
    stanza.push(("URIs".to_owned(), words.next()?.to_owned()));
    stanza.push(("Suites".to_owned(), words.next()?.to_owned()));
    stanza.push(("Components".to_owned(), words.collect::<Vec<_>>().join(" ")));
    Some(stanza)
}

fn render(stanza: &Stanza, suite: &str) -> String {
    let mut text = String::new();
    for (key, value) in stanza {
        let value = match key.as_str() {
            "Suites" => suite,
            "Components" => "main",
            "Types" => "deb",
            "Targets" => continue,
            _ => value,
        };
        text.push_str(&format!("{key}: {value}\n"));
    }
    // The package index alone: no translations, no icons.
    text.push_str("Targets: Packages\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_give_the_same_source() {
        let list = parse_one_line(
            "# a comment\ndeb-src http://m/debian bookworm main\n\
             deb [signed-by=/k.gpg arch=amd64] http://m/debian bookworm main contrib # why\n",
        );
        let sources = parse_deb822(
            "# a comment\nTypes: deb deb-src\nSigned-By: /k.gpg\nArchitectures: amd64\n\
             URIs: http://m/debian\nSuites: bookworm bookworm-updates\nComponents: main\n",
        );
        let expected = "Types: deb\nSigned-By: /k.gpg\nArchitectures: amd64\n\
                        URIs: http://m/debian\nSuites: forky\nComponents: main\nTargets: Packages\n";
        for stanzas in [list, sources] {
            let stanza = stanzas
                .iter()
                .find(|stanza| is_main(stanza, "bookworm"))
                .unwrap();
            assert_eq!(render(stanza, "forky"), expected);
        }
    }

    #[test]
    fn security_and_disabled_sources_are_not_the_archive() {
        let text = "Types: deb\nURIs: http://m/s\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\nEnabled: no\nURIs: http://m/d\nSuites: bookworm\nComponents: main\n";
        assert!(
            !parse_deb822(text)
                .iter()
                .any(|stanza| is_main(stanza, "bookworm"))
        );
    }

    #[test]
    fn inline_keys_survive() {
        let text = "Types: deb\nSigned-By:\n -----BEGIN\n .\n abc\n";
        let stanza = parse_deb822(text).remove(0);
        assert!(render(&stanza, "x").contains("Signed-By: \n -----BEGIN\n .\n abc\n"));
    }
}
