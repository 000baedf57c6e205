//! An optional time in one atomic.

use std::sync::atomic::{AtomicI64, Ordering};

/// Means no time; no clock shows this value.
const NONE: i64 = i64::MIN;

/// Milliseconds, or none. Neither reads nor writes are ordered with any others.
#[derive(Debug)]
pub(crate) struct AtomicTime(AtomicI64);

impl AtomicTime {
    pub(crate) fn new(ms: Option<i64>) -> Self {
        Self(AtomicI64::new(ms.unwrap_or(NONE)))
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ms| *ms != NONE)
    }

    #[inline]
    pub(crate) fn set(&self, ms: Option<i64>) {
        self.0.store(ms.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// As [`AtomicTime::set`], but without a write if nothing changes, so that many requests of one
    /// millisecond can share the cache line.
    #[inline]
    pub(crate) fn set_if_changed(&self, ms: Option<i64>) {
        if self.get() != ms {
            self.set(ms);
        }
    }

    /// Sets it if there is none; returns the previous one.
    pub(crate) fn set_if_none(&self, ms: i64) -> Option<i64> {
        self.0
            .compare_exchange(NONE, ms, Ordering::Relaxed, Ordering::Relaxed)
            .err()
    }

    /// Clears it; returns the previous one.
    pub(crate) fn take(&self) -> Option<i64> {
        Some(self.0.swap(NONE, Ordering::Relaxed)).filter(|ms| *ms != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_there_or_not() {
        let time = AtomicTime::new(None);
        assert_eq!(time.get(), None);
        assert_eq!(time.set_if_none(0), None);
        assert_eq!(time.set_if_none(1), Some(0));
        assert_eq!(time.get(), Some(0));
        time.set_if_changed(Some(-1));
        assert_eq!(time.take(), Some(-1));
        assert_eq!(time.take(), None);
    }
}
