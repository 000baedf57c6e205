//! The entries of `distributor.downstream`: a list of mappings in YAML, plain URLs elsewhere.
//! The rules of an entry are run here, where the line of each of its values is known.

use figment::value::{Dict, Value};
use http::{HeaderName, HeaderValue};
use ingest::{DownstreamConfig, RESERVED_HEADERS};
use settings::{Kind, Setting};

use super::errors::{Findings, Origin};
use super::mimir::Place;
use super::rules::Section;
use super::schema::downstream;
use super::sources::collect::{Assignment, Collector, default_value, insert, parse_text};
use super::sources::yaml::{Content, Entry, Node, at};
use super::validate::{check_file, file_text};

/// Entries that differ from the defaults by their URL only.
pub(super) fn from_urls(
    urls: &[String],
    shown: &str,
    origin: &Origin,
    findings: &mut Findings,
) -> Option<Value> {
    let url_setting = downstream()
        .iter()
        .find(|setting| matches!(setting.kind, Kind::Url))?;
    let mut entries = Vec::new();
    for (index, url) in urls.iter().enumerate() {
        let shown = format!("{shown}[{index}]");
        let value = parse_text(url_setting, &format!("{shown}.url"), url, origin, findings);
        let found = value.map(|value| Assignment {
            path: url_setting.path,
            value,
            origin: origin.clone(),
        });
        if let Some(found) = found {
            let entry = EntryCheck::new(vec![found], origin, &shown).finish(findings);
            entries.push((entry, origin.clone()));
        }
    }
    let complete = entries.len() == urls.len();
    finish(entries, shown, findings).filter(|_| complete)
}

/// Entries of a YAML list. `None` with any mistake, which is reported.
pub(super) fn from_yaml(
    file: &str,
    items: &[Node],
    table: &'static [Setting],
    shown: &str,
    findings: &mut Findings,
) -> Option<Value> {
    let before = findings.errors.len();
    let mut entries = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let shown = format!("{shown}[{index}]");
        let origin = at(file, item.line);
        let Content::Mapping(fields) = &item.content else {
            let problem = format!("got {}; must be a mapping with a url", item.content.word());
            findings.error(&origin, &shown, problem);
            continue;
        };
        let mistakes = findings.errors.len();
        let mut collector = Collector::new(file, table, Place::Ours, findings);
        collector.section(fields, "", &shown);
        let found = collector.found;
        // The rules would judge a default where a value was refused.
        if findings.errors.len() == mistakes {
            let entry = EntryCheck::new(found, &origin, &shown).finish(findings);
            entries.push((entry, origin));
        }
    }
    let value = finish(entries, shown, findings);
    value.filter(|_| findings.errors.len() == before)
}

/// The list of the entries, whose names must differ.
fn finish(entries: Vec<(Dict, Origin)>, shown: &str, findings: &mut Findings) -> Option<Value> {
    let before = findings.errors.len();
    let mut names: Vec<&str> = Vec::new();
    for (entry, origin) in &entries {
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            continue;
        };
        if names.contains(&name) {
            let problem =
                format!("an earlier entry also has the name {name:?}; give each a different name");
            findings.error(origin, shown, problem);
        }
        names.push(name);
    }
    let entries: Vec<Dict> = entries.into_iter().map(|(entry, _)| entry).collect();
    (findings.errors.len() == before).then(|| Value::from(entries))
}

/// `headers`: names to values. Values are not quoted in messages: they often are credentials.
pub(super) fn headers(
    file: &str,
    entries: &[Entry],
    shown: &str,
    findings: &mut Findings,
) -> Option<Value> {
    let before = findings.errors.len();
    let mut headers = Dict::new();
    for Entry { key, line, value } in entries {
        let origin = at(file, *line);
        let shown = format!("{shown}.{key}");
        if HeaderName::from_bytes(key.as_bytes()).is_err() {
            findings.error(&origin, &shown, "must be the name of an HTTP header");
        } else if RESERVED_HEADERS.contains(&key.to_ascii_lowercase().as_str()) {
            findings.error(
                &origin,
                &shown,
                "this header is set by the program; remove it",
            );
        }
        match &value.content {
            Content::Text(text) if HeaderValue::from_str(text).is_ok() => {
                headers.insert(key.clone(), Value::from(text.as_str()));
            }
            _ => findings.error(&origin, &shown, "must be text that an HTTP header can hold"),
        }
    }
    (findings.errors.len() == before).then(|| Value::from(headers))
}

/// One entry while its rules are checked.
struct EntryCheck<'a> {
    found: Vec<Assignment>,
    values: Dict,
    origin: &'a Origin,
    shown: &'a str,
}

impl<'a> EntryCheck<'a> {
    fn new(found: Vec<Assignment>, origin: &'a Origin, shown: &'a str) -> Self {
        let mut values = Dict::new();
        for setting in downstream() {
            insert(&mut values, setting.path, default_value(setting));
        }
        for assignment in &found {
            insert(&mut values, assignment.path, assignment.value.clone());
        }
        Self {
            found,
            values,
            origin,
            shown,
        }
    }

    /// Where `path` was set, else where the entry begins.
    fn origin_of(&self, path: &str) -> &Origin {
        self.found
            .iter()
            .find(|found| found.path == path)
            .map_or(self.origin, |f| &f.origin)
    }

    /// Checks the rules and returns the complete entry.
    fn finish(mut self, findings: &mut Findings) -> Dict {
        // The table has checked every type.
        match Value::from(self.values.clone()).deserialize::<DownstreamConfig>() {
            Ok(config) => {
                self.check(&config, findings);
                self.values
                    .insert("name".to_string(), Value::from(config.label()));
            }
            Err(error) => findings.error(self.origin, self.shown, error.to_string()),
        }
        self.values
    }

    fn check(&self, config: &DownstreamConfig, findings: &mut Findings) {
        let section = Section {
            path: self.shown,
            needed_by: self.shown,
        };
        let inside = |path: &str| {
            let path = path.strip_prefix(self.shown).unwrap_or_default();
            self.origin_of(path.trim_start_matches('.')).to_string()
        };
        section.check(&inside, findings, |report| config.check(report));
        let tls = &config.tls;
        let basic = config.basic_auth.as_ref();
        let password_file = basic.map_or(&None, |basic| &basic.password_file);
        for (name, file) in [
            ("tls.ca_file", &tls.ca_file),
            ("tls.cert_file", &tls.cert_file),
            ("tls.key_file", &tls.key_file),
            ("bearer_token_file", &config.bearer_token_file),
            ("basic_auth.password_file", password_file),
        ] {
            let path = format!("{}.{name}", self.shown);
            check_file(&path, &file_text(file), self.origin_of(name), findings);
        }
    }
}
