//! Why a participant cannot take part.

use std::time::Duration;

use kv_core::StoreError;

/// Why a participant cannot take part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElectionError {
    /// The store refuses the key, or what is stored under it is not a [`Lease`](crate::Lease).
    #[error("the election cannot be held: {0}")]
    Store(#[from] StoreError),
    /// Times that cannot work.
    #[error("{what} is {got:?}; it must be {rule}")]
    Timing {
        /// The field of [`Timing`](crate::Timing).
        what: &'static str,
        /// Its value.
        got: Duration,
        /// What it must be.
        rule: &'static str,
    },
    /// The watch of the store ended: the store was shut down.
    #[error("the store was shut down")]
    ShutDown,
}

impl ElectionError {
    /// Whether a later attempt may succeed, without a change of program or settings. Failures of
    /// the store that may pass are waited for, and are no errors of an election.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Timing { .. } | Self::ShutDown => false,
        }
    }
}
