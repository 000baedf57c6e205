//! When a replica was seen: how lately, and whether it sends steadily.

use std::sync::atomic::{AtomicI64, Ordering};

/// Unix ms of something that has not happened.
pub(crate) const NEVER: i64 = 0;
/// Stands for "no sample" among sample times.
const NO_SAMPLE: i64 = i64::MIN;
/// A replica sends steadily once its requests span this time, ms: a name that is made up for one
/// request never does, nor does one that is sent again at once because the answer was lost.
pub(crate) const STEADY_AFTER_MS: i64 = 5_000;
/// Time between two requests of a replica that sends steadily, at most, ms: longer than any usual
/// scrape interval. After more than that it has to show again that it is steady.
pub(crate) const STEADY_GAP_MS: i64 = 120_000;

/// The times of one replica, of one tracker.
#[derive(Debug)]
pub(crate) struct Sightings {
    seen_ms: AtomicI64,
    /// Since when it has been seen without a gap.
    since_ms: AtomicI64,
    sample_ms: AtomicI64,
}

impl Sightings {
    /// Of a replica that is seen at `now_ms`, after `since_ms`.
    pub(crate) fn new(since_ms: i64, sample_ms: Option<i64>, now_ms: i64) -> Self {
        Self {
            seen_ms: AtomicI64::new(now_ms),
            since_ms: AtomicI64::new(since_ms),
            sample_ms: AtomicI64::new(sample_ms.unwrap_or(NO_SAMPLE)),
        }
    }

    /// Of a replica that was not seen here.
    pub(crate) fn none() -> Self {
        Self::new(NEVER, None, NEVER)
    }

    pub(crate) fn record(&self, sample_ms: Option<i64>, now_ms: i64) {
        let before_ms = self.seen_ms();
        if before_ms != now_ms {
            if now_ms.saturating_sub(before_ms) > STEADY_GAP_MS {
                set(&self.since_ms, now_ms);
            }
            self.seen_ms.store(now_ms, Ordering::Relaxed);
        }
        set(&self.sample_ms, sample_ms.unwrap_or(NO_SAMPLE));
    }

    /// As [`Sightings::record`], but only ever forwards.
    pub(crate) fn record_newer(&self, sample_ms: Option<i64>, now_ms: i64) {
        if self.seen_ms() <= now_ms {
            self.record(sample_ms, now_ms);
        }
    }

    pub(crate) fn seen_ms(&self) -> i64 {
        self.seen_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn since_ms(&self) -> i64 {
        self.since_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn sample_ms(&self) -> Option<i64> {
        Some(self.sample_ms.load(Ordering::Relaxed)).filter(|sample| *sample != NO_SAMPLE)
    }

    /// Whether it was seen within the longest gap between two requests of a steady sender.
    pub(crate) fn is_recent(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.seen_ms()) <= STEADY_GAP_MS
    }

    /// Whether it sends steadily, up to now.
    pub(crate) fn is_steady(&self, now_ms: i64) -> bool {
        self.is_recent(now_ms) && self.seen_ms().saturating_sub(self.since_ms()) >= STEADY_AFTER_MS
    }
}

impl Clone for Sightings {
    fn clone(&self) -> Self {
        Self::new(self.since_ms(), self.sample_ms(), self.seen_ms())
    }
}

/// Stores without a write where nothing changes: many requests of one millisecond then share the
/// cache line, with neighbours in memory too.
fn set(time: &AtomicI64, value: i64) {
    if time.load(Ordering::Relaxed) != value {
        time.store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_is_who_was_seen_over_a_span_without_a_gap() {
        let sightings = Sightings::new(1_000, None, 1_000);
        assert!(!sightings.is_steady(1_000));
        sightings.record(None, 5_999);
        assert!(!sightings.is_steady(5_999));
        sightings.record(Some(7), 6_000);
        assert!(sightings.is_steady(6_000));
        assert_eq!(sightings.sample_ms(), Some(7));
        assert!(sightings.is_steady(6_000 + STEADY_GAP_MS));
        let late = 6_001 + STEADY_GAP_MS;
        assert!(!sightings.is_steady(late), "silent for too long");
        sightings.record(None, late);
        assert!(!sightings.is_steady(late), "it has to begin anew");
        sightings.record(None, late + STEADY_AFTER_MS);
        assert!(sightings.is_steady(late + STEADY_AFTER_MS));
    }

    #[test]
    fn an_older_time_does_not_replace_a_newer_one_where_it_must_not() {
        let sightings = Sightings::new(10, Some(9), 10);
        sightings.record_newer(Some(1), 5);
        assert_eq!((sightings.seen_ms(), sightings.sample_ms()), (10, Some(9)));
        sightings.record(Some(1), 5);
        assert_eq!((sightings.seen_ms(), sightings.sample_ms()), (5, Some(1)));
    }
}
