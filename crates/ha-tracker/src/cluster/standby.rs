//! The replicas of a cluster that are not elected, and which of them takes over when the elected
//! one goes silent.
//!
//! A cluster remembers a few. One that sends steadily keeps its place, and is elected before any
//! that was seen only once: a sender that makes up a name for each request can neither evict a
//! standby nor be elected before it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use smol_str::SmolStr;

use super::evicted::Evicted;
use super::sightings::Sightings;
use crate::check::Sighting;

/// Replicas that a cluster remembers besides the elected one. A place is 8 bytes of every cluster; a
/// replica in it takes 96 more, and its name if that is longer than 23 bytes.
const PLACES: usize = 4;
/// Attempts to take a place in competition with other requests. A replica for which all fail is
/// remembered at its next request.
const ATTEMPTS: usize = 2 * PLACES;

/// A replica that is not elected.
#[derive(Debug)]
pub(crate) struct Standby {
    pub(crate) replica: SmolStr,
    pub(crate) sightings: Sightings,
}

/// The places of a cluster. They are taken and freed without locks; a replica can have two for a
/// moment.
#[derive(Debug, Default)]
pub(crate) struct Standbys {
    places: [ArcSwapOption<Standby>; PLACES],
}

impl Standbys {
    /// Records a sighting. Without a lock, and without an allocation if the replica is remembered.
    pub(crate) fn observe(&self, sighting: &Sighting<'_>, evicted: &Evicted) {
        for _ in 0..ATTEMPTS {
            if self.record(sighting) || self.take_place(sighting, evicted) {
                return;
            }
        }
    }

    fn record(&self, sighting: &Sighting<'_>) -> bool {
        self.places.iter().any(|place| match &*place.load() {
            Some(known) if known.replica == sighting.replica => {
                known.sightings.record(sighting, None);
                true
            }
            _ => false,
        })
    }

    /// A request of this replica was refused, if it is remembered.
    pub(crate) fn refused(&self, replica: &str, now_ms: i64) {
        for place in &self.places {
            if let Some(known) = &*place.load()
                && known.replica == replica
            {
                known.sightings.note_refusal(now_ms);
            }
        }
    }

    /// Visits all remembered replicas, in no order; one can come twice.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Standby)) {
        for place in &self.places {
            if let Some(known) = &*place.load() {
                visit(known);
            }
        }
    }

    /// How many replicas but this one were seen at a time that counts.
    pub(crate) fn seen(&self, except: &str, counts: impl Fn(i64) -> bool) -> usize {
        let others = self.places.iter().filter(|place| {
            let known = place.load();
            let seen = known
                .as_ref()
                .filter(|known| known.replica != except)
                .and_then(|known| known.sightings.seen_ms());
            seen.is_some_and(&counts)
        });
        others.count()
    }

    /// False if another request was quicker.
    fn take_place(&self, sighting: &Sighting<'_>, evicted: &Evicted) -> bool {
        let now_ms = sighting.now_ms;
        let Some((place, before)) = self.least_worth(now_ms) else {
            return true;
        };
        let name = |replica| (sighting.tenant, sighting.cluster, replica);
        let since_ms = evicted
            .since_ms(name(sighting.replica), now_ms)
            .unwrap_or(now_ms);
        let standby = Arc::new(Standby {
            replica: sighting.replica.into(),
            sightings: Sightings::new(since_ms, sighting),
        });
        let replaced = place.compare_and_swap(&before, Some(standby));
        if !is_same(&before, &replaced) {
            return false;
        }
        if let Some(gone) = before
            && gone.sightings.is_recent(now_ms)
        {
            evicted.remember(name(&gone.replica), gone.sightings.since_ms());
        }
        true
    }

    /// The place to use, and its content: an empty one, or else that of the least recently seen
    /// replica that does not send steadily. `None` if all send steadily.
    fn least_worth(&self, now_ms: i64) -> Option<(&ArcSwapOption<Standby>, Option<Arc<Standby>>)> {
        let taken = self.places.iter().map(|place| (place, place.load_full()));
        taken
            .filter(|(_, known)| {
                !known
                    .as_ref()
                    .is_some_and(|known| known.sightings.is_steady(now_ms))
            })
            .min_by_key(|(_, known)| known.as_ref().and_then(|known| known.sightings.seen_ms()))
    }

    /// All remembered replicas, the next to be elected first: the one that has sent steadily for
    /// the longest time, then the one that was seen last.
    pub(crate) fn in_order(&self, now_ms: i64) -> Vec<Arc<Standby>> {
        let mut all: Vec<Arc<Standby>> = Vec::new();
        for place in &self.places {
            if let Some(known) = &*place.load()
                && !all.iter().any(|other| other.replica == known.replica)
            {
                all.push(Arc::clone(known));
            }
        }
        all.sort_by_cached_key(|standby| {
            let sightings = &standby.sightings;
            if sightings.is_steady(now_ms) {
                (false, sightings.since_ms())
            } else {
                (true, sightings.seen_ms().map_or(0, i64::saturating_neg))
            }
        });
        all
    }

    /// Removes a replica because it is elected now; returns its sightings.
    pub(crate) fn remove(&self, replica: &str) -> Option<Sightings> {
        let mut found = None;
        for place in &self.places {
            let known = place.load_full();
            if let Some(standby) = &known
                && standby.replica == replica
            {
                // If another request was faster, it is removed all the same.
                place.compare_and_swap(&known, None);
                found = Some(standby.sightings.for_new_part());
            }
        }
        found
    }

    /// Remembers the replica that was elected until now, if it was seen here.
    pub(crate) fn put(&self, replica: &SmolStr, sightings: &Sightings) {
        let Some(seen_ms) = sightings.seen_ms() else {
            return;
        };
        if let Some((place, _)) = self.least_worth(seen_ms) {
            place.store(Some(Arc::new(Standby {
                replica: replica.clone(),
                sightings: sightings.for_new_part(),
            })));
        }
    }
}

