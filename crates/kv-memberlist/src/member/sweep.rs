//! Takes over entries that no live member publishes, and withdraws copies that are not needed.

use std::sync::Arc;
use std::time::Duration;

use kv_core::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::engine::{Copies, Engine, MemberId};
use crate::status::MemberState;
use crate::view::entry::fingerprint;
use crate::view::{Holder, OwnCopy, Swept, View};

/// Sweeps continue for this long after a member is gone.
const SWEEP_AFTER_LOSS: Duration = Duration::from_secs(3);

/// Time between two sweeps in a stable cluster, for anything that was missed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// A sweep reads every copy and blocks gossip and elections in the meantime. The pause before the
/// next one is this many times as long.
pub(super) const SWEEP_SHARE: u32 = 9;

/// Time between two withdrawals of what is superseded or long deleted. In between, the version from
/// which the engine can report changes does not move: whenever it moves, a joiner that receives a
/// large map in many parts has to start again.
pub(super) const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// An entry that the member chosen for it has not taken over in this time is taken over by all.
const CHOSEN_TIMEOUT: Duration = Duration::from_secs(5);

/// When to search for entries that no member publishes.
pub(super) struct Schedule {
    last: Instant,
    /// How long the last one took.
    took: Duration,
    until: Instant,
    orphans_since: Option<Instant>,
}

impl Schedule {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            last: now,
            took: Duration::ZERO,
            until: now,
            orphans_since: None,
        }
    }

    /// A member has gone.
    pub(super) fn member_went(&mut self) {
        self.until = Instant::now() + SWEEP_AFTER_LOSS;
    }

    pub(super) fn is_due(&self) -> bool {
        let wanted = self.orphans_since.is_some()
            || Instant::now() < self.until
            || self.last.elapsed() >= SWEEP_INTERVAL;
        wanted && self.last.elapsed() >= self.took * SWEEP_SHARE
    }

    /// Whether orphans have waited so long that any member takes them over.
    pub(super) fn any_member_takes(&self) -> bool {
        self.orphans_since
            .is_some_and(|since| since.elapsed() >= CHOSEN_TIMEOUT)
    }

    /// A sweep has found so many orphans.
    pub(super) fn found(&mut self, orphans: usize, took: Duration) {
        (self.last, self.took) = (Instant::now(), took);
        self.orphans_since = match (orphans, self.orphans_since) {
            (0, _) => None,
            (_, Some(since)) => Some(since),
            (_, None) => Some(self.last),
        };
    }
}

/// Maintains copies: takes over orphans, and drops own copies that are not needed.
pub(super) struct Sweeper<V> {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) view: Arc<View<V>>,
    /// Of this member.
    pub(super) name: String,
    /// How long tombstones are kept.
    pub(super) keep: Duration,
    /// How long they are kept while members that are gone are remembered.
    pub(super) keep_for_gone: Duration,
}

impl<V: Value> Sweeper<V> {
    /// Takes over entries that no live member publishes if this member is the one to do so (it is
    /// the chosen one, or `any_member_takes`), and drops copies that others publish as well;
    /// returns the number of orphans.
    pub(super) async fn sweep(&self, any_member_takes: bool) -> usize {
        let members = self.engine.members();
        let (holding, active) = (members.holding(), members.active());
        // A joining or leaving member takes nothing over.
        let takes_part = self.engine.own_state() == MemberState::Active;
        let keep = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let tombstones_since = crate::clock::now_ms().saturating_sub(keep);
        let take = |key: &str, again: bool| {
            takes_part && again && (any_member_takes || is_chosen(&self.name, &active, key))
        };
        let mut swept = Swept::default();
        self.engine
            .visit(&mut |copies| {
                let mut sweep = self.view.sweep();
                copies.for_each(&|id| holding.contains(id), &mut |id, key, text| {
                    sweep.held(holder(id, copies), key, text);
                });
                swept = sweep.adopt_orphans(tombstones_since, take);
            })
            .await;
        let mut redundant = std::mem::take(&mut swept.redundant);
        if !redundant.is_empty() {
            self.engine
                .withdraw(&mut |copies| {
                    let own = self.view.still_own(std::mem::take(&mut redundant));
                    let is_before = |id: &MemberId| {
                        holder(id, copies) == Holder::Before && holding.contains(id)
                    };
                    let (withdrawn, _) = split(copies, own, is_before);
                    self.view.dropped_own(&withdrawn);
                    withdrawn
                })
                .await;
        }
        swept.orphans
    }

