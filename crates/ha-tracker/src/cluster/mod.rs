//! A tracker's knowledge of one cluster: the elected replica, the other senders, and since when.
//! Read and recorded without locks.

mod cadence;
mod evicted;
mod failover_wait;
mod sightings;
mod standby;
mod stretch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::ReplicaDesc;
use crate::atomic_time::AtomicTime;
use crate::check::Sighting;
use crate::delivery::Delivery;

pub(crate) use evicted::Evicted;
pub(crate) use failover_wait::FailoverWait;
pub use sightings::SendInterval;
pub(crate) use sightings::Sightings;
pub(crate) use standby::{Standby, Standbys};
pub(crate) use stretch::Stretch;

/// A cluster of which only one replica was seen for this long has lost its redundancy, ms: longer than
/// the restart of a replica, or the move of its node.
pub(crate) const REDUNDANCY_MS: i64 = 15 * 60_000;

/// One tracked cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    elected: ArcSwap<Elected>,
    /// Replicas that are not elected and were seen here.
    pub(crate) standbys: Standbys,
    /// How often the elected replica changed in this cache, the first election included.
    pub(crate) changes: AtomicU64,
    /// Compare-and-swaps of this process.
    pub(crate) cas: AtomicU64,
    /// Samples of this cluster that were dropped because their replica was not elected.
    pub(crate) deduplicated_samples: AtomicU64,
    /// Whether the failover waits for other trackers after an outage of the store.
    pub(crate) failover_wait: FailoverWait,
    /// The latest time that this process wrote for the elected replica.
    written: AtomicTime,
    /// Since when the surveys of this process have known the cluster.
    known_since: AtomicTime,
}

/// The stored entry, and when we saw its replica ourselves. Replaced together, so that a sighting
/// of one replica never counts for its successor.
#[derive(Debug)]
pub(crate) struct Elected {
    pub(crate) replica: SmolStr,
    pub(crate) sightings: Sightings,
    pub(crate) received_at: i64,
    pub(crate) elected_at: i64,
    pub(crate) elected_changes: i64,
    /// When another tracker saw it last, as far as is known here.
    elsewhere_ms: Option<i64>,
    /// When its first request since it is elected arrived here.
    first: AtomicTime,
    /// What was stored of it by this process.
    pub(crate) stretch: Stretch,
}

impl Elected {
    fn new(
        desc: &ReplicaDesc,
        sightings: Sightings,
        elsewhere_ms: Option<i64>,
        stretch: Stretch,
    ) -> Self {
        Self {
            replica: desc.replica.as_str().into(),
            sightings,
            elsewhere_ms,
            first: AtomicTime::new(None),
            stretch,
            received_at: desc.received_at,
            elected_at: desc.elected_at,
            elected_changes: desc.elected_changes,
        }
    }

    /// The stored entry. Entries marked for deletion are not in the cache.
    pub(crate) fn desc(&self) -> ReplicaDesc {
        ReplicaDesc {
            replica: self.replica.to_string(),
            received_at: self.received_at,
            deleted_at: 0,
            elected_at: self.elected_at,
            elected_changes: self.elected_changes,
        }
    }

    /// When its first request since it is elected arrived here, Unix ms.
    pub(crate) fn first_ms(&self) -> Option<i64> {
        self.first.get()
    }

    fn holds(&self, desc: &ReplicaDesc) -> bool {
        self.replica == desc.replica
            && (self.received_at, self.elected_at, self.elected_changes)
                == (desc.received_at, desc.elected_at, desc.elected_changes)
    }
}

/// How a new description changes the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    None,
    /// The same replica, by another election.
    ElectedAgain,
    OtherReplica,
}

impl Cluster {
    pub(crate) fn new(desc: &ReplicaDesc) -> Self {
        Self {
            elected: ArcSwap::from_pointee(Elected::new(
                desc,
                Sightings::none(),
                None,
                Stretch::of_first(),
            )),
            standbys: Standbys::default(),
            changes: AtomicU64::new(1),
            cas: AtomicU64::new(0),
            deduplicated_samples: AtomicU64::new(0),
            failover_wait: FailoverWait::default(),
            written: AtomicTime::new(None),
            known_since: AtomicTime::new(None),
        }
    }

    /// A request of this replica is being forwarded, if it is elected.
    pub(crate) fn begin_delivery(&self, replica: &str, now_ms: i64) {
        let elected = self.elected.load();
        if elected.replica == replica {
            elected.sightings.begin_delivery(now_ms);
        }
    }

    /// A request of this replica ended so.
    pub(crate) fn end_delivery(
        &self,
        replica: &str,
        delivery: Delivery,
        began_ms: i64,
        now_ms: i64,
    ) {
        let elected = self.elected.load();
        if elected.replica == replica {
            elected.sightings.end_delivery(delivery, began_ms, now_ms);
        } else if delivery == Delivery::Refused {
            self.standbys.refused(replica, now_ms);
        }
    }

