//! What the tracker knows of each cluster, readable without locks.
//!
//! Readers (one per checked request) touch no shared lock and write only two times of the cluster
//! they are about. Writers (elections, store events) are rare and take one mutex.
//!
//! With many clusters a check costs what its cache misses cost. So names up to 23 bytes are kept
//! where they are compared, and clusters where the map finds them, not behind further pointers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::ReplicaDesc;
use crate::candidates::Candidates;
use crate::elections::{ClusterElection, Elections};
use crate::feed::{ElectionState, Feed};
use crate::forgotten::Forgotten;
use crate::health::Waiting;
use crate::room::{Coming, Full, Room};
use crate::sightings::Sightings;
use crate::tracker::Sighting;

type Map<V> = papaya::HashMap<SmolStr, V, RandomState>;

/// All tenants' clusters.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    tenants: Map<TenantClusters>,
    /// Of all clusters.
    forgotten: Forgotten,
    /// Held by every writer, so that a tenant is not removed while a cluster is added to it, watchers
    /// are told of changes in their order, and no cluster is counted twice or not at all.
    write: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    feed: Feed,
    coming: Coming,
}

#[derive(Debug, Default)]
pub(crate) struct TenantClusters {
    clusters: Map<Cluster>,
}

/// One tracked cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    elected: ArcSwap<Elected>,
    /// Those not elected that were seen here.
    pub(crate) candidates: Candidates,
    /// How often the elected replica changed in this cache, the first election included.
    pub(crate) changes: AtomicU64,
    /// Compare-and-swaps of this process.
    pub(crate) cas: AtomicU64,
    /// Samples of this cluster that were dropped because their replica was not elected.
    pub(crate) deduplicated_samples: AtomicU64,
    /// Whether the failover waits for the store's recovery.
    pub(crate) waiting: Waiting,
}

/// What the store says, and when we saw its replica ourselves. Replaced as one, so that a sighting
/// of one replica is never taken for one of its successor.
#[derive(Debug)]
pub(crate) struct Elected {
    pub(crate) replica: SmolStr,
    pub(crate) sightings: Sightings,
    pub(crate) received_at: i64,
    pub(crate) elected_at: i64,
    pub(crate) elected_changes: i64,
}

impl Elected {
    fn new(desc: &ReplicaDesc, sightings: Sightings) -> Self {
        Self {
            replica: desc.replica.as_str().into(),
            sightings,
            received_at: desc.received_at,
            elected_at: desc.elected_at,
            elected_changes: desc.elected_changes,
        }
    }

    /// What is stored. Entries marked for deletion are not in the cache.
    pub(crate) fn desc(&self) -> ReplicaDesc {
        ReplicaDesc {
            replica: self.replica.to_string(),
            received_at: self.received_at,
            deleted_at: 0,
            elected_at: self.elected_at,
            elected_changes: self.elected_changes,
        }
    }

    fn holds(&self, desc: &ReplicaDesc) -> bool {
        self.replica == desc.replica
            && (self.received_at, self.elected_at, self.elected_changes)
                == (desc.received_at, desc.elected_at, desc.elected_changes)
    }
}

/// What a new description means for who is elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    None,
    /// The same replica, by another election.
    ElectedAgain,
    OtherReplica,
}

impl Cluster {
    fn new(desc: &ReplicaDesc) -> Self {
        Self {
            elected: ArcSwap::from_pointee(Elected::new(desc, Sightings::none())),
            candidates: Candidates::default(),
            changes: AtomicU64::new(1),
            cas: AtomicU64::new(0),
            deduplicated_samples: AtomicU64::new(0),
            waiting: Waiting::default(),
        }
    }

    pub(crate) fn elected(&self) -> arc_swap::Guard<Arc<Elected>> {
        self.elected.load()
    }

    /// Records a sighting; `None` if it is of the elected replica, else the name of the elected one
    /// (a copy, so that no reference count is shared between threads).
    pub(crate) fn observe(
        &self,
        sighting: &Sighting<'_>,
        forgotten: &Forgotten,
    ) -> Option<SmolStr> {
        let elected = self.elected.load();
        if elected.replica == sighting.replica {
            elected
                .sightings
                .record_newer(sighting.earliest_ms, sighting.now_ms);
            return None;
        }
        self.candidates.observe(sighting, forgotten);
        Some(elected.replica.clone())
    }

