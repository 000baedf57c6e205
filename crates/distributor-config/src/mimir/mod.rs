//! Grafana Mimir's settings, of which most have no use here: what was written for Mimir loads, with
//! one warning that names what is ignored.
//!
//! The names are data ([`settings.tsv`](settings.tsv)). Our own settings are to be looked up before.

mod targets;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use targets::{check_target, list_targets};

/// One setting of Mimir's, of any of its versions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MimirSetting {
    /// Path in YAML with dots; empty where there is only a flag.
    pub(crate) path: &'static str,
    /// Flag without its dash; empty where there is none.
    pub(crate) flag: &'static str,
    /// `bool`, `duration`, `float`, `int`, `list`, `map` or `text`.
    pub(crate) kind: &'static str,
}

/// All of them, ordered by path.
static SETTINGS: LazyLock<Vec<MimirSetting>> = LazyLock::new(|| {
    let lines = include_str!("settings.tsv").lines();
    let rows = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        MimirSetting {
            path: next(),
            flag: next(),
            kind: next(),
        }
    });
    rows.collect()
});

/// Every setting, ordered by path.
pub(crate) fn all() -> &'static [MimirSetting] {
    &SETTINGS
}

/// The setting with this flag, without its dash.
pub(crate) fn by_flag(flag: &str) -> Option<&'static MimirSetting> {
    static FLAGS: LazyLock<HashMap<&str, &MimirSetting>> = LazyLock::new(|| {
        let rows = SETTINGS.iter().filter(|row| !row.flag.is_empty());
        rows.map(|row| (row.flag, row)).collect()
    });
    FLAGS.get(flag).copied()
}

/// Whether `path` is a setting of Mimir's.
fn is_setting(path: &str) -> bool {
    !path.is_empty() && SETTINGS.binary_search_by(|row| row.path.cmp(path)).is_ok()
}

/// Whether Mimir has settings below `path`.
fn is_section(path: &str) -> bool {
    let inside = format!("{path}.");
    let first = SETTINGS.partition_point(|row| row.path < inside.as_str());
    SETTINGS
        .get(first)
        .is_some_and(|row| row.path.starts_with(&inside))
}

/// Whether several sections of Mimir's have a setting called `key`.
pub(crate) fn is_common(key: &str) -> bool {
    let so_called = |row: &&MimirSetting| row.path.rsplit('.').next() == Some(key);
    SETTINGS.iter().filter(so_called).nth(1).is_some()
}

/// A mapping in YAML that is walked by a table of ours: what becomes of its other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A configuration file.
    File,
    /// A file of the runtime configuration, outside of `overrides`.
    Runtime,
    /// The overrides of a tenant, which stand for `limits`.
    Overrides,
    /// What Mimir does not have.
    Ours,
}

/// What a key is that is no setting of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A setting or section of Mimir's: it has no effect.
    Ignored,
    /// Perhaps one of a Mimir that is older or newer than the table.
    Unknown,
    /// No Mimir has it.
    Mistake,
}

impl Place {
    /// What `path`, which stands in `section` (empty for the top), is.
    pub(crate) fn foreign(self, section: &str, path: &str) -> Foreign {
        match self {
            Self::File | Self::Overrides if is_setting(path) || is_section(path) => {
                Foreign::Ignored
            }
            Self::File if OTHER_TOP_LEVEL.contains(&path) => Foreign::Ignored,
            Self::File if !section.is_empty() && is_section(section) => Foreign::Unknown,
            Self::Runtime if RUNTIME_TOP_LEVEL.contains(&path) => Foreign::Ignored,
            Self::Runtime | Self::Overrides => Foreign::Unknown,
            Self::File | Self::Ours => Foreign::Mistake,
        }
    }

    /// Whether a key that is almost the name of a setting is taken for a typing error, and so for a
    /// mistake. Among the overrides one tenant's must not keep the others' from taking effect; the
    /// names at the top of a runtime file are few, and without one all overrides are lost.
    pub(crate) fn refuses_typing_errors(self) -> bool {
        self != Self::Overrides
    }
}

/// What to say of a name that others than Mimir have for one of our settings: the setting.
pub(crate) fn renamed(path: &str) -> Option<&'static str> {
    // Cortex and Loki.
    (path == "auth_enabled").then_some("multitenancy_enabled")
}

/// The same for a flag.
pub(crate) fn renamed_flag(flag: &str) -> Option<&'static str> {
    (flag == "auth.enabled").then_some("auth.multitenancy-enabled")
}

/// Top-level names that are no settings of Mimir's, but of its relatives.
const OTHER_TOP_LEVEL: &[&str] = &["auth_enabled"];

/// At the top of a runtime file.
const RUNTIME_TOP_LEVEL: &[&str] = &[
    "ingester_limits",
    "ingester_stream_chunks_when_using_blocks",
];
