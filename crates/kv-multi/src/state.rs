//! Which of the two stores is the primary, and whether to mirror.

use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

/// Settings that override the configuration; `None` leaves one as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Override {
    /// Name of the store to use as primary.
    pub primary: Option<String>,
    /// Whether to mirror.
    pub mirror_enabled: Option<bool>,
}

/// Why an [`Override`] is refused. The state has not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{primary:?} cannot be the primary: the stores of this process are {first} and {second}")]
#[non_exhaustive]
pub struct Refused {
    /// The store that was asked for.
    pub primary: String,
    /// One of the two stores.
    pub first: &'static str,
    /// The other one.
    pub second: &'static str,
}

/// One of the two stores, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The configured primary.
    First,
    /// The configured secondary.
    Second,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// The state in effect. Each change creates a new one.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) primary: Side,
    pub(crate) mirror_enabled: bool,
    pub(crate) since: SystemTime,
    /// Grows with each change.
    pub(crate) generation: u64,
    /// Cancelled when reads and watches must restart on another primary, which is already known
    /// then.
    pub(crate) moved: CancellationToken,
    /// Cancelled when writes that still run must be abandoned and restarted after the switch.
    pub(crate) abandoned: CancellationToken,
}

impl State {
    pub(crate) fn new(mirror_enabled: bool) -> Self {
        Self {
            primary: Side::First,
            mirror_enabled,
            since: SystemTime::now(),
            generation: 0,
            moved: CancellationToken::new(),
            abandoned: CancellationToken::new(),
        }
    }

    /// The state after this one. Running calls continue if the primary does not change.
    pub(crate) fn next(&self, primary: Side, mirror_enabled: bool) -> Self {
        let (moved, abandoned) = if primary == self.primary {
            (self.moved.clone(), self.abandoned.clone())
        } else {
            Default::default()
        };
        Self {
            primary,
            mirror_enabled,
            since: SystemTime::now(),
            generation: self.generation + 1,
            moved,
            abandoned,
        }
    }
}
