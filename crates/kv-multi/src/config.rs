//! Settings of the multi store.

use std::time::Duration;

/// How a [`MultiStore`](crate::MultiStore) works until something else is asked of it.
#[derive(Debug, Clone)]
pub struct MultiConfig {
    /// Whether what the primary stores goes to the secondary too. Default false.
    pub mirror_enabled: bool,
    /// How long one write to the secondary may take. Also bounds the two waits of a switch: for the
    /// writes under way, and for what is to be mirrored. Default 2 s.
    pub mirror_timeout: Duration,
    /// Time between two comparisons of the stores while mirroring is on. Default 10 s.
    pub compare_interval: Duration,
    /// For how long a difference must last to count as one: what is on its way is none. Default 1 s.
    pub settle: Duration,
    /// How many keys per second a backfill copies at most. Each process has one, and they share the
    /// work by chance. Default 200.
    pub backfill_rate: u32,
}

impl Default for MultiConfig {
    fn default() -> Self {
        Self {
            mirror_enabled: false,
            mirror_timeout: Duration::from_secs(2),
            compare_interval: Duration::from_secs(10),
            settle: Duration::from_secs(1),
            backfill_rate: 200,
        }
    }
}

/// Why two stores make no multi store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A store has one name for what is asked of it, so two must differ.
    #[error("primary and secondary are the same store, {0}")]
    Same(&'static str),
    /// Nothing could ever be mirrored.
    #[error("mirror_timeout must be greater than 0")]
    NoTimeout,
}
