//! Sightings of a replica: when it was last seen, how often it sends, and whether it was refused.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::cadence::Cadence;
use crate::atomic_time::AtomicTime;
use crate::check::Sighting;
use crate::delivery::Delivery;

/// A replica sends steadily once its requests span this time, ms: a name that is made up for one
/// request never does, even if the request is repeated at once because its answer was lost.
pub(crate) const STEADY_AFTER_MS: i64 = 5_000;
/// Longest time between two requests of a replica that sends steadily, ms: longer than any usual
/// scrape interval. After a longer gap it counts as new.
pub(crate) const STEADY_GAP_MS: i64 = 120_000;

/// How often a replica sends, as one tracker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendInterval {
    /// The usual time between two requests.
    pub usual: Duration,
    /// Whether it has been seen for a minute at least, and four of these.
    pub is_established: bool,
}

/// The times at which one tracker saw one replica.
#[derive(Debug)]
pub(crate) struct Sightings {
    seen: AtomicTime,
    /// Since when it has been seen without a gap; meaningless before the first sighting.
    since_ms: AtomicI64,
    /// The newest sample of its last request.
    newest: AtomicTime,
    cadence: Cadence,
    /// When it was refused last.
    refused: AtomicTime,
    /// Since when a request of it is neither stored nor given up.
    undelivered: AtomicTime,
    /// When a request of it was last refused, or counted as refused, if none was stored since.
    standing: AtomicTime,
    /// When a request of it was last abandoned, if none was stored since.
    abandoned: AtomicTime,
}

impl Sightings {
    /// For a replica that is seen now, and has been since `since_ms`.
    pub(crate) fn new(since_ms: i64, sighting: &Sighting<'_>) -> Self {
        Self {
            seen: AtomicTime::new(Some(sighting.now_ms)),
            since_ms: AtomicI64::new(since_ms),
            newest: AtomicTime::new(sighting.newest_ms),
            ..Self::none()
        }
    }

    /// For a replica that was not seen here.
    pub(crate) fn none() -> Self {
        Self {
            seen: AtomicTime::new(None),
            since_ms: AtomicI64::new(0),
            newest: AtomicTime::new(None),
            cadence: Cadence::default(),
            refused: AtomicTime::new(None),
            undelivered: AtomicTime::new(None),
            standing: AtomicTime::new(None),
            abandoned: AtomicTime::new(None),
        }
    }

    /// `elsewhere_ms`: when another tracker saw it last, if that is known.
    pub(crate) fn record(&self, sighting: &Sighting<'_>, elsewhere_ms: Option<i64>) {
        let now_ms = sighting.now_ms;
        let before = self.seen_ms();
        if before != Some(now_ms) {
            let gap_ms = before.map(|before| now_ms.saturating_sub(before));
            if gap_ms.is_none_or(|gap| gap > STEADY_GAP_MS) {
                self.since_ms.store(now_ms, Ordering::Relaxed);
            }
            // A sender that was refused waits as long as its back-off tells it, and one that another
            // tracker saw in the meantime was not silent: such gaps say nothing.
            let is_usual = self.refused.get() < before && elsewhere_ms <= before;
            if let Some(gap_ms) = gap_ms.filter(|_| is_usual) {
                self.cadence.add(gap_ms);
            }
            self.seen.set(Some(now_ms));
        }
        self.newest.set_if_changed(sighting.newest_ms);
    }

    /// As [`Sightings::record`], but never goes back in time.
    pub(crate) fn record_newer(&self, sighting: &Sighting<'_>, elsewhere_ms: Option<i64>) {
        if self.seen_ms().is_none_or(|seen| seen <= sighting.now_ms) {
            self.record(sighting, elsewhere_ms);
        }
    }

    /// A request of it is being forwarded.
    pub(crate) fn begin_delivery(&self, now_ms: i64) {
        self.undelivered.set_if_changed(Some(now_ms));
    }

