//! Where a value came from, and the mistakes found in a configuration.

use std::fmt;

use figment::Metadata;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// A YAML file, with the line counted from 1; line 0 is the file as a whole.
    File {
        /// As given to `-config.file`.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without the dash.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line: 0 } => f.write_str(file),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "-{name}"),
        }
    }
}

impl Origin {
    /// What figment keeps beside a value that came from here.
    pub(super) fn metadata(&self) -> Metadata {
        let kind = match self {
            Self::Default => "default",
            Self::File { .. } => "YAML file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        };
        Metadata::from(kind, figment::Source::Custom(self.to_string()))
    }
}

/// One mistake: where it stands, which setting it concerns, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the value was set: `file:line`, an environment variable, or a flag with its dash.
    pub origin: String,
    /// Path of the setting, for example `limits.ha_max_clusters`; empty where none is concerned.
    pub path: String,
    /// The value, the rule, and what to do. Never contains a secret.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(
        origin: &(impl fmt::Display + ?Sized),
        path: &str,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            origin: origin.to_string(),
            path: path.to_string(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

/// All mistakes of one configuration, in the order of the sources. The process exits with
/// status 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has 1 mistake:")?,
            count => write!(f, "the configuration has {count} mistakes:")?,
        }
        for error in &self.0 {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A name that no table has.
#[derive(Debug)]
struct Unknown {
    /// The same for the same key of all tenants.
    path: String,
    /// Where it stood first.
    origin: String,
    /// What it was called there.
    shown: String,
    /// What it may have been meant to be.
    meant: Option<&'static str>,
    /// How often it stood anywhere.
    count: usize,
}

/// The findings of a load, besides values.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Mistakes, in the order found.
    pub(super) errors: Vec<ConfigError>,
    /// Whether unknown names are mistakes even if another version of Mimir may have them.
    pub(super) strict: bool,
    /// Paths and flags that are Mimir's and mean nothing here.
    pub(super) ignored: Vec<String>,
    /// Names that another Mimir may have.
    unknown: Vec<Unknown>,
    /// Complete sentences for the log.
    pub(super) warnings: Vec<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.shown, self.origin)?;
        if self.count > 1 {
            write!(f, " and {} more", self.count - 1)?;
        }
        if let Some(meant) = self.meant {
            write!(f, "; did you mean {meant}?")?;
        }
        f.write_str(")")
    }
}

impl Findings {
    /// Nothing found yet.
    pub(super) fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    pub(super) fn error(
        &mut self,
        origin: &(impl fmt::Display + ?Sized),
        path: &str,
        problem: impl Into<String>,
    ) {
        self.errors.push(ConfigError::new(origin, path, problem));
    }

    /// A key that is neither ours nor known to be Mimir's, but may be one of another Mimir. `path` is
    /// that of the table, `shown` that of the file.
    pub(super) fn unknown(
        &mut self,
        origin: &Origin,
        path: &str,
        shown: &str,
        meant: Option<&'static str>,
    ) {
        if let Some(known) = self.unknown.iter_mut().find(|known| known.path == path) {
            known.count += 1;
            return;
        }
        self.unknown.push(Unknown {
            path: path.to_string(),
            origin: origin.to_string(),
            shown: shown.to_string(),
            meant,
            count: 1,
        });
    }

    /// Whether a value of `path` was refused, so that a rule about it would judge another value.
    pub(super) fn concerns(&self, path: &str) -> bool {
        self.errors.iter().any(|error| error.path == path)
    }

    /// The same for an item of the list `path`.
    pub(super) fn concerns_item(&self, path: &str) -> bool {
        let item = |error: &ConfigError| {
            error
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('['))
        };
        self.errors.iter().any(item)
    }

    /// The same for anything below `section`.
    pub(super) fn concerns_below(&self, section: &str) -> bool {
        let below = |path: &str| {
            path.strip_prefix(section)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.errors.iter().any(|error| below(&error.path))
    }

    /// All warnings. What is ignored makes one of them, each name once, and what is unknown another.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.warnings);
        let unknown: Vec<String> = self.unknown.drain(..).map(|one| one.to_string()).collect();
        if !unknown.is_empty() {
            warnings.push(format!(
                "ignored unknown names, perhaps of an older or newer Mimir (-config.strict refuses \
                 them): {}",
                unknown.join(", ")
            ));
        }
        let mut names: Vec<String> = Vec::new();
        for name in self.ignored.drain(..) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if !names.is_empty() {
            warnings.push(format!(
                "ignored settings of Mimir that have no effect in this program: {}",
                names.join(", ")
            ));
        }
        warnings
    }
}
