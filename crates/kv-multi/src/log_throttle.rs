//! One log line per interval about failures that repeat.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Failures of one kind, of which some are logged and all are counted.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// One more failure. `Some` if it is to be logged, with the number of those before it that were
    /// not.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if since.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            since.suppressed += 1;
            return None;
        }
        since.last = Some(Instant::now());
        Some(std::mem::take(&mut since.suppressed))
    }
}