    /// Samples of this replica up to this time are stored. Returns whether they are the first ones of
    /// a replica that succeeded another.
    pub(crate) fn stored(&self, replica: &str, newest_ms: i64) -> bool {
        let elected = self.elected.load();
        elected.replica == replica && elected.stretch.stored(newest_ms)
    }

    /// When the elected replica was seen, Unix ms: here, or by the tracker that stored the time, unless
    /// this process stored it while the replica was silent.
    pub(crate) fn elected_seen_ms(&self) -> i64 {
        let elected = self.elected.load();
        match elected.sightings.seen_ms() {
            Some(seen_ms) if Some(elected.received_at) == self.written.get() => seen_ms,
            Some(seen_ms) => seen_ms.max(elected.received_at),
            None => elected.received_at,
        }
    }

    /// How many replicas were seen within [`REDUNDANCY_MS`]: here, and the elected one by others.
    pub(crate) fn replicas_seen(&self, now_ms: i64) -> usize {
        let is_seen = |seen_ms: i64| now_ms.saturating_sub(seen_ms) <= REDUNDANCY_MS;
        let elected = self.elected.load();
        let others = self.standbys.seen(&elected.replica, is_seen);
        others + usize::from(is_seen(self.elected_seen_ms()))
    }

    /// Whether only the elected replica has been seen here for [`REDUNDANCY_MS`]. A tracker that sees
    /// none of the cluster's replicas knows nothing about its redundancy.
    pub(crate) fn has_lost_redundancy(&self, now_ms: i64) -> bool {
        let is_long = |since_ms: i64| now_ms.saturating_sub(since_ms) >= REDUNDANCY_MS;
        let seen_here = self.elected.load().sightings.seen_ms();
        self.known_since.get().is_some_and(is_long)
            && seen_here.is_some_and(|seen_ms| !is_long(seen_ms))
            && self.replicas_seen(now_ms) == 1
    }

    /// This process is about to write this time for the elected replica.
    pub(crate) fn writes(&self, time_ms: i64) {
        self.written.set(self.written.get().max(Some(time_ms)));
    }

    /// To be called by each survey.
    pub(crate) fn known_since(&self, now_ms: i64) {
        self.known_since.set_if_none(now_ms);
    }

    pub(crate) fn elected(&self) -> arc_swap::Guard<Arc<Elected>> {
        self.elected.load()
    }

    /// Records a sighting; `None` if it is of the elected replica, else the name of the elected one
    /// (a copy, so that no reference count is shared between threads).
    pub(crate) fn observe(&self, sighting: &Sighting<'_>, evicted: &Evicted) -> Option<SmolStr> {
        let elected = self.elected.load();
        if elected.replica == sighting.replica {
            elected
                .sightings
                .record_newer(sighting, elected.elsewhere_ms);
            if elected.first.get().is_none() {
                elected.first.set_if_none(sighting.now_ms);
            }
            return None;
        }
        self.standbys.observe(sighting, evicted);
        Some(elected.replica.clone())
    }

    /// Applies the stored entry. The caller holds the cache's write lock.
    pub(crate) fn update(&self, desc: &ReplicaDesc) -> Update {
        let before = self.elected.load();
        if before.holds(desc) {
            return Update::None;
        }
        let changed = before.replica != desc.replica;
        let is_refresh = !changed
            && (before.elected_at, before.elected_changes)
                == (desc.elected_at, desc.elected_changes);
        let sightings = if changed {
            self.standbys
                .remove(&desc.replica)
                .unwrap_or_else(Sightings::none)
        } else {
            before.sightings.clone()
        };
        if changed {
            self.standbys.put(&before.replica, &before.sightings);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        if desc.received_at > before.received_at {
            self.failover_wait.end();
        }
        // What this process did not write comes from a tracker that has seen the replica.
        let is_elsewhere = Some(desc.received_at) > sightings.seen_ms().max(self.written.get());
        let elsewhere_ms = match (is_elsewhere, changed) {
            (true, _) => Some(desc.received_at),
            (false, false) => before.elsewhere_ms,
            (false, true) => None,
        };
        let stretch = match changed {
            true => before.stretch.successor(),
            false => before.stretch.clone(),
        };
        let elected = Elected::new(desc, sightings, elsewhere_ms, stretch);
        if !changed {
            elected.first.set(before.first_ms());
        }
        self.elected.store(Arc::new(elected));
        match (changed, is_refresh) {
            (true, _) => Update::OtherReplica,
            (false, true) => Update::None,
            (false, false) => Update::ElectedAgain,
        }
    }
}