    /// Takes what is stored. The caller holds the cache's write lock.
    fn update(&self, desc: &ReplicaDesc) -> Update {
        let before = self.elected.load();
        if before.holds(desc) {
            return Update::None;
        }
        let changed = before.replica != desc.replica;
        let is_refresh = !changed
            && (before.elected_at, before.elected_changes)
                == (desc.elected_at, desc.elected_changes);
        let sightings = if changed {
            self.candidates
                .remove(&desc.replica)
                .unwrap_or_else(Sightings::none)
        } else {
            before.sightings.clone()
        };
        if changed {
            self.candidates.put(&before.replica, &before.sightings);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        if desc.received_at > before.received_at {
            self.waiting.over();
        }
        self.elected.store(Arc::new(Elected::new(desc, sightings)));
        match (changed, is_refresh) {
            (true, _) => Update::OtherReplica,
            (false, true) => Update::None,
            (false, false) => Update::ElectedAgain,
        }
    }
}

impl Cache {
    /// Calls `read` with the cluster, if it is known.
    pub(crate) fn read<R>(
        &self,
        tenant: &str,
        cluster: &str,
        read: impl FnOnce(&Cluster) -> R,
    ) -> Option<R> {
        let tenants = self.tenants.pin();
        let clusters = tenants.get(tenant)?.clusters.pin();
        clusters.get(cluster).map(read)
    }

    /// As [`Cluster::observe`], if the cluster is known.
    pub(crate) fn observe(&self, sighting: &Sighting<'_>) -> Option<Option<SmolStr>> {
        self.read(sighting.tenant, sighting.cluster, |known| {
            known.observe(sighting, &self.forgotten)
        })
    }

    pub(crate) fn knows(&self, tenant: &str, cluster: &str) -> bool {
        self.read(tenant, cluster, |_| ()).is_some()
    }

    /// How many clusters the tenant has.
    pub(crate) fn count(&self, tenant: &str) -> usize {
        self.tenants
            .pin()
            .get(tenant)
            .map_or(0, |clusters| clusters.clusters.len())
    }

    /// Takes what the store holds; true if the elected replica is another than before.
    pub(crate) fn put(&self, tenant: &str, cluster: &str, desc: &ReplicaDesc) -> bool {
        if desc.is_deleted() {
            return self.remove(tenant, cluster);
        }
        let mut written = self.write();
        let tenants = self.tenants.pin();
        let clusters = match tenants.get(tenant) {
            Some(clusters) => clusters,
            None => tenants.get_or_insert_with(tenant.into(), TenantClusters::default),
        };
        let clusters = clusters.clusters.pin();
        let update = match clusters.get(cluster) {
            Some(known) => known.update(desc),
            None => {
                written.coming.remove(tenant, cluster);
                clusters.insert(cluster.into(), Cluster::new(desc));
                Update::OtherReplica
            }
        };
        if update != Update::None {
            written.feed.changed(tenant, cluster, || Some(desc.clone()));
        }
        update == Update::OtherReplica
    }

    /// All elections.
    pub(crate) fn state(&self) -> Arc<ElectionState> {
        self.with_feed(|feed| {
            feed.state(|| {
                let mut elections = Elections::default();
                self.for_each(|tenant, cluster, known| {
                    elections.put(ClusterElection {
                        tenant: tenant.to_owned(),
                        cluster: cluster.to_owned(),
                        desc: known.elected().desc(),
                    });
                });
                elections
            })
        })
    }

    /// Nothing changes meanwhile.
    pub(crate) fn with_feed<R>(&self, act: impl FnOnce(&mut Feed) -> R) -> R {
        act(&mut self.write().feed)
    }

    fn write(&self) -> MutexGuard<'_, Written> {
        self.write.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a place for a cluster that is about to be elected, until it is known or
    /// [`Cache::give_up`] is called. A known one has its place already.
    pub(crate) fn reserve(&self, tenant: &str, cluster: &str, room: Room) -> Result<(), Full> {
        let mut written = self.write();
        let coming = &mut written.coming;
        if self.knows(tenant, cluster) || coming.contains(tenant, cluster) {
            return Ok(());
        }
        let (known, mine) = (self.count(tenant), coming.of(tenant));
        if room.clusters > 0 && (known + mine) as u64 >= room.clusters {
            return Err(Full::Clusters);
        }
        let is_new_tenant = known == 0 && mine == 0;
        if room.tenants > 0 && is_new_tenant && self.tenants_with(coming) >= room.tenants {
            return Err(Full::Tenants);
        }
        coming.insert(tenant, cluster);
        Ok(())
    }

