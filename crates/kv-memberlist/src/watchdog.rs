//! Detects that this process did not run, because an outdated view must not be used.

use std::sync::Mutex;
use std::time::Duration;

use kv_core::lock;
use tokio::time::Instant;

/// If the background task has not run for this long, the process was stopped or starved, and the
/// view may be as old.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(1);

/// When a member's background task last ran.
#[derive(Debug)]
pub(crate) struct Watchdog(Mutex<Instant>);

impl Watchdog {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Records that the background task runs.
    pub(crate) fn feed(&self) {
        *lock(&self.0) = Instant::now();
    }

    /// Whether it has not run for too long.
    pub(crate) fn is_stalled(&self) -> bool {
        lock(&self.0).elapsed() >= STALLED_AFTER
    }
}
