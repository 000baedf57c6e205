//! Keeps a failure that repeats with every request from filling the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines about the same kind of failure.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one log line through every 10 s and counts the suppressed ones. Use one throttle for each
/// kind of failure.
#[derive(Debug)]
pub struct LogThrottle {
    start: Instant,
    /// Milliseconds after `start` from which the next line may be written.
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            next_ms: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }
}

impl LogThrottle {
    /// Records a failure. If it may be logged, returns how many were suppressed since the last
    /// logged one.
    pub fn admit(&self) -> Option<u64> {
        let now_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let after = now_ms.saturating_add(INTERVAL.as_millis() as u64);
        let is_first = now_ms >= next_ms
            && self
                .next_ms
                .compare_exchange(next_ms, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_first {
            return Some(self.suppressed.swap(0, Ordering::Relaxed));
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_per_interval_tells_of_the_others() {
        let throttle = LogThrottle::default();
        assert_eq!(throttle.admit(), Some(0));
        for _ in 0..5 {
            assert_eq!(throttle.admit(), None);
        }
        tokio::time::advance(INTERVAL).await;
        assert_eq!(throttle.admit(), Some(5));
    }
}
