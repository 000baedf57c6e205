//! Sightings of a replica: when it was last seen, and whether it sends steadily.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::atomic_time::AtomicTime;

/// A replica sends steadily once its requests span this time, ms: a name that is made up for one
/// request never does, even if the request is repeated at once because its answer was lost.
pub(crate) const STEADY_AFTER_MS: i64 = 5_000;
/// Longest time between two requests of a replica that sends steadily, ms: longer than any usual
/// scrape interval. After a longer gap it counts as new.
pub(crate) const STEADY_GAP_MS: i64 = 120_000;

/// The times at which one tracker saw one replica.
#[derive(Debug)]
pub(crate) struct Sightings {
    seen: AtomicTime,
    /// Since when it has been seen without a gap; meaningless before the first sighting.
    since_ms: AtomicI64,
    sample: AtomicTime,
}

impl Sightings {
    /// For a replica that is seen at `now_ms`, and has been since `since_ms`.
    pub(crate) fn new(since_ms: i64, sample_ms: Option<i64>, now_ms: i64) -> Self {
        Self {
            seen: AtomicTime::new(Some(now_ms)),
            since_ms: AtomicI64::new(since_ms),
            sample: AtomicTime::new(sample_ms),
        }
    }

    /// For a replica that was not seen here.
    pub(crate) fn none() -> Self {
        Self {
            seen: AtomicTime::new(None),
            since_ms: AtomicI64::new(0),
            sample: AtomicTime::new(None),
        }
    }

    pub(crate) fn record(&self, sample_ms: Option<i64>, now_ms: i64) {
        let before_ms = self.seen_ms();
        if before_ms != Some(now_ms) {
            if before_ms.is_none_or(|before| now_ms.saturating_sub(before) > STEADY_GAP_MS) {
                self.since_ms.store(now_ms, Ordering::Relaxed);
            }
            self.seen.set(Some(now_ms));
        }
        self.sample.set_if_changed(sample_ms);
    }

    /// As [`Sightings::record`], but never goes back in time.
    pub(crate) fn record_newer(&self, sample_ms: Option<i64>, now_ms: i64) {
        if self.seen_ms().is_none_or(|seen| seen <= now_ms) {
            self.record(sample_ms, now_ms);
        }
    }

    /// When it was seen last, Unix ms.
    pub(crate) fn seen_ms(&self) -> Option<i64> {
        self.seen.get()
    }

    pub(crate) fn since_ms(&self) -> i64 {
        self.since_ms.load(Ordering::Relaxed)
    }

    /// The earliest sample of the last request.
    pub(crate) fn sample_ms(&self) -> Option<i64> {
        self.sample.get()
    }

    /// Whether it was seen within the longest gap between two requests of a steady sender.
    pub(crate) fn is_recent(&self, now_ms: i64) -> bool {
        self.seen_ms()
            .is_some_and(|seen| now_ms.saturating_sub(seen) <= STEADY_GAP_MS)
    }

    /// Whether it sends steadily, up to now.
    pub(crate) fn is_steady(&self, now_ms: i64) -> bool {
        let spans = |seen: i64| seen.saturating_sub(self.since_ms()) >= STEADY_AFTER_MS;
        self.is_recent(now_ms) && self.seen_ms().is_some_and(spans)
    }
}

impl Clone for Sightings {
    fn clone(&self) -> Self {
        Self {
            seen: AtomicTime::new(self.seen_ms()),
            since_ms: AtomicI64::new(self.since_ms()),
            sample: AtomicTime::new(self.sample_ms()),
        }
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
        assert!(!sightings.is_steady(late), "it has to begin again");
        sightings.record(None, late + STEADY_AFTER_MS);
        assert!(sightings.is_steady(late + STEADY_AFTER_MS));
    }

    #[test]
    fn an_older_time_does_not_replace_a_newer_one_where_it_must_not() {
        let sightings = Sightings::new(10, Some(9), 10);
        sightings.record_newer(Some(1), 5);
        assert_eq!(
            (sightings.seen_ms(), sightings.sample_ms()),
            (Some(10), Some(9))
        );
        sightings.record(Some(1), 5);
        assert_eq!(
            (sightings.seen_ms(), sightings.sample_ms()),
            (Some(5), Some(1))
        );
    }
}
