//! Which sample times were stored of an elected replica, and what its election cost.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::atomic_time::AtomicTime;

/// The sample times that this process has had stored of one elected replica.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// The newest one, ms.
    newest: AtomicTime,
    /// The newest one of its predecessor, ms; `None` if this process has had none of it stored.
    predecessor_ms: Option<i64>,
    /// Whether it succeeded another replica, and nothing of it has been stored since.
    is_first_due: AtomicBool,
    /// From the predecessor's newest sample to its own first one, ms.
    gap: AtomicTime,
}

impl Stretch {
    /// Of a cluster's first replica.
    pub(crate) fn of_first() -> Self {
        Self {
            newest: AtomicTime::new(None),
            predecessor_ms: None,
            is_first_due: AtomicBool::new(false),
            gap: AtomicTime::new(None),
        }
    }

    /// Of the replica that succeeds the one of this stretch.
    pub(crate) fn successor(&self) -> Self {
        Self {
            predecessor_ms: self.newest.get(),
            is_first_due: AtomicBool::new(true),
            ..Self::of_first()
        }
    }

    /// Samples up to this time were stored. Returns whether they are the first ones of a successor.
    pub(crate) fn stored(&self, newest_ms: i64) -> bool {
        self.newest
            .set_if_changed(self.newest.get().max(Some(newest_ms)));
        self.is_first_due.load(Ordering::Relaxed)
            && self.is_first_due.swap(false, Ordering::Relaxed)
    }

    /// The first sample of a successor, ms, and where its predecessor ended, if that is known better
    /// than by this process. Returns the gap between the two, ms.
    pub(crate) fn began(&self, oldest_ms: i64, boundary_ms: Option<i64>) -> Option<i64> {
        let ended_ms = boundary_ms.or(self.predecessor_ms)?;
        let gap_ms = oldest_ms.saturating_sub(ended_ms);
        self.gap.set(Some(gap_ms));
        Some(gap_ms)
    }

    /// What the election cost: the time without samples, ms. Negative: both replicas have samples of
    /// this stretch of time. `None`: nothing of the replica has been stored, or it is the first one.
    pub(crate) fn gap_ms(&self) -> Option<i64> {
        self.gap.get()
    }
}

impl Clone for Stretch {
    fn clone(&self) -> Self {
        Self {
            newest: AtomicTime::new(self.newest.get()),
            predecessor_ms: self.predecessor_ms,
            is_first_due: AtomicBool::new(self.is_first_due.load(Ordering::Relaxed)),
            gap: AtomicTime::new(self.gap.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_measured_once_from_the_end_of_the_predecessor() {
        let first = Stretch::of_first();
        assert!(!first.stored(30));
        assert!(!first.stored(20), "the newest one counts");
        assert_eq!(first.gap_ms(), None);
        let second = first.successor();
        assert!(second.stored(100) && !second.stored(110));
        assert_eq!(second.began(95, None), Some(65));
        assert_eq!(second.clone().gap_ms(), Some(65));
        let third = second.successor();
        assert!(third.stored(200));
        assert_eq!(third.began(105, Some(120)), Some(-15));
    }

    #[test]
    fn without_a_sample_of_the_predecessor_only_a_known_boundary_tells() {
        let unseen = Stretch::of_first().successor();
        assert!(unseen.stored(10));
        assert_eq!(unseen.began(9, None), None);
        assert_eq!(unseen.gap_ms(), None);
        assert_eq!(unseen.began(9, Some(5)), Some(4));
    }
}
