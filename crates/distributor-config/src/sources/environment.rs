//! Environment variables: `HA_DISTRIBUTOR_` and the path, with `__` between its levels.

use std::ffi::OsString;

use settings::Setting;

use super::collect::{Assignment, parse_text};
use super::meant::nearest;
use crate::errors::{Findings, Origin};
use crate::schema::{
    ENVIRONMENT_PREFIX, MEMBERLIST_IN_KVSTORE, all_settings, environment_name, path_in_kvstore,
};

pub(crate) fn parse(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    findings: &mut Findings,
) -> Vec<Assignment> {
    let mut variables: Vec<(String, String)> = variables
        .into_iter()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect();
    // The environment has no order; messages have. Besides, the names under `LIMITS` come after
    // those that an earlier Mimir had under `DISTRIBUTOR`, and so win over them.
    variables.sort();
    // As in a file, the section in kvstore wins.
    let nearer = environment_name(MEMBERLIST_IN_KVSTORE);
    variables.sort_by_key(|(name, _)| name.starts_with(&nearer));
    let names = all_settings().iter().map(|row| environment_name(row.path));
    let names: Vec<String> = names.collect();
    let mut found = Vec::new();
    for (name, text) in variables {
        let origin = Origin::Environment(name.clone());
        let elsewhere = |setting: &Setting| {
            !setting.also.is_empty() && environment_name(setting.also) == name
                || path_in_kvstore(setting.path).is_some_and(|path| environment_name(&path) == name)
        };
        let index = names.iter().position(|known| *known == name);
        let Some(index) = index.or_else(|| all_settings().iter().position(elsewhere)) else {
            if !is_service_link(&name) {
                let problem = match nearest(&name, names.iter().map(String::as_str)) {
                    Some(near) => format!("unknown variable; did you mean {near}?"),
                    None => "unknown variable; no setting has this name".to_string(),
                };
                findings.error(&origin, "", problem);
            }
            continue;
        };
        let setting = &all_settings()[index];
        if let Some(value) = parse_text(setting, setting.path, &text, &origin, findings) {
            found.push(Assignment {
                path: setting.path,
                value,
                origin,
            });
        }
    }
    found
}

/// Kubernetes gives each container variables for each service of its namespace; a service called
/// `ha-distributor`, or something that begins so, makes them begin with our prefix.
fn is_service_link(name: &str) -> bool {
    let rest = name.trim_start_matches("HA_DISTRIBUTOR");
    !name.contains("__")
        && (rest.ends_with("_SERVICE_HOST")
            || rest.contains("_SERVICE_PORT")
            || rest.ends_with("_PORT")
            || ["_TCP", "_UDP", "_SCTP"]
                .iter()
                .any(|protocol| rest.contains("_PORT_") && rest.contains(protocol)))
}
