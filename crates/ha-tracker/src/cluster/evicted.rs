//! Replicas that were evicted from a cluster's standbys, and since when they had been seen.
//!
//! A sender whose replica name changes with each request fills the places of a cluster with four
//! requests. Without a longer memory, a replica that begins to send then would be new at each
//! request and never be known to send steadily.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

use super::sightings::STEADY_GAP_MS;

/// Names remembered for all clusters together, 8 bytes each: 512 KiB, allocated at the first
/// eviction. Enough for a replica that sends every 15 s among 1,000 other names a second.
const PLACES: usize = 1 << 16;
/// Bits of a slot that hold a time, in seconds (it wraps around after 194 days); the others are
/// part of the hash.
const TIME_BITS: u64 = (1 << 24) - 1;

/// A table of hashes. A new entry may replace an older one; in one of 10^12 cases an entry that is
/// found belongs to another name.
#[derive(Debug, Default)]
pub(crate) struct Evicted {
    places: OnceLock<Box<[AtomicU64]>>,
    hasher: RandomState,
}

impl Evicted {
    pub(crate) fn remember(&self, name: (&str, &str, &str), since_ms: i64) {
        let places = self
            .places
            .get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        let hash = self.hasher.hash_one(name);
        if let Some(place) = places.get(index(hash)) {
            place.store(hash & !TIME_BITS | seconds(since_ms), Ordering::Relaxed);
        }
    }

    /// Since when this replica has been seen, if it was evicted recently.
    pub(crate) fn since_ms(&self, name: (&str, &str, &str), now_ms: i64) -> Option<i64> {
        let places = self.places.get()?;
        let hash = self.hasher.hash_one(name);
        let place = places.get(index(hash))?.load(Ordering::Relaxed);
        if place & !TIME_BITS != hash & !TIME_BITS {
            return None;
        }
        let age_s = seconds(now_ms).wrapping_sub(place & TIME_BITS) & TIME_BITS;
        let age_ms = i64::try_from(age_s).ok()?.checked_mul(1000)?;
        (age_ms <= STEADY_GAP_MS).then(|| now_ms.saturating_sub(age_ms))
    }
}

/// The bits that are not stored select the slot.
fn index(hash: u64) -> usize {
    (hash & TIME_BITS) as usize % PLACES
}

fn seconds(time_ms: i64) -> u64 {
    time_ms.div_euclid(1000).cast_unsigned() & TIME_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_500;

    #[test]
    fn a_name_is_known_for_as_long_as_a_gap_may_be() {
        let evicted = Evicted::default();
        let name = ("t", "c", "r");
        assert_eq!(evicted.since_ms(name, NOW), None);
        evicted.remember(name, NOW);
        assert_eq!(evicted.since_ms(name, NOW), Some(NOW));
        let later = NOW + 15_000;
        assert_eq!(evicted.since_ms(name, later), Some(NOW));
        for other in [("t2", "c", "r"), ("t", "c2", "r"), ("t", "c", "r2")] {
            assert_eq!(evicted.since_ms(other, NOW), None, "{other:?}");
        }
        assert_eq!(evicted.since_ms(name, NOW + STEADY_GAP_MS + 1000), None);
    }

    #[test]
    fn a_name_is_found_among_many_later_ones() {
        let evicted = Evicted::default();
        let found = (0..100).filter(|round| {
            let name = ("t", "c", &*format!("steady-{round}"));
            evicted.remember(name, NOW);
            for other in 0..1_000 {
                evicted.remember(("t", "c", &format!("r-{round}-{other}")), NOW);
            }
            evicted.since_ms(name, NOW) == Some(NOW)
        });
        // A thousand of 65,536 places are taken by others: 98 or 99 in the mean.
        assert!(found.count() > 80);
    }
}