    /// Tenants that have clusters, or some that are coming.
    fn tenants_with(&self, coming: &Coming) -> u64 {
        let tenants = self.tenants.pin();
        let new = coming
            .tenants()
            .filter(|tenant| !tenants.contains_key(*tenant));
        (tenants.len() + new.count()) as u64
    }

    /// Gives a reserved place back, if the cluster did not take it.
    pub(crate) fn give_up(&self, tenant: &str, cluster: &str) {
        self.write().coming.remove(tenant, cluster);
    }

    /// Takes the outcome of a compare-and-swap, unless what others wrote since has arrived already.
    /// What comes from the store's watch is always taken: it may go back, as when a store is
    /// restored from a backup.
    pub(crate) fn put_outcome(&self, tenant: &str, cluster: &str, desc: &ReplicaDesc) -> bool {
        let overtaken = self
            .read(tenant, cluster, |known| {
                known.elected().desc().is_superseding(desc)
            })
            .unwrap_or(false);
        !overtaken && self.put(tenant, cluster, desc)
    }

    /// Forgets the cluster, and the tenant with its last one; true if it was known.
    pub(crate) fn remove(&self, tenant: &str, cluster: &str) -> bool {
        let mut written = self.write();
        let tenants = self.tenants.pin();
        let Some(clusters) = tenants.get(tenant) else {
            return false;
        };
        let removed = clusters.clusters.pin().remove(cluster).is_some();
        if clusters.clusters.is_empty() {
            tenants.remove(tenant);
        }
        if removed {
            written.feed.changed(tenant, cluster, || None);
        }
        removed
    }

    /// Names of the tenants that have clusters.
    pub(crate) fn tenants(&self) -> Vec<SmolStr> {
        self.tenants.pin().keys().cloned().collect()
    }

    /// Calls `visit` for each cluster of a tenant. Clusters that come or go meanwhile may be missed.
    pub(crate) fn for_each_of(&self, tenant: &str, mut visit: impl FnMut(&str, &Cluster)) {
        if let Some(clusters) = self.tenants.pin().get(tenant) {
            for (name, cluster) in &clusters.clusters.pin() {
                visit(name, cluster);
            }
        }
    }