fn is_same(a: &Option<Arc<Standby>>, b: &Option<Arc<Standby>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sightings::{STEADY_AFTER_MS, STEADY_GAP_MS};

    const NOW: i64 = 1_700_000_000_000;

    #[derive(Default)]
    struct Seen {
        standbys: Standbys,
        evicted: Evicted,
    }

    impl Seen {
        fn see(&self, replica: &str, now_ms: i64) {
            let sighting = Sighting {
                tenant: "t",
                cluster: "c",
                replica,
                newest_ms: Some(now_ms - 1),
                now_ms,
            };
            self.standbys.observe(&sighting, &self.evicted);
        }

        fn names(&self, now_ms: i64) -> Vec<String> {
            let all = self.standbys.in_order(now_ms);
            all.iter().map(|known| known.replica.to_string()).collect()
        }
    }

    #[test]
    fn a_steady_replica_keeps_its_place_however_many_others_come_once() {
        let seen = Seen::default();
        for second in 0..60 {
            let now_ms = NOW + second * 1000;
            if second % 15 == 0 {
                seen.see("standby", now_ms);
            }
            if second < 15 {
                continue;
            }
            for other in 0..100 {
                seen.see(&format!("once-{second}-{other}"), now_ms + other);
                assert_eq!(seen.names(now_ms + other)[0], "standby");
            }
        }
        let names = seen.names(NOW + 60_000);
        let last = ["once-59-99", "once-59-98", "once-59-97"];
        assert_eq!(names, [&["standby"], &last[..]].concat());
    }

    #[test]
    fn a_replica_that_begins_among_others_that_come_once_is_known_to_be_steady_soon() {
        let seen = Seen::default();
        for other in 0..1500 {
            if other == 100 {
                seen.see("standby", NOW + 1_000);
            }
            seen.see(&format!("once-{other}"), NOW + other * 10);
        }
        assert!(!seen.names(NOW + 15_000).contains(&"standby".into()));
        seen.see("standby", NOW + 16_000);
        let first = seen.standbys.in_order(NOW + 16_000).remove(0);
        assert_eq!(first.replica, "standby");
        assert_eq!(first.sightings.since_ms(), NOW + 1_000);
        assert_eq!(first.sightings.newest_ms(), Some(NOW + 15_999));
    }

    #[test]
    fn who_has_sent_steadily_for_longest_comes_first_and_goes_when_silent() {
        let seen = Seen::default();
        for (index, replica) in ["r1", "r2", "r3", "r4", "r5"].into_iter().enumerate() {
            seen.see(replica, NOW + index as i64);
            if index < 4 {
                seen.see(replica, NOW + 10_000 - index as i64);
            }
        }
        // r5 came to four who were not known to be steady, r1 was seen longest ago.
        assert_eq!(seen.names(NOW + 10_000), ["r1", "r2", "r3", "r4"]);
        let later = NOW + 10_001 + STEADY_GAP_MS;
        seen.see("r5", later);
        assert_eq!(seen.names(later), ["r5", "r1", "r2", "r3"]);
        seen.see("r6", later);
        assert_eq!(seen.names(later).len(), PLACES);
    }

    #[test]
    fn requests_at_once_lose_no_steady_replica() {
        let seen = Seen::default();
        seen.see("standby", NOW);
        seen.see("standby", NOW + STEADY_AFTER_MS);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let seen = &seen;
                scope.spawn(move || {
                    for step in 0..2_000 {
                        let now_ms = NOW + STEADY_AFTER_MS + step;
                        if step % 10 == 0 {
                            seen.see("standby", now_ms);
                        }
                        seen.see(&format!("once-{thread}-{step}"), now_ms);
                    }
                });
            }
        });
        let all = seen.standbys.in_order(NOW + STEADY_AFTER_MS);
        assert_eq!(all[0].replica, "standby");
        assert!(all[0].sightings.seen_ms() >= Some(NOW + STEADY_AFTER_MS + 1_980));
    }

    #[test]
    fn an_elected_replica_leaves_its_place_and_comes_back_with_what_is_known_of_it() {
        let seen = Seen::default();
        seen.see("r1", NOW);
        seen.see("r1", NOW + 6_000);
        let known = seen.standbys.remove("r1").unwrap();
        assert_eq!(seen.names(NOW), Vec::<String>::new());
        assert!(seen.standbys.remove("r1").is_none());
        seen.standbys.put(&"r1".into(), &known);
        assert_eq!(seen.names(NOW), ["r1"]);
        assert!(
            seen.standbys.in_order(NOW + 6_000)[0]
                .sightings
                .is_steady(NOW + 6_000)
        );
        seen.standbys.put(&"unseen".into(), &Sightings::none());
        assert_eq!(seen.names(NOW), ["r1"]);
    }
}
