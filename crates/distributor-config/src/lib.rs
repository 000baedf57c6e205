//! Configuration of the distributor: one table of settings, four layers, and one report of everything wrong.
//!
//! Layers, later wins: built-in defaults, YAML files, environment, flags. Each layer turns what it
//! reads into values checked by the table (`table.rs`); figment merges them and keeps where each
//! came from; serde makes the [`Config`] of it; `validate.rs` applies the rules about several
//! settings. Nothing stops at the first mistake: [`load`] returns all of them.
//!
//! A new setting is one entry of the table and one field of the model; a test fails when the two
//! disagree.

mod collect;
mod downstream;
mod environment;
mod errors;
mod flags;
mod help;
mod kind;
mod layers;
mod memberlist_model;
mod memberlist_rules;
mod memberlist_table;
mod mimir;
mod model;
mod multi_rules;
mod render;
mod runtime;
mod secret;
mod setting;
mod store_model;
mod store_table;
mod subtables;
mod table;
mod text;
mod units;
mod validate;
mod yaml;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

pub use collect::nearest;
pub use errors::{ConfigError, ConfigErrors, Origin};
pub use help::reference_markdown;
pub use memberlist_model::MemberlistSettings;
pub use model::*;
pub use render::{Mode, render_json, render_yaml};
pub use runtime::{MultiKvOverride, RuntimeConfig, RuntimeSnapshot, TenantLimits};
pub use secret::{REDACTED, Secret, SecretUrl};
pub use store_model::{ConsulSettings, EtcdSettings, KvStoreConfig, MultiSettings, StoreKind};
pub use units::{format_duration, parse_duration};

use collect::Collector;
use errors::Findings;
use table::SETTINGS;

/// A configuration without mistakes.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The merged configuration.
    pub config: Config,
    /// Complete sentences to log once at the start.
    pub warnings: Vec<String>,
    /// The YAML files read, in their order.
    pub files: Vec<PathBuf>,
}

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Invocation {
    /// Run with this configuration.
    Run(Box<Loaded>),
    /// `-config.check`: the configuration has no mistakes; say so, with its warnings, and exit 0.
    Check(Box<Loaded>),
    /// `-help`, `-help-all`: print this text and exit 0.
    Help(String),
    /// `-version`: print the version and exit 0.
    Version,
}

/// Reads the configuration from flags (without the program's name), environment and YAML files.
///
/// Whether the stores that it chooses can be opened is asked of `try_store`, with the configuration
/// and the kind of each store in use; its error is a mistake like any other.
///
/// # Errors
/// All mistakes of all sources; the caller prints them and exits with status 64.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    try_store: TryStore<'_>,
) -> Result<Invocation, ConfigErrors> {
    let read = |path: &str| std::fs::read_to_string(path);
    load_with(arguments, variables, &read, try_store)
}

/// Whether a store of this kind can be opened as configured, or why not. Without connecting to
/// anything: what can be wrong is a file of keys or certificates, or that this build lacks the store.
pub type TryStore<'a> = &'a dyn Fn(&Config, StoreKind) -> Result<(), String>;

fn load_with(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    read: &dyn Fn(&str) -> io::Result<String>,
    try_store: TryStore<'_>,
) -> Result<Invocation, ConfigErrors> {
    let mut flag_findings = Findings::default();
    let flags = flags::parse(arguments, &mut flag_findings);
    if flags.help || flags.help_all {
        return Ok(Invocation::Help(help::help(flags.help_all)));
    }
    if flags.version {
        return Ok(Invocation::Version);
    }
    let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();

    let mut findings = Findings::default();
    let mut figment = layers::built_in();
    for file in &flags.files {
        let text = match read(file) {
            Ok(text) if flags.expand_env => expand(file, &text, &variables, &mut findings),
            Ok(text) => text,
            Err(error) => {
                let problem = format!("cannot be read: {error}; check -config.file");
                findings.error(file, "", problem);
                continue;
            }
        };
        let entries = yaml::parse_mapping(file, &text, &mut findings);
        let mut collector = Collector::new(file, SETTINGS, mimir::is_ignored, &mut findings);
        collector.section(&entries, "", "");
        let found = collector.into_found();
        figment = layers::merge(figment, found);
    }
    let found = environment::parse(variables, &mut findings);
    figment = layers::merge(figment, found);
    findings.errors.append(&mut flag_findings.errors);
    findings.ignored.append(&mut flag_findings.ignored);
    figment = layers::merge(figment, flags.found);

    let config = layers::extract::<Config>(&figment, &mut findings);
    if let Some(config) = &config {
        validate::check(
            config,
            &|path| layers::origin_of(&figment, path),
            try_store,
            &mut findings,
        );
    }
    let warnings = findings.take_warnings();
    let Some(config) = config.filter(|_| findings.errors.is_empty()) else {
        return Err(ConfigErrors(findings.errors));
    };
    let files = flags.files.iter().map(PathBuf::from).collect();
    let loaded = Box::new(Loaded {
        config,
        warnings,
        files,
    });
    Ok(if flags.check {
        Invocation::Check(loaded)
    } else {
        Invocation::Run(loaded)
    })
}

fn expand(
    file: &str,
    text: &str,
    variables: &[(OsString, OsString)],
    findings: &mut Findings,
) -> String {
    let lookup = |name: &str| {
        let variable = variables.iter().find(|(known, _)| known == name);
        variable.map(|(_, value)| value.to_string_lossy().into_owned())
    };
    let mut missing = Vec::new();
    let text = yaml::expand_environment(text, lookup, &mut missing);
    if !missing.is_empty() {
        findings.warnings.push(format!(
            "{file}: replaced by nothing, as these environment variables are empty and have no \
             default: {}",
            missing.join(", ")
        ));
    }
    text
}
