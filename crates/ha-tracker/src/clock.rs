//! The time source of the tracker's background tasks.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A source of Unix milliseconds. Checks are given the time by their caller; only the tracker's own
/// tasks read it here.
#[derive(Debug, Clone, PartialEq)]
pub enum Clock {
    /// The system's wall clock, corrections included: the times are compared with those of other
    /// machines.
    System,
    /// Starts at `epoch_ms` and follows tokio's clock, which tests pause and advance.
    Tokio {
        /// Unix milliseconds at `start`.
        epoch_ms: i64,
        /// The instant of `epoch_ms`.
        start: Instant,
    },
}

impl Clock {
    /// A clock for tests: now is `epoch_ms`.
    pub fn tokio(epoch_ms: i64) -> Self {
        Self::Tokio {
            epoch_ms,
            start: Instant::now(),
        }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        let millis = match self {
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Clock::Tokio { epoch_ms, start } => {
                return epoch_ms + saturating_ms(start.elapsed());
            }
        };
        saturating_ms(millis)
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn saturating_ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
