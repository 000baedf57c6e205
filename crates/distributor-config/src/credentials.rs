//! A file of credentials: a mapping whose `credentials` is a list of entries.

use std::path::Path;

use ::credentials::CredentialConfig;
use figment::value::{Dict, Value};
use settings::Setting;

use super::errors::{ConfigErrors, Findings, Origin};
use super::mimir::Place;
use super::rules::Section;
use super::sources::collect::{Assignment, Collector, default_value, insert};
use super::sources::yaml::{self, Content, Node, at};

/// The key of the list.
const LIST: &str = "credentials";
/// Most entries of a file: each request is compared with all of them.
const MOST: usize = 10_000;

/// Reads a file of credentials.
///
/// # Errors
/// All mistakes in it. They never quote a secret.
pub fn read_credentials(path: &Path) -> Result<Vec<CredentialConfig>, ConfigErrors> {
    let file = path.display().to_string();
    let mut findings = Findings::new(true);
    let list = match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text, &mut findings),
        Err(error) => {
            findings.error(&file, "", format!("cannot be read: {error}"));
            Vec::new()
        }
    };
    match findings.errors.is_empty() {
        true => Ok(list),
        false => Err(ConfigErrors(findings.errors)),
    }
}

fn parse(file: &str, text: &str, findings: &mut Findings) -> Vec<CredentialConfig> {
    let entries = yaml::parse_mapping(file, text, findings);
    let mut list = None;
    for entry in &entries {
        let origin = at(file, entry.line);
        match (&entry.value.content, entry.key.as_str()) {
            (Content::List(items), LIST) => list = Some(items),
            (other, LIST) => {
                let problem = format!("got {}; must be a list of entries", other.word());
                findings.error(&origin, LIST, problem);
            }
            (_, other) => {
                findings.error(&origin, other, "unknown key; known here: credentials");
            }
        }
    }
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        if findings.errors.is_empty() {
            let problem = "has no entry under credentials; with it, every request would be refused";
            findings.error(file, "", problem);
        }
        return Vec::new();
    };
    if list.len() > MOST {
        let problem = format!("{} entries; at most {MOST} are possible", list.len());
        findings.error(file, LIST, problem);
        return Vec::new();
    }
    let items = list.iter().enumerate();
    items
        .filter_map(|(index, item)| entry(file, index, item, findings))
        .collect()
}

fn entry(
    file: &str,
    index: usize,
    item: &Node,
    findings: &mut Findings,
) -> Option<CredentialConfig> {
    let shown = format!("{LIST}[{index}]");
    let origin = at(file, item.line);
    let Content::Mapping(fields) = &item.content else {
        let problem = format!("got {}; must be a mapping", item.content.word());
        findings.error(&origin, &shown, problem);
        return None;
    };
    let before = findings.errors.len();
    let table: &'static [Setting] = CredentialConfig::SETTINGS;
    let mut collector = Collector::new(file, table, Place::Ours, findings);
    collector.section(fields, "", &shown);
    let found = collector.into_found();
    if findings.errors.len() > before {
        return None;
    }
    let config = typed(&found, &origin, &shown, findings)?;
    let origin_of = |path: &str| {
        let name = path.strip_prefix(&shown).unwrap_or_default();
        let name = name.trim_start_matches('.');
        let found = found.iter().find(|found| found.path == name);
        found.map_or(&origin, |found| &found.origin).to_string()
    };
    let section = Section {
        path: &shown,
        needed_by: &shown,
    };
    section.check(&origin_of, findings, |report| config.check(report));
    let path = format!("{shown}.tenants");
    for tenant in &config.tenants {
        if let Err(problem) = ha_tracker::validate_tenant(tenant) {
            let problem = format!("got {tenant:?}; {problem}");
            findings.error(&origin_of(&path), &path, problem);
        }
    }
    (findings.errors.len() == before).then_some(config)
}

fn typed(
    found: &[Assignment],
    origin: &Origin,
    shown: &str,
    findings: &mut Findings,
) -> Option<CredentialConfig> {
    let mut values = Dict::new();
    for setting in CredentialConfig::SETTINGS {
        insert(&mut values, setting.path, default_value(setting));
    }
    for assignment in found {
        insert(&mut values, assignment.path, assignment.value.clone());
    }
    // The table has checked every type.
    match Value::from(values).deserialize() {
        Ok(config) => Some(config),
        Err(error) => {
            findings.error(origin, shown, error.to_string());
            None
        }
    }
}