    /// A request of it ended that began at `began_ms`.
    ///
    /// A connection that broke is no refusal: a sender that is alive tries again at once, or after
    /// seconds. Only the repetition of one that ended without being stored may be followed by a longer
    /// wait. Of requests that were open together, none is the repetition of another.
    pub(crate) fn end_delivery(&self, delivery: Delivery, began_ms: i64, now_ms: i64) {
        match delivery {
            Delivery::Settled => {
                self.undelivered.set_if_changed(None);
                self.standing.set_if_changed(None);
                self.abandoned.set_if_changed(None);
            }
            Delivery::Refused => self.refused_at(now_ms),
            Delivery::Abandoned => {
                let before_ms = self.abandoned.get();
                let is_repeated = before_ms.is_some_and(|before_ms| before_ms < began_ms);
                if is_repeated || self.standing.get().is_some() {
                    self.refused_at(now_ms);
                } else {
                    self.undelivered.set_if_changed(None);
                }
                self.abandoned.set_if_changed(Some(now_ms));
            }
        }
    }

    fn refused_at(&self, now_ms: i64) {
        self.refused.set_if_changed(Some(now_ms));
        self.undelivered.set_if_changed(Some(now_ms));
        self.standing.set_if_changed(Some(now_ms));
    }

    /// It was refused while it was not elected.
    pub(crate) fn note_refusal(&self, now_ms: i64) {
        self.refused.set_if_changed(Some(now_ms));
    }

    /// For its new part, elected or not: what is in flight was of the other one.
    pub(crate) fn for_new_part(&self) -> Self {
        let sightings = self.clone();
        sightings.undelivered.set(None);
        sightings.standing.set(None);
        sightings.abandoned.set(None);
        // Where senders are spread over trackers, those of a replica that is not elected are not known
        // to each other, so its cadence is over-estimated.
        sightings.cadence.doubt();
        sightings
    }

    /// When it was seen last, Unix ms.
    pub(crate) fn seen_ms(&self) -> Option<i64> {
        self.seen.get()
    }

    pub(crate) fn since_ms(&self) -> i64 {
        self.since_ms.load(Ordering::Relaxed)
    }

