//! From YAML to values of the table: unknown keys, types, and where each value stands.

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use settings::{Kind, Setting, parse_address, redact_userinfo, split_list};

use super::meant::Meant;
use super::yaml::{Content, Entry, Node, at};
use crate::downstream;
use crate::errors::{Findings, Origin};
use crate::mimir::{self, Foreign, Place};
use crate::schema::{MEMBERLIST, MEMBERLIST_IN_KVSTORE};

/// One value from one place; a figment provider of its own, so that figment knows the place of
/// every value after all layers are merged.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    /// Path with dots.
    pub(crate) path: &'static str,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Provider for Assignment {
    fn metadata(&self) -> Metadata {
        self.origin.metadata()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut dict = Dict::new();
        insert(&mut dict, self.path, self.value.clone());
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// Puts `value` at the dotted `path`.
pub(crate) fn insert(dict: &mut Dict, path: &str, value: Value) {
    let Some((head, tail)) = path.split_once('.') else {
        dict.insert(path.to_string(), value);
        return;
    };
    let mut inner = match dict.remove(head) {
        Some(Value::Dict(_, inner)) => inner,
        _ => Dict::new(),
    };
    insert(&mut inner, tail, value);
    dict.insert(head.to_string(), Value::from(inner));
}

/// The built-in value of `setting`; its text is tested to be right.
pub(crate) fn default_value(setting: &Setting) -> Value {
    match setting.kind {
        Kind::Records(_) => Value::from(Vec::<Value>::new()),
        Kind::Headers => Value::from(Dict::new()),
        // A required value has no default of its kind.
        kind => match kind.parse(setting.default) {
            Some(value) => from_setting(value),
            None => Value::from(setting.default),
        },
    }
}

fn from_setting(value: settings::Value) -> Value {
    match value {
        settings::Value::Bool(value) => Value::from(value),
        settings::Value::Number(number) => Value::from(number),
        settings::Value::Float(number) => Value::from(number),
        settings::Value::Text(text) => Value::from(text),
        settings::Value::List(items) => Value::from(items),
    }
}

/// Parses the text that a flag, the environment or a YAML scalar gives for `setting`. A mistake is
/// reported with `shown` as the path.
pub(crate) fn parse_text(
    setting: &'static Setting,
    shown: &str,
    text: &str,
    origin: &Origin,
    findings: &mut Findings,
) -> Option<Value> {
    if let Kind::Records(_) = setting.kind {
        return downstream::from_urls(&split_list(text), shown, origin, findings);
    }
    let value = setting.parse(text).map(from_setting);
    if value.is_none() {
        let got = match setting.kind {
            _ if setting.secret => "got a value that is not shown".to_string(),
            Kind::Url => format!("got {:?}", redact_userinfo(text)),
            _ => format!("got {text:?}"),
        };
        findings.error(
            origin,
            shown,
            format!("{got}; must be {}", setting.expected()),
        );
    }
    if setting.unused
        && value
            .as_ref()
            .is_some_and(|value| *value != default_value(setting))
    {
        findings.ignored.push(setting.path.to_string());
    }
    value
}

/// Walks YAML by a table.
pub(crate) struct Collector<'a> {
    pub(crate) file: &'a str,
    pub(crate) table: &'static [Setting],
    /// Where the mapping stands: what becomes of other keys than those of the table.
    pub(crate) place: Place,
    pub(crate) findings: &'a mut Findings,
    /// What was found, in the order of the file.
    pub(crate) found: Vec<Assignment>,
    /// What was found in [`MEMBERLIST_IN_KVSTORE`], which wins over the same in `found`.
    nearer: Vec<Assignment>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(
        file: &'a str,
        table: &'static [Setting],
        place: Place,
        findings: &'a mut Findings,
    ) -> Self {
        Self {
            file,
            table,
            place,
            findings,
            found: Vec::new(),
            nearer: Vec::new(),
        }
    }

    /// What was found, later ones winning over earlier ones.
    pub(crate) fn into_found(mut self) -> Vec<Assignment> {
        self.found.append(&mut self.nearer);
        self.found
    }

    /// Takes all `entries` of the section `prefix` (empty for the top) of the table. Messages name
    /// it `shown`, which differs where the section stands in another place than in the table.
    pub(crate) fn section(&mut self, entries: &[Entry], prefix: &str, shown: &str) {
        for entry in entries {
            let path = join(prefix, &entry.key);
            let shown = join(shown, &entry.key);
            self.entry(entry, &path, &shown, prefix);
        }
    }

    fn entry(&mut self, entry: &Entry, path: &str, shown: &str, prefix: &str) {
        let origin = at(self.file, entry.line);
        let named = |setting: &&Setting| {
            !setting.path.is_empty() && (setting.path == path || setting.also == path)
        };
        if let Some(setting) = self.table.iter().find(named) {
            if let Some(value) = self.value(setting, &entry.value, shown, &origin) {
                self.add(setting, path, value, origin);
            }
            return;
        }
        if path == MEMBERLIST_IN_KVSTORE {
            let farther = std::mem::take(&mut self.found);
            self.mapping(entry, MEMBERLIST, shown);
            self.nearer = std::mem::replace(&mut self.found, farther);
            return;
        }
        let inside = format!("{path}.");
        if self
            .table
            .iter()
            .any(|setting| setting.path.starts_with(&inside))
        {
            self.mapping(entry, path, shown);
            return;
        }
        self.foreign(&entry.key, prefix, path, shown, &origin);
    }

    /// A key that is not in the table.
    fn foreign(&mut self, key: &str, prefix: &str, path: &str, shown: &str, origin: &Origin) {
        let foreign = self.place.foreign(prefix, path);
        if foreign == Foreign::Ignored {
            match mimir::renamed(path) {
                Some(ours) => self.findings.warnings.push(format!(
                    "{shown} ({origin}) has no effect: that is its name in Cortex and Loki; here, as in \
                     Mimir, it is {ours}"
                )),
                None => self.findings.ignored.push(path.to_string()),
            }
            return;
        }
        let meant = Meant::of(key, self.table, prefix);
        let is_mistake = foreign == Foreign::Mistake
            || self.findings.strict
            || self.place.refuses_typing_errors()
                && meant.is_typing_error(key, mimir::is_common(key));
        match is_mistake {
            true => self.findings.error(origin, shown, meant.problem()),
            false => self.findings.unknown(origin, path, shown, meant.name()),
        }
    }

    fn mapping(&mut self, entry: &Entry, path: &str, shown: &str) {
        match &entry.value.content {
            Content::Mapping(entries) => self.section(entries, path, shown),
            Content::Null => {}
            other => {
                let problem = format!("got {}; must be a mapping", other.word());
                self.findings
                    .error(&at(self.file, entry.line), shown, problem);
            }
        }
    }

    /// A setting may stand in one file at its own path and where an earlier Mimir had it; then its
    /// own path counts, whichever comes first.
    fn add(&mut self, setting: &'static Setting, path: &str, value: Value, origin: Origin) {
        let earlier = self
            .found
            .iter()
            .position(|found| found.path == setting.path);
        match earlier {
            Some(_) if path == setting.also => {}
            Some(index) => {
                self.found[index] = Assignment {
                    path: setting.path,
                    value,
                    origin,
                }
            }
            None => self.found.push(Assignment {
                path: setting.path,
                value,
                origin,
            }),
        }
    }

    fn value(
        &mut self,
        setting: &'static Setting,
        node: &Node,
        shown: &str,
        origin: &Origin,
    ) -> Option<Value> {
        match (&node.content, setting.kind) {
            (Content::Null, _) => None,
            (Content::List(items), Kind::Records(table)) => {
                downstream::from_yaml(self.file, items, table, shown, self.findings)
            }
            (Content::Mapping(entries), Kind::Headers) => {
                downstream::headers(self.file, entries, shown, self.findings)
            }
            (Content::List(items), Kind::List) => {
                self.list(items, shown, |text| Some(text.to_string()), "text")
            }
            (Content::List(items), Kind::Addresses) => self.list(
                items,
                shown,
                |text| Some(parse_address(text)?.to_string()),
                "an IP address",
            ),
            (Content::Text(text), kind) if !matches!(kind, Kind::Headers | Kind::Records(_)) => {
                parse_text(setting, shown, text, origin, self.findings)
            }
            (other, _) => {
                let problem = format!("got {}; must be {}", other.word(), setting.expected());
                self.findings.error(origin, shown, problem);
                None
            }
        }
    }

    fn list(
        &mut self,
        items: &[Node],
        shown: &str,
        parse: fn(&str) -> Option<String>,
        expected: &str,
    ) -> Option<Value> {
        let mut texts = Vec::new();
        let before = self.findings.errors.len();
        for (index, item) in items.iter().enumerate() {
            let got = match &item.content {
                Content::Text(text) => match parse(text) {
                    Some(text) => {
                        texts.push(text);
                        continue;
                    }
                    None => format!("{text:?}"),
                },
                other => other.word().to_string(),
            };
            let shown = format!("{shown}[{index}]");
            let problem = format!("got {got}; must be {expected}");
            self.findings
                .error(&at(self.file, item.line), &shown, problem);
        }
        (self.findings.errors.len() == before).then(|| Value::from(texts))
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_string()
    } else {
        format!("{prefix}.{key}")
    }
}