    /// Calls `visit` with tenant, cluster name and cluster, for all.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&str, &str, &Cluster)) {
        for (tenant, clusters) in &self.tenants.pin() {
            for (name, cluster) in &clusters.clusters.pin() {
                visit(tenant, name, cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sightings::NEVER;

    fn desc(replica: &str, received_at: i64) -> ReplicaDesc {
        ReplicaDesc {
            replica: replica.into(),
            received_at,
            ..Default::default()
        }
    }

    /// What a check of `t/c` answers.
    fn observe(
        cache: &Cache,
        replica: &str,
        earliest_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<Option<SmolStr>> {
        let sighting = Sighting {
            tenant: "t",
            cluster: "c",
            replica,
            earliest_ms,
            now_ms,
        };
        cache.observe(&sighting)
    }

    #[test]
    fn a_new_elected_replica_keeps_the_time_it_was_seen_as_the_other() {
        let cache = Cache::default();
        assert!(cache.put("t", "c", &desc("r1", 1)));
        let observe =
            |replica, sample_ms, now_ms| observe(&cache, replica, sample_ms, now_ms).unwrap();
        let seen_ms = || {
            cache
                .read("t", "c", |known| known.elected().sightings.seen_ms())
                .unwrap()
        };
        assert!(observe("r1", None, 100).is_none());
        assert_eq!(observe("r2", Some(90), 110).unwrap(), "r1");
        assert!(cache.put("t", "c", &desc("r2", 105)));
        assert_eq!(seen_ms(), 110);
        assert!(cache.put("t", "c", &desc("r3", 106)));
        assert_eq!(seen_ms(), NEVER, "r3 was never seen here");
        assert_eq!(
            cache
                .read("t", "c", |known| known.changes.load(Ordering::Relaxed))
                .unwrap(),
            3
        );
    }

    #[test]
    fn a_refresh_keeps_the_sighting() {
        let cache = Cache::default();
        cache.put("t", "c", &desc("r1", 1));
        let observe =
            |replica, sample_ms, now_ms| observe(&cache, replica, sample_ms, now_ms).unwrap();
        let seen_ms = || {
            cache
                .read("t", "c", |known| known.elected().sightings.seen_ms())
                .unwrap()
        };
        observe("r1", None, 100);
        assert!(!cache.put("t", "c", &desc("r1", 50)));
        assert_eq!(seen_ms(), 100);
        assert_eq!(
            cache
                .read("t", "c", |known| known.elected().received_at)
                .unwrap(),
            50
        );
    }

    #[test]
    fn an_outcome_that_was_overtaken_is_ignored_and_a_store_that_goes_back_is_not() {
        let elected_at = |replica: &str, elected_at| ReplicaDesc {
            elected_at,
            ..desc(replica, elected_at)
        };
        let cache = Cache::default();
        let replica = || {
            cache
                .read("t", "c", |known| known.elected().replica.clone())
                .unwrap()
        };
        assert!(cache.put_outcome("t", "c", &elected_at("r1", 10)));
        assert!(cache.put("t", "c", &elected_at("r2", 20)));
        assert!(!cache.put_outcome("t", "c", &elected_at("r1", 15)));
        assert_eq!(replica(), "r2");
        assert!(cache.put_outcome("t", "c", &elected_at("r3", 30)));
        assert!(cache.put("t", "c", &elected_at("r1", 10)));
        assert_eq!(replica(), "r1");
    }

    #[test]
    fn a_coming_cluster_has_its_place_and_is_counted_once() {
        let cache = Cache::default();
        let room = Room {
            clusters: 2,
            tenants: 2,
        };
        assert_eq!(cache.reserve("t", "c1", room), Ok(()));
        assert_eq!(cache.reserve("t", "c2", room), Ok(()));
        assert_eq!(cache.reserve("t", "c1", room), Ok(()), "it has one");
        assert_eq!(cache.reserve("t", "c3", room), Err(Full::Clusters));
        cache.put("t", "c1", &desc("r1", 1));
        assert_eq!(cache.reserve("t", "c1", room), Ok(()), "it is known");
        assert_eq!(cache.reserve("t", "c3", room), Err(Full::Clusters));
        cache.give_up("t", "c1");
        assert_eq!(cache.reserve("t", "c3", room), Err(Full::Clusters));
        cache.give_up("t", "c2");
        assert_eq!(cache.reserve("t", "c3", room), Ok(()));
        cache.remove("t", "c1");
        assert_eq!(cache.reserve("t", "c1", room), Ok(()));
        assert_eq!(cache.reserve("t2", "c", room), Ok(()));
        assert_eq!(cache.reserve("t3", "c", room), Err(Full::Tenants));
        cache.put("t2", "c", &desc("r1", 1));
        assert_eq!(cache.reserve("t3", "c", room), Err(Full::Tenants));
        assert_eq!(cache.reserve("t3", "c", Room::default()), Ok(()));
    }

    #[test]
    fn whoever_fits_gets_in_while_others_come_and_go() {
        let room = Room {
            clusters: 4,
            tenants: 0,
        };
        let cache = Cache::default();
        std::thread::scope(|scope| {
            for name in ["c1", "c2", "c3", "c4"] {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        assert_eq!(cache.reserve("t", name, room), Ok(()));
                        cache.put("t", name, &desc("r1", 1));
                        cache.give_up("t", name);
                        cache.remove("t", name);
                    }
                });
            }
        });
        assert_eq!(cache.count("t"), 0);
    }

    #[test]
    fn a_deleted_entry_is_forgotten_and_its_tenant_with_it() {
        let cache = Cache::default();
        cache.put("t", "c1", &desc("r1", 1));
        cache.put("t", "c2", &desc("r1", 1));
        assert_eq!(cache.count("t"), 2);
        assert!(cache.put(
            "t",
            "c1",
            &ReplicaDesc {
                deleted_at: 5,
                ..desc("r1", 1)
            }
        ));
        assert_eq!(cache.count("t"), 1);
        assert!(cache.remove("t", "c2"));
        assert!(cache.tenants().is_empty());
        assert!(!cache.remove("t", "c2"));
    }
}
