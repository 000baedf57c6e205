//! How often the requests of a replica come, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};

/// Gaps below this are within one burst: the shards of a sender send at once, ms.
const BURST_MS: i64 = 100;
/// Longest cadence that is learned, ms. Two and a half of these are less than the 30 minutes after
/// which an entry that is not refreshed is cleaned up.
pub(crate) const LONGEST_MS: i64 = 10 * 60_000;
/// The estimate covers this many of its own length, and [`MEMORY_MS`] at least: older gaps fade out.
const MEMORY: i64 = 8;
const MEMORY_MS: i64 = 60_000;
/// Once it covers this many of its own length, and [`MEMORY_MS`], a single gap moves the estimate by
/// two fifths at most: a restart or a lost connection is not how the sender sends.
const ESTABLISHED: i64 = 4;

/// The mean gap between two requests, each weighed by its length: the gap in which a random moment
/// lies. So a sender with two targets that are scraped every minute, ten seconds apart, has a cadence
/// of 43 s, not of 30 s, and a burst of fifty requests a minute one of 60 s: what matters is how long
/// silence is normal.
///
/// Two halves: the estimate, and the time that it covers, ms each. Zero: unknown.
#[derive(Debug, Default)]
pub(crate) struct Cadence(AtomicU64);

impl Cadence {
    /// The estimate, ms; `None` before the second request.
    pub(crate) fn get(&self) -> Option<i64> {
        let (mean_ms, _) = self.parts();
        Some(mean_ms).filter(|mean_ms| *mean_ms > 0)
    }

    /// Whether it covers enough time to be relied on.
    pub(crate) fn is_established(&self) -> bool {
        let (mean_ms, covers_ms) = self.parts();
        mean_ms > 0 && covers_ms >= MEMORY_MS.max(ESTABLISHED * mean_ms)
    }

    /// Takes a gap between two requests into account. Of two threads at once, one may be lost.
    pub(crate) fn add(&self, gap_ms: i64) {
        if gap_ms < BURST_MS {
            return;
        }
        let (mean_ms, covers_ms) = self.parts();
        let mut gap_ms = gap_ms.min(LONGEST_MS);
        if covers_ms >= MEMORY_MS.max(ESTABLISHED * mean_ms) {
            gap_ms = gap_ms.min(2 * mean_ms);
        }
        let total_ms = covers_ms + gap_ms;
        let mean_ms = (mean_ms * covers_ms + gap_ms * gap_ms) / total_ms;
        self.set(mean_ms, total_ms.min(MEMORY_MS.max(MEMORY * mean_ms)));
    }

    /// Keeps the estimate, but lets the next gaps replace it soon.
    pub(crate) fn doubt(&self) {
        let (mean_ms, covers_ms) = self.parts();
        self.set(mean_ms, covers_ms.min(mean_ms / 4));
    }

    fn parts(&self) -> (i64, i64) {
        let both = self.0.load(Ordering::Relaxed);
        let low = both & u64::from(u32::MAX);
        ((both >> 32).cast_signed(), low.cast_signed())
    }

    /// Neither exceeds 80 minutes, so each fits its half.
    fn set(&self, mean_ms: i64, covers_ms: i64) {
        let both = (mean_ms.cast_unsigned() << 32) | covers_ms.cast_unsigned();
        self.0.store(both, Ordering::Relaxed);
    }
}

impl Clone for Cadence {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The estimate after these gaps, repeated, seconds.
    fn learned(gaps_s: &[f64], times: usize) -> f64 {
        let cadence = Cadence::default();
        for _ in 0..times {
            gaps_s
                .iter()
                .for_each(|gap| cadence.add((gap * 1000.0) as i64));
        }
        cadence.get().map_or(0.0, |ms| ms as f64 / 1000.0)
    }

    #[track_caller]
    fn about(actual: f64, expected: f64) {
        let off = (actual - expected).abs() / expected;
        assert!(off < 0.12, "{actual}, not {expected}");
    }

    #[test]
    fn a_regular_sender_is_known_by_its_second_request() {
        assert_eq!(Cadence::default().get(), None);
        about(learned(&[60.0], 1), 60.0);
        about(learned(&[5.0], 1_000), 5.0);
        about(learned(&[0.2], 1_000), 0.2);
    }

    #[test]
    fn what_counts_is_the_silence_that_is_usual() {
        about(learned(&[10.0, 50.0], 50), 43.3);
        let mut burst = vec![0.05; 49];
        burst.push(60.0);
        about(learned(&burst, 5), 60.0);
        let mut slow_burst = vec![0.2; 49];
        slow_burst.push(60.0);
        assert!(learned(&slow_burst, 20) > 45.0);
    }

    #[test]
    fn one_long_gap_moves_an_established_estimate_a_little_and_a_new_habit_replaces_it() {
        let cadence = Cadence::default();
        (0..3).for_each(|_| cadence.add(15_000));
        assert!(!cadence.is_established());
        (0..17).for_each(|_| cadence.add(15_000));
        assert!(cadence.is_established());
        cadence.add(300_000);
        let after = cadence.get().unwrap();
        assert!((15_000..=20_000).contains(&after), "{after}");
        (0..20).for_each(|_| cadence.add(60_000));
        about(cadence.get().unwrap() as f64, 60_000.0);
        (0..200).for_each(|_| cadence.add(5_000));
        about(cadence.get().unwrap() as f64, 5_000.0);
    }

    #[test]
    fn a_doubted_estimate_follows_the_next_gaps() {
        let cadence = Cadence::default();
        (0..20).for_each(|_| cadence.add(60_000));
        cadence.doubt();
        assert!(!cadence.is_established());
        assert_eq!(cadence.get(), Some(60_000));
        (0..30).for_each(|_| cadence.add(5_000));
        let after = cadence.get().unwrap();
        assert!(after < 12_000, "{after}");
    }

    #[test]
    fn absurd_gaps_do_not_overflow() {
        let cadence = Cadence::default();
        for gap in [i64::MAX, i64::MIN, 0, -1, i64::MAX] {
            cadence.add(gap);
        }
        assert_eq!(cadence.get(), Some(LONGEST_MS));
    }
}
