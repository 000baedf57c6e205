//! The table agrees with the model, with itself and with the generated reference.

use std::collections::BTreeSet;

use settings::Kind;

use super::Process;
use crate::schema::{all_settings, downstream};
use crate::subtables::runtime;
use crate::table::CONTROL;
use crate::{Config, reference_markdown};

#[test]
fn defaults_parse_and_make_a_valid_configuration() {
    for setting in all_settings().iter().chain(CONTROL).chain(downstream()) {
        let required = matches!(setting.kind, Kind::Url | Kind::Headers | Kind::Records(_));
        assert!(
            required || setting.kind.parse(setting.default).is_some(),
            "{setting:?}"
        );
    }
    Process::default().config();
}

#[test]
fn the_structs_have_the_defaults_of_the_table() {
    assert_eq!(Process::default().config(), Config::default());
}

#[test]
fn every_field_of_the_model_is_in_the_table_and_no_other() {
    let config = super::from_yaml("distributor: {downstream: [{url: 'http://a/'}]}");
    let json = serde_json::to_value(&config).unwrap();
    let mut fields = BTreeSet::new();
    collect_leaves(&json, "", &mut fields);
    let table: BTreeSet<String> = all_settings().iter().map(|s| s.path.to_string()).collect();
    assert_eq!(fields, table);

    let mut fields = BTreeSet::new();
    collect_leaves(&json["distributor"]["downstream"][0], "", &mut fields);
    let mut table: BTreeSet<String> = downstream().iter().map(|s| s.path.to_string()).collect();
    // An empty map has no leaves.
    table.remove("headers");
    assert_eq!(fields, table);
}

fn collect_leaves(value: &serde_json::Value, path: &str, leaves: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                collect_leaves(value, &path, leaves);
            }
        }
        _ => {
            leaves.insert(path.to_string());
        }
    }
}

#[test]
fn names_are_unique_and_texts_complete() {
    let mut flags = BTreeSet::new();
    let mut paths = BTreeSet::new();
    for setting in all_settings().iter().chain(CONTROL) {
        assert!(
            setting.flag.is_empty() || flags.insert(setting.flag),
            "{}",
            setting.flag
        );
        assert!(
            setting.path.is_empty() || paths.insert(setting.path),
            "{}",
            setting.path
        );
    }
    for setting in all_settings()
        .iter()
        .chain(CONTROL)
        .chain(downstream())
        .chain(runtime())
    {
        assert!(setting.help.ends_with('.'), "{}", setting.help);
    }
}

/// `UPDATE_EXPECT=1 cargo test -p distributor-config reference` writes it.
#[test]
fn the_reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, reference_markdown()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(
        written,
        reference_markdown(),
        "docs/configuration.md is stale"
    );
}
