//! Settings of the multi store.

use std::time::Duration;

use settings::{Kind, Report, settings};

settings! {
    /// How a [`MultiStore`](crate::MultiStore) works until it is switched.
    pub struct MultiConfig {
        /// Also write to the secondary what the primary stores, and copy what the secondary lacks.
        #[setting(flag = "mirror-enabled", kind = Kind::Bool, default = "false")]
        pub mirror_enabled: bool,
        /// How long one write to the secondary may take. Only a switch of the primary waits for it.
        #[setting(flag = "mirror-timeout", kind = Kind::Duration, default = "2s", nonzero)]
        pub mirror_timeout: Duration;
        /// Time between two comparisons of the stores while mirroring is on. Default 10 s.
        #[serde(skip)]
        pub compare_interval: Duration = Duration::from_secs(10),
        /// For how long a difference must last to count: a shorter one is a write in progress.
        /// Default 1 s.
        #[serde(skip)]
        pub settle: Duration = Duration::from_secs(1),
        /// How many keys per second a backfill copies at most. Each process has one, and they share
        /// the work by chance. Default 200.
        #[serde(skip)]
        pub backfill_rate: u32 = 200,
    }
}

impl MultiConfig {
    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
    }
}

/// Why two stores cannot be combined into a multi store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The two must differ, because stores are selected by name.
    #[error("primary and secondary are the same store, {0}")]
    Same(&'static str),
    /// Nothing could ever be mirrored.
    #[error("mirror_timeout must be greater than 0")]
    NoTimeout,
}
