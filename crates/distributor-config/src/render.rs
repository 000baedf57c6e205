//! The configuration as `/config` shows it: YAML or JSON, in the order of the table, secrets
//! redacted by their types.

use saphyr::{Mapping, Scalar, Yaml, YamlEmitter};
use serde_json::{Map, Value};

use settings::{Kind, Setting};

use super::model::Config;
use super::schema::all_settings;
use super::sources::collect::default_value;

/// Which part of a configuration to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every setting.
    Full,
    /// Only what differs from the defaults.
    Diff,
    /// The defaults, whatever is configured.
    Defaults,
}

/// `config` as YAML that can be loaded again, except for the secrets.
pub fn render_yaml(config: &Config, mode: Mode) -> String {
    to_yaml(&tree(config, mode))
}

/// `config` as JSON.
pub fn render_json(config: &Config, mode: Mode) -> Value {
    to_json(&tree(config, mode))
}

/// The paths of the settings that differ. A secret, whose value is not compared in the open, is named
/// by its section.
pub fn changed_settings(before: &Config, after: &Config) -> Vec<String> {
    let values = |config| serde_json::to_value(config).unwrap_or_default();
    let (old, new) = (values(before), values(after));
    let differs = |setting: &&Setting| at(&old, setting.path) != at(&new, setting.path);
    let mut changed: Vec<String> = all_settings()
        .iter()
        .filter(differs)
        .map(|setting| setting.path.to_owned())
        .collect();
    for (section, differs) in [
        ("server.", before.server != after.server),
        ("distributor.", before.distributor != after.distributor),
        ("memberlist.", before.memberlist != after.memberlist),
    ] {
        if differs && !changed.iter().any(|path| path.starts_with(section)) {
            let section = section.trim_end_matches('.');
            changed.push(format!("{section} (a secret)"));
        }
    }
    changed
}

fn tree(config: &Config, mode: Mode) -> Tree {
    let values = serde_json::to_value(config).unwrap_or_default();
    let mut tree = Tree::default();
    for setting in all_settings() {
        let default = plain(serde_json::to_value(default_value(setting)).unwrap_or_default());
        let value = match mode {
            Mode::Defaults => default.clone(),
            Mode::Full | Mode::Diff => plain(at(&values, setting.path)),
        };
        if mode != Mode::Diff || value != default {
            tree.insert(setting.path, leaf(setting, value));
        }
    }
    tree
}

/// Sections and values in the order in which they were added. Neither JSON's nor YAML's own
/// mapping keeps the order in every build.
#[derive(Debug, Default)]
pub(super) struct Tree(Vec<(String, Branch)>);

#[derive(Debug)]
pub(super) enum Branch {
    Leaf(Value),
    Section(Tree),
    List(Vec<Tree>),
}

impl Tree {
    /// Adds `branch` at the dotted `path`.
    fn insert(&mut self, path: &str, branch: Branch) {
        let Some((head, tail)) = path.split_once('.') else {
            self.push(path, branch);
            return;
        };
        for (key, inner) in &mut self.0 {
            if let Branch::Section(section) = inner
                && key == head
            {
                section.insert(tail, branch);
                return;
            }
        }
        let mut section = Self::default();
        section.insert(tail, branch);
        self.push(head, Branch::Section(section));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `branch` under `name`, dots and all.
    pub(super) fn push(&mut self, name: &str, branch: Branch) {
        self.0.push((name.to_string(), branch));
    }
}

fn leaf(setting: &Setting, value: Value) -> Branch {
    match (setting.kind, value) {
        (Kind::Records(table), Value::Array(entries)) => {
            let entry_tree = |entry: &Value| {
                let mut tree = Tree::default();
                for setting in table {
                    tree.insert(setting.path, Branch::Leaf(plain(at(entry, setting.path))));
                }
                tree
            };
            Branch::List(entries.iter().map(entry_tree).collect())
        }
        (_, value) => Branch::Leaf(value),
    }
}

/// The value at the dotted `path`.
pub(super) fn at(value: &Value, path: &str) -> Value {
    path.split('.')
        .try_fold(value, |value, key| value.get(key))
        .cloned()
        .unwrap_or_default()
}

/// Whole floats as integers, as Go prints them.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(super) fn plain(value: Value) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < EXACT => {
            Value::from(number as i64)
        }
        _ => value,
    }
}

pub(super) fn to_json(tree: &Tree) -> Value {
    let branch = |branch: &Branch| match branch {
        Branch::Leaf(value) => value.clone(),
        Branch::Section(section) => to_json(section),
        Branch::List(entries) => entries.iter().map(to_json).collect(),
    };
    let pairs = tree
        .0
        .iter()
        .map(|(key, value)| (key.clone(), branch(value)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

pub(super) fn to_yaml(tree: &Tree) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, and the emitter has no other error for these nodes.
    let _ = YamlEmitter::new(&mut text).dump(&mapping(tree));
    let text = text.strip_prefix("---").unwrap_or(&text).trim_start();
    format!("{text}\n")
}

fn mapping(tree: &Tree) -> Yaml<'static> {
    let mut result = Mapping::new();
    for (key, branch) in &tree.0 {
        let value = match branch {
            Branch::Leaf(value) => yaml_value(value),
            Branch::Section(section) => mapping(section),
            Branch::List(entries) => Yaml::Sequence(entries.iter().map(mapping).collect()),
        };
        result.insert(yaml_text(key), value);
    }
    Yaml::Mapping(result)
}

fn yaml_value(value: &Value) -> Yaml<'static> {
    match value {
        Value::Null => Yaml::Value(Scalar::Null),
        Value::Bool(value) => Yaml::Value(Scalar::Boolean(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Yaml::Value(Scalar::Integer(integer)),
            (None, Some(float)) => Yaml::Value(Scalar::FloatingPoint(float.into())),
            (None, None) => Yaml::Value(Scalar::Null),
        },
        Value::String(text) => yaml_text(text),
        Value::Array(items) => Yaml::Sequence(items.iter().map(yaml_value).collect()),
        Value::Object(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| (yaml_text(key), yaml_value(value)));
            Yaml::Mapping(pairs.collect())
        }
    }
}

fn yaml_text(text: &str) -> Yaml<'static> {
    Yaml::Value(Scalar::String(text.to_string().into()))
}