    /// Drops own copies that are superseded, and tombstones that every member has seen.
    pub(super) async fn tidy(&self) {
        let members = self.engine.members();
        let holding = members.holding();
        self.engine
            .withdraw(&mut |copies| {
                // Half as long as tombstones, so that no copy from before a deletion outlives the
                // tombstone.
                let superseded = self.view.long_superseded(self.keep / 2);
                let (withdrawn, kept) = split(copies, superseded, |id| holding.contains(id));
                self.view.dropped_own(&withdrawn);
                self.view.still_superseded(kept);
                withdrawn
            })
            .await;
        // A member that is gone but still remembered may come back with the old value.
        let age = if members.remembers_gone() {
            self.keep.max(self.keep_for_gone)
        } else {
            self.keep
        };
        self.engine
            .forget(&mut || self.view.expire_tombstones(age))
            .await;
    }
}

/// The number of this member's values that none of these members publishes.
pub(super) async fn missing<V: Value>(
    engine: &dyn Engine,
    view: &View<V>,
    of: impl Fn(&MemberId) -> bool + Send + Sync,
) -> usize {
    let mut missing = 0;
    engine
        .visit(&mut |copies| {
            let mut sweep = view.sweep();
            copies.for_each(&of, &mut |id, key, text| {
                sweep.held(holder(id, copies), key, text);
            });
            missing = sweep.missing();
        })
        .await;
    missing
}

fn holder(id: &MemberId, copies: &dyn Copies) -> Holder {
    if id < copies.own_id() {
        Holder::Before
    } else {
        Holder::Other
    }
}

/// The keys of these copies: first of those whose entry another counted member (`counts`) also
/// publishes, then of the rest.
fn split(
    copies: &dyn Copies,
    own: Vec<OwnCopy>,
    counts: impl Fn(&MemberId) -> bool,
) -> (Vec<String>, Vec<String>) {
    let is_held = |copy: &OwnCopy| {
        copies.any_other(&copy.key, &|id, text| {
            counts(id) && fingerprint(text) == Some(copy.fingerprint)
        })
    };
    let (held, kept): (Vec<_>, Vec<_>) = own.into_iter().partition(is_held);
    let keys = |copies: Vec<OwnCopy>| copies.into_iter().map(|copy| copy.key).collect();
    (keys(held), keys(kept))
}

/// Whether `own` is the member that takes over `key`: the one for which the hash of name and key is
/// highest. Members that agree on the active members choose the same one for each key.
fn is_chosen(own: &str, active: &[MemberId], key: &str) -> bool {
    let weight = |name: &str| {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([0])
            .chain_update(key);
        hash.finalize()
    };
    let ours = (weight(own), own);
    active.iter().all(|id| {
        let name: &str = &id.name;
        (weight(name), name) <= ours
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_takes_long_is_not_followed_by_another_at_once() {
        let mut sweeps = Schedule::new();
        assert!(!sweeps.is_due());
        sweeps.member_went();
        assert!(sweeps.is_due());
        let took = Duration::from_millis(200);
        for _ in 0..3 {
            sweeps.found(1, took);
            tokio::time::advance(took * SWEEP_SHARE - Duration::from_millis(1)).await;
            assert!(!sweeps.is_due());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(sweeps.is_due());
        }
        sweeps.found(0, took);
        tokio::time::advance(SWEEP_INTERVAL - Duration::from_millis(1)).await;
        assert!(!sweeps.is_due());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(sweeps.is_due());
    }
}
