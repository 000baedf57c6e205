//! Which distributors are alive: each publishes a heartbeat, one for all its clusters.

use std::collections::BTreeMap;

use smol_str::SmolStr;

/// What one distributor knows about the heartbeats of all. Bounded by the instances whose heartbeats
/// are stored; [`Fleet::forget`] is called when one is deleted.
#[derive(Debug)]
pub struct Fleet {
    me: SmolStr,
    dead_after_ms: i64,
    heard: BTreeMap<SmolStr, Heard>,
    own_ms: i64,
    /// Since when the own heartbeats have been confirmed without a pause.
    steady_ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    /// The time in the heartbeat, by its writer's clock.
    beat_ms: i64,
    /// When it arrived, by ours.
    at_ms: i64,
}

impl Fleet {
    /// A fleet in which `me` has begun at `now_ms`. An instance without a heartbeat for
    /// `dead_after_ms` is considered dead.
    pub fn new(me: impl Into<SmolStr>, dead_after_ms: i64, now_ms: i64) -> Self {
        Self {
            me: me.into(),
            dead_after_ms,
            heard: BTreeMap::new(),
            own_ms: now_ms,
            steady_ms: now_ms,
        }
    }

    /// This instance.
    pub fn me(&self) -> &SmolStr {
        &self.me
    }

    /// A heartbeat of an instance was seen in the store.
    pub fn heard(&mut self, instance: &str, beat_ms: i64, now_ms: i64) {
        let at = Heard {
            beat_ms,
            at_ms: now_ms,
        };
        match self.heard.get_mut(instance) {
            Some(known) if known.beat_ms < beat_ms => *known = at,
            Some(_) => {}
            None => {
                self.heard.insert(instance.into(), at);
            }
        }
    }

    /// The heartbeat of an instance was deleted.
    pub fn forget(&mut self, instance: &str) {
        self.heard.remove(instance);
    }

    /// The store has confirmed a heartbeat of this instance, which was begun at `begun_ms`.
    pub fn confirmed(&mut self, begun_ms: i64) {
        // After an outage of the store, all others are as silent as this one was.
        if self.is_cut_off(begun_ms) {
            self.steady_ms = begun_ms;
        }
        self.own_ms = self.own_ms.max(begun_ms);
    }

    /// Time since the last confirmed heartbeat of this instance, ms.
    pub fn own_silence_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.own_ms)
    }

    /// Whether this instance itself is close to being considered dead by others: then it can judge
    /// no other, and must stop a replay.
    pub fn is_cut_off(&self, now_ms: i64) -> bool {
        self.own_silence_ms(now_ms) > self.dead_after_ms / 2
    }

    /// Until when this instance is not cut off, Unix ms, if its heart stops now.
    pub(crate) fn own_until_ms(&self) -> i64 {
        self.own_ms.saturating_add(self.dead_after_ms / 2)
    }

    /// Whether an instance is considered dead. One that was never heard of is counted from
    /// `since_ms` on.
    pub fn is_dead(&self, instance: &str, since_ms: i64, now_ms: i64) -> bool {
        if instance == self.me || self.is_cut_off(now_ms) {
            return false;
        }
        let seen_ms = self
            .heard
            .get(instance)
            .map_or(since_ms, |known| known.at_ms);
        now_ms.saturating_sub(seen_ms.max(self.steady_ms)) > self.dead_after_ms
    }

    /// The latest time at which an instance considered dead can have accepted anything, by its
    /// clock; `None` if it was never heard of.
    pub(crate) fn last_act_ms(&self, instance: &str) -> Option<i64> {
        let known = self.heard.get(instance)?;
        Some(known.beat_ms.saturating_add(self.dead_after_ms))
    }

    /// Instances whose last heartbeat is older than `age_ms`: their records can be deleted.
    pub fn gone(&self, age_ms: i64, now_ms: i64) -> impl Iterator<Item = &SmolStr> {
        let is_gone = move |known: &Heard| now_ms.saturating_sub(known.at_ms) > age_ms;
        let cut_off = self.is_cut_off(now_ms);
        let others = self.heard.iter().filter(|(name, _)| **name != self.me);
        others.filter_map(move |(name, known)| (!cut_off && is_gone(known)).then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_dead_when_its_heartbeat_stops_not_when_its_clock_is_behind() {
        let mut fleet = Fleet::new("a", 10_000, 0);
        fleet.heard("b", -50_000, 1_000);
        for at_ms in (2_000..=10_000).step_by(2_000) {
            fleet.confirmed(at_ms);
        }
        assert!(!fleet.is_dead("b", 0, 11_000));
        // The same heartbeat again says nothing.
        fleet.heard("b", -50_000, 9_000);
        fleet.confirmed(11_001);
        assert!(fleet.is_dead("b", 0, 11_001));
        assert_eq!(fleet.last_act_ms("b"), Some(-40_000));
        fleet.heard("b", -40_000, 11_002);
        assert!(!fleet.is_dead("b", 0, 11_002));
    }

    #[test]
    fn an_instance_that_was_never_heard_of_is_given_time() {
        let mut fleet = Fleet::new("a", 10_000, 0);
        for at_ms in (2_000..=44_000).step_by(2_000) {
            fleet.confirmed(at_ms);
        }
        assert!(!fleet.is_dead("b", 35_000, 45_000));
        assert!(fleet.is_dead("b", 34_999, 45_000));
    }

    #[test]
    fn one_that_is_cut_off_judges_no_other() {
        let mut fleet = Fleet::new("a", 10_000, 0);
        fleet.heard("b", 0, 0);
        assert!(fleet.is_cut_off(5_001));
        assert!(!fleet.is_dead("b", 0, 50_000));
        assert_eq!(fleet.gone(10_000, 50_000).count(), 0);
        // After an outage of the store, another may be as late as this one.
        fleet.confirmed(50_000);
        assert!(!fleet.is_dead("b", 0, 50_000));
        for at_ms in (51_000..=60_001).step_by(1_000).chain([60_001]) {
            fleet.confirmed(at_ms);
        }
        assert!(fleet.is_dead("b", 0, 60_001));
        assert_eq!(fleet.gone(10_000, 50_000).count(), 1);
        fleet.forget("b");
        assert_eq!(fleet.gone(10_000, 50_000).count(), 0);
        assert!(!fleet.is_dead("a", 0, 50_000));
    }
}