    /// The newest sample of the last request.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.newest.get()
    }

    /// How far its clock is ahead of ours, at least, ms; negative: its samples are this old when they
    /// arrive. By the newest sample of its last request.
    pub(crate) fn ahead_ms(&self) -> Option<i64> {
        Some(self.newest_ms()?.saturating_sub(self.seen_ms()?))
    }

    /// How often its requests come, ms; `None` before the second one.
    pub(crate) fn cadence_ms(&self) -> Option<i64> {
        self.cadence.get()
    }

    /// How often its requests come, and whether it was seen for long enough to rely on it.
    pub(crate) fn interval(&self) -> Option<SendInterval> {
        let usual_ms = u64::try_from(self.cadence_ms()?).ok()?;
        Some(SendInterval {
            usual: Duration::from_millis(usual_ms),
            is_established: self.cadence.is_established(),
        })
    }

    /// When it was refused last, Unix ms.
    pub(crate) fn refused_ms(&self) -> Option<i64> {
        self.refused.get()
    }

    /// When it was seen or answered with a refusal last, Unix ms.
    pub(crate) fn heard_ms(&self) -> Option<i64> {
        self.seen_ms().max(self.refused_ms())
    }

    /// Whether its last request was refused, or is still being forwarded.
    pub(crate) fn is_undelivered(&self) -> bool {
        self.undelivered.get().is_some()
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
            newest: AtomicTime::new(self.newest_ms()),
            cadence: self.cadence.clone(),
            refused: AtomicTime::new(self.refused_ms()),
            undelivered: AtomicTime::new(self.undelivered.get()),
            standing: AtomicTime::new(self.standing.get()),
            abandoned: AtomicTime::new(self.abandoned.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(newest_ms: Option<i64>, now_ms: i64) -> Sighting<'static> {
        Sighting {
            tenant: "t",
            cluster: "c",
            replica: "r",
            newest_ms,
            now_ms,
        }
    }

    fn seen_at(sightings: &Sightings, newest_ms: Option<i64>, now_ms: i64) {
        sightings.record(&at(newest_ms, now_ms), None);
    }

    #[test]
    fn steady_is_who_was_seen_over_a_span_without_a_gap() {
        let sightings = Sightings::new(1_000, &at(None, 1_000));
        assert!(!sightings.is_steady(1_000));
        seen_at(&sightings, None, 5_999);
        assert!(!sightings.is_steady(5_999));
        seen_at(&sightings, Some(7), 6_000);
        assert!(sightings.is_steady(6_000));
        assert_eq!(sightings.newest_ms(), Some(7));
        assert!(sightings.is_steady(6_000 + STEADY_GAP_MS));
        let late = 6_001 + STEADY_GAP_MS;
        assert!(!sightings.is_steady(late), "silent for too long");
        seen_at(&sightings, None, late);
        assert!(!sightings.is_steady(late), "it has to begin again");
        seen_at(&sightings, None, late + STEADY_AFTER_MS);
        assert!(sightings.is_steady(late + STEADY_AFTER_MS));
    }

    #[test]
    fn an_older_time_does_not_replace_a_newer_one_where_it_must_not() {
        let sightings = Sightings::new(10, &at(Some(9), 10));
        sightings.record_newer(&at(Some(1), 5), None);
        assert_eq!(
            (sightings.seen_ms(), sightings.newest_ms()),
            (Some(10), Some(9))
        );
        seen_at(&sightings, Some(1), 5);
        assert_eq!(
            (sightings.seen_ms(), sightings.newest_ms()),
            (Some(5), Some(1))
        );
    }

    #[test]
    fn gaps_of_a_back_off_or_with_requests_elsewhere_are_not_its_cadence() {
        let sightings = Sightings::new(0, &at(None, 0));
        (1..10).for_each(|step| seen_at(&sightings, None, step * 5_000));
        assert_eq!(sightings.cadence_ms(), Some(5_000));
        sightings.begin_delivery(45_000);
        assert!(sightings.is_undelivered());
        sightings.end_delivery(Delivery::Refused, 45_000, 47_000);
        assert_eq!(sightings.heard_ms(), Some(47_000));
        assert!(sightings.is_undelivered());
        seen_at(&sightings, None, 105_000);
        assert_eq!(sightings.cadence_ms(), Some(5_000));
        sightings.end_delivery(Delivery::Settled, 105_000, 105_001);
        assert!(!sightings.is_undelivered());
        sightings.record(&at(None, 165_000), Some(150_000));
        assert_eq!(sightings.cadence_ms(), Some(5_000));
        seen_at(&sightings, None, 175_000);
        assert!(sightings.cadence_ms() > Some(5_000));
    }

    #[test]
    fn a_connection_that_broke_is_no_refusal_unless_it_broke_again() {
        let sightings = Sightings::new(0, &at(None, 0));
        let open = |began_ms: i64| sightings.begin_delivery(began_ms);
        let abandon = |began_ms, now_ms| {
            sightings.end_delivery(Delivery::Abandoned, began_ms, now_ms);
            sightings.is_undelivered()
        };
        // Killed with requests of three shards open.
        (0..3).for_each(open);
        for began_ms in 0..3 {
            assert!(!abandon(began_ms, 2_000), "{began_ms}");
        }
        assert_eq!(sightings.refused_ms(), None);
        // It repeats one, and gives up again: the next wait may be long.
        open(2_500);
        assert!(abandon(2_500, 9_000));
        assert_eq!(sightings.refused_ms(), Some(9_000));
        open(20_000);
        sightings.end_delivery(Delivery::Settled, 20_000, 20_001);
        open(21_000);
        assert!(!abandon(21_000, 22_000), "all was well before");
        // What was refused stays so.
        open(23_000);
        sightings.end_delivery(Delivery::Refused, 23_000, 23_001);
        open(23_002);
        assert!(abandon(23_000, 24_000));
    }
}
