//! The time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longer times are as long as this, which can be added to any moment.
pub(crate) const LONGEST: Duration = Duration::from_secs(86_400);

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A length of time for a log line, milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
