//! The result of a comparison of the two stores.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How long listing a store may take.
pub(crate) const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Differences that a [`Comparison`] names; it counts all.
pub(crate) const NAMED: usize = 100;

/// How the secondary's value of a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The secondary has none.
    Missing,
    /// The primary's is newer.
    Older,
    /// The secondary's is newer: another process has written it and has not mirrored it yet.
    Newer,
    /// The primary has none.
    Extra,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Older, Self::Newer, Self::Extra];

    /// The label in metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Older => "older",
            Self::Newer => "newer",
            Self::Extra => "extra",
        }
    }

    /// Whether the secondary lacks an entry or has an older one.
    pub fn is_behind(self) -> bool {
        matches!(self, Self::Missing | Self::Older)
    }
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<V> {
    /// The key.
    pub key: String,
    /// How it differs.
    pub reason: Reason,
    /// The primary's value.
    pub primary: Option<V>,
    /// The secondary's value.
    pub secondary: Option<V>,
}

/// The result of a comparison of the two stores. A difference is an entry that one store had, and
/// that the other still lacked a while later ([`MultiConfig::settle`](crate::MultiConfig::settle)).
#[derive(Debug, Clone)]
pub struct Comparison<V> {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Name of the store that was the primary.
    pub primary: &'static str,
    /// Name of the other.
    pub secondary: &'static str,
    /// Keys in the primary.
    pub primary_keys: usize,
    /// Keys in the secondary.
    pub secondary_keys: usize,
    /// Values of either store that could not be decoded. Their keys count as absent there.
    pub undecodable: usize,
    /// At most 100 of the differences, ordered by key.
    pub differences: Vec<Difference<V>>,
    pub(crate) counts: [usize; 4],
    /// All keys that the secondary lacks or has older, with the primary's values, shuffled: processes
    /// that copy at the same time then do not all copy the same keys.
    pub(crate) behind: Vec<(String, V)>,
    pub(crate) generation: u64,
    pub(crate) ended: Instant,
}

impl<V> Comparison<V> {
    /// Keys that differ in this way.
    pub fn count(&self, reason: Reason) -> usize {
        self.counts[reason as usize]
    }

    /// Keys that are missing or older in the secondary: a switch to it now would lose these
    /// entries.
    pub fn behind(&self) -> usize {
        self.behind.len()
    }
}

/// Why the stores could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A store does not answer.
    #[error("{store} could not be listed within {} s", SNAPSHOT_TIMEOUT.as_secs())]
    Silent {
        /// Its name.
        store: &'static str,
    },
    /// A store cannot be used yet.
    #[error("{store} is not ready yet")]
    NotReady {
        /// Its name.
        store: &'static str,
    },
    /// A store's watch ended.
    #[error("{store} is shut down")]
    ShutDown {
        /// Its name.
        store: &'static str,
    },
    /// Primary and secondary changed meanwhile.
    #[error("primary and secondary were switched during the comparison")]
    Switched,
}

impl CompareError {
    /// Whether a later comparison may succeed, without a change of program or settings.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::ShutDown { .. })
    }
}
