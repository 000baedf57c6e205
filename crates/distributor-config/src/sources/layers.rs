//! The layers put together by figment, and the typed configuration taken out of them.

use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::collect::{Assignment, default_value, insert};
use crate::errors::{Findings, Origin};
use crate::schema::all_settings;

/// The lowest layer.
#[derive(Debug, Clone)]
struct Defaults(Dict);

impl Provider for Defaults {
    fn metadata(&self) -> Metadata {
        Origin::Default.metadata()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

/// The built-in defaults of the table.
pub(crate) fn built_in() -> Figment {
    let mut dict = Dict::new();
    for setting in all_settings() {
        insert(&mut dict, setting.path, default_value(setting));
    }
    Figment::from(Defaults(dict))
}

/// `value` as the lowest layer.
pub(crate) fn defaults_from(value: &impl Serialize) -> Figment {
    let value = figment::value::Value::serialize(value);
    let dict = value.ok().and_then(figment::value::Value::into_dict);
    Figment::from(Defaults(dict.unwrap_or_default()))
}

/// Puts `assignments` on top, later ones over earlier ones.
pub(crate) fn merge(figment: Figment, assignments: Vec<Assignment>) -> Figment {
    assignments.into_iter().fold(figment, Figment::merge)
}

/// Takes the typed value out. The table has checked every type, so that a failure here means that
/// the table and the model disagree; it is reported like any mistake.
pub(crate) fn extract<T: DeserializeOwned>(
    figment: &Figment,
    findings: &mut Findings,
) -> Option<T> {
    match figment.extract() {
        Ok(value) => Some(value),
        Err(errors) => {
            for error in errors {
                let path = error.path.join(".");
                let origin = origin_of(figment, &path);
                findings.error(&origin, &path, error.kind.to_string());
            }
            None
        }
    }
}

/// Where the value of `path` was set, as [`Origin`] displays it.
pub(crate) fn origin_of(figment: &Figment, path: &str) -> String {
    match figment
        .find_metadata(path)
        .and_then(|metadata| metadata.source.as_ref())
    {
        Some(Source::Custom(origin)) => origin.clone(),
        _ => Origin::Default.to_string(),
    }
}
