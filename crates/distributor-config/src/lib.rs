//! The configuration of a distributor process: from YAML files, environment and flags to one typed
//! [`Config`], with one report of everything wrong.
//!
//! Each setting is declared in the crate that uses it ([`settings`]): the stores, the tracker, the
//! push path. This crate adds the prefixes of the process to their rows (`schema.rs`), adds its own
//! rows, and nests their structs in the [`Config`]. It knows how settings are written and which
//! rules hold between crates; it opens no store and serves no request. The limits of tenants, which
//! change while a process runs, are read here as well ([`RuntimeConfig`]).
//!
//! Layers, later wins: built-in defaults, YAML files, environment, flags. Each layer turns what it
//! reads into values checked by the schema; figment merges them and keeps where each came from; serde
//! makes the [`Config`] of it; then the crates check the rules of their sections, and `validate.rs`
//! those between them. Nothing stops at the first mistake: [`load`] returns all of them.
//!
//! A test fails when the schema and the model disagree.

mod credentials;
mod downstream;
mod errors;
mod help;
mod hints;
mod mimir;
mod model;
mod render;
mod rules;
mod runtime;
mod schema;
mod sources;
mod subtables;
mod table;
mod validate;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

pub use self::credentials::read_credentials;
pub use errors::{ConfigError, ConfigErrors, Origin};
pub use help::reference_markdown;
pub use model::{
    ClientAuth, Config, DistributorConfig, HaTrackerConfig, KvStoreConfig, Limits, LogFormat,
    LogLevel, MultiSettings, RuntimeConfigSource, ServerConfig, ServerTls, StoreKind,
};
pub use render::{Mode, changed_settings, render_json, render_yaml};
pub use runtime::{
    InstanceLimitsOverride, MultiKvOverride, RuntimeConfig, RuntimeSnapshot, TenantLimits,
};
pub use settings::{REDACTED, Secret, SecretUrl, format_duration, parse_duration};
pub use sources::meant::nearest;
pub use validate::TryStore;

use errors::Findings;
use mimir::Place;
use schema::all_settings;
use sources::collect::Collector;
use sources::{environment, flags, layers, yaml};

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
    /// `-help`, `-help-all`, `-modules`: print this text and exit 0.
    Help(String),
    /// `-print.config`: the configuration has no mistakes; print it, and exit 0.
    Print(Box<Loaded>),
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
    if flags.modules {
        return Ok(Invocation::Help(mimir::list_targets()));
    }
    let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();

    let mut findings = Findings::new(flags.strict);
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
        let mut collector = Collector::new(file, all_settings(), Place::File, &mut findings);
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
        let origin_of = |path: &str| layers::origin_of(&figment, path);
        validate::check(config, &origin_of, try_store, &mut findings);
        hints::warn(config, &origin_of, &mut findings);
    }
    let warnings = findings.take_warnings();
    let Some(mut config) = config.filter(|_| findings.errors.is_empty()) else {
        return Err(ConfigErrors(findings.errors));
    };
    config.runtime_config.strict = flags.strict;
    let files = flags.files.iter().map(PathBuf::from).collect();
    let loaded = Box::new(Loaded {
        config,
        warnings,
        files,
    });
    Ok(match (flags.check, flags.print) {
        (true, _) => Invocation::Check(loaded),
        (false, true) => Invocation::Print(loaded),
        (false, false) => Invocation::Run(loaded),
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
            "{file}: these environment variables are empty and have no default, so they are \
             replaced by an empty text: {}",
            missing.join(", ")
        ));
    }
    text
}
