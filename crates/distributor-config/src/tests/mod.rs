//! Tests of the configuration: each source, each rule, and the exact words of the messages.

mod credentials;
mod downstream;
mod memberlist;
mod migration;
mod mimir;
mod mistakes;
mod multi;
mod names;
mod output;
mod runtime;
mod sources;
mod stores;
mod table;
mod values;
mod yaml;

use std::ffi::OsString;
use std::io;

use super::errors::ConfigErrors;
use super::{Config, Invocation, Loaded, load_with};

/// One process with its files (name, content), environment and flags.
#[derive(Default)]
struct Process<'a> {
    files: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

impl Process<'_> {
    fn start(&self) -> Result<Invocation, ConfigErrors> {
        let files = self
            .files
            .iter()
            .map(|(name, _)| format!("-config.file={name}"));
        let flags = self.flags.iter().map(ToString::to_string);
        let variables = self
            .variables
            .iter()
            .map(|(n, v)| (OsString::from(n), OsString::from(v)));
        let read = |path: &str| {
            let file = self.files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| (*text).to_string())
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
        };
        let arguments = files.chain(flags).map(OsString::from);
        load_with(arguments, variables, &read, &|_, _| Ok(()))
    }

    fn loaded(&self) -> Loaded {
        match self.start() {
            Ok(Invocation::Run(loaded)) => *loaded,
            Ok(other) => panic!("not to be run: {other:?}"),
            Err(errors) => panic!("{errors}"),
        }
    }

    fn config(&self) -> Config {
        self.loaded().config
    }

    fn mistakes(&self) -> String {
        match self.start() {
            Ok(invocation) => panic!("no mistake found: {invocation:?}"),
            Err(errors) => errors.to_string(),
        }
    }
}

/// A flag without which there is a warning that most tests are not about.
const DOWNSTREAM: &str = "-distributor.downstream.url=http://backend/push";

fn from_yaml(text: &str) -> Config {
    Process {
        files: &[("c.yaml", text)],
        ..Process::default()
    }
    .config()
}

fn yaml_mistakes(text: &str) -> String {
    Process {
        files: &[("c.yaml", text)],
        ..Process::default()
    }
    .mistakes()
}

fn flag_mistakes(flags: &[&str]) -> String {
    Process {
        flags,
        ..Process::default()
    }
    .mistakes()
}
