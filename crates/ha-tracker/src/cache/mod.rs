//! What the tracker knows of each cluster, readable without locks.
//!
//! Readers (one per checked request) take no shared lock and write only two times of their cluster.
//! Writers (elections, store events) are rare and take one mutex.
//!
//! With many clusters, cache misses determine the cost of a check. So names up to 23 bytes are
//! stored where they are compared, and clusters directly in the map, without further pointers.

mod capacity;
mod changes;
mod elections;
mod name;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use ahash::RandomState;
use kv_core::lock;
use smol_str::SmolStr;
use tokio::sync::broadcast;

use crate::ReplicaDesc;
use crate::check::Sighting;
use crate::cluster::{Cluster, Evicted, Update};
use crate::history::{ElectionCause, ElectionRecord, Ended, History};
use capacity::Pending;
use changes::Changes;
use name::Name;

pub(crate) use capacity::{Capacity, Full};
pub use changes::{ElectionChange, ElectionState};
pub use elections::{Election, Elections};

/// All tenants' clusters.
///
/// One map for all tenants: even an empty lock-free map costs 18 kB, which would be most of the
/// cost of a tenant.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    clusters: papaya::HashMap<Name, Cluster, RandomState>,
    /// Changes of all clusters.
    evicted: Evicted,
    /// Held by every writer, so that watchers receive changes in order, and each cluster is counted
    /// exactly once.
    ///
    /// Lock order: the calls in flight of [`Admissions`](crate::tasks::Admissions), then this one, and
    /// nothing else while it is held.
    write: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// Names of the clusters of each tenant that has some.
    tenants: HashMap<SmolStr, HashSet<SmolStr, RandomState>, RandomState>,
    changes: Changes,
    pending: Pending,
    history: History,
}

impl Written {
    /// How many clusters the tenant has.
    fn count(&self, tenant: &str) -> usize {
        self.tenants.get(tenant).map_or(0, HashSet::len)
    }

    fn insert(&mut self, name: &Name) {
        self.pending.remove(&name.tenant, &name.cluster);
        let clusters = self.tenants.entry(name.tenant.clone()).or_default();
        clusters.insert(name.cluster.clone());
    }

    fn remove(&mut self, tenant: &str, cluster: &str) {
        if let Some(clusters) = self.tenants.get_mut(tenant)
            && clusters.remove(cluster)
            && clusters.is_empty()
        {
            self.tenants.remove(tenant);
        }
    }

    /// Tenants that have clusters, known or pending ones.
    fn tenants(&self) -> u64 {
        let new = self
            .pending
            .tenants()
            .filter(|tenant| !self.tenants.contains_key(*tenant));
        (self.tenants.len() + new.count()) as u64
    }
}

impl Cache {
    /// Calls `read` with the cluster if it is known.
    pub(crate) fn read<R>(
        &self,
        tenant: &str,
        cluster: &str,
        read: impl FnOnce(&Cluster) -> R,
    ) -> Option<R> {
        self.clusters
            .pin()
            .get(&name::borrowed(tenant, cluster))
            .map(read)
    }

    /// As [`Cluster::observe`], if the cluster is known.
    #[cfg(test)]
    fn observe(&self, sighting: &Sighting<'_>) -> Option<Option<SmolStr>> {
        self.observe_then(sighting, |_, elected| elected)
    }

    /// Calls `then` with the cluster and what [`Cluster::observe`] returns, if the cluster is known.
    pub(crate) fn observe_then<R>(
        &self,
        sighting: &Sighting<'_>,
        then: impl FnOnce(&Cluster, Option<SmolStr>) -> R,
    ) -> Option<R> {
        self.read(sighting.tenant, sighting.cluster, |known| {
            then(known, known.observe(sighting, &self.evicted))
        })
    }

    pub(crate) fn knows(&self, tenant: &str, cluster: &str) -> bool {
        self.read(tenant, cluster, |_| ()).is_some()
    }

    /// How many clusters the tenant has.
    #[cfg(test)]
    pub(crate) fn count(&self, tenant: &str) -> usize {
        self.write().count(tenant)
    }

    /// How many clusters all tenants have.
    pub(crate) fn len(&self) -> usize {
        self.clusters.len()
    }

    /// Applies the stored entry; returns whether the elected replica changed.
    pub(crate) fn put(&self, tenant: &str, cluster: &str, desc: &ReplicaDesc) -> bool {
        if desc.is_deleted() {
            return self.remove(tenant, cluster);
        }
        let mut written = self.write();
        let clusters = self.clusters.pin();
        let update = match clusters.get(&name::borrowed(tenant, cluster)) {
            Some(known) => {
                if let Some(ended) = Ended::by(desc, known) {
                    written.history.add(tenant, cluster, ended, desc);
                }
                known.update(desc)
            }
            None => {
                let name = Name::new(tenant, cluster);
                written.insert(&name);
                clusters.insert(name, Cluster::new(desc));
                Update::OtherReplica
            }
        };
        if update != Update::None {
            written.changes.push(tenant, cluster, || Some(desc.clone()));
        }
        update == Update::OtherReplica
    }

    /// Names the cause of the last election of the cluster, if it is that of `replica`.
    pub(crate) fn explain(&self, tenant: &str, cluster: &str, replica: &str, cause: ElectionCause) {
        let mut written = self.write();
        written.history.explain(tenant, cluster, replica, cause);
    }

    /// The elections of a cluster that ended another one, the latest first.
    pub(crate) fn history_of(&self, tenant: &str, cluster: &str) -> Vec<ElectionRecord> {
        let written = self.write();
        let known = self.read(tenant, cluster, |known| {
            written.history.of(tenant, cluster, Some(&known.elected()))
        });
        known.unwrap_or_else(|| written.history.of(tenant, cluster, None))
    }

    /// Those of all clusters, the latest first.
    pub(crate) fn history(&self) -> Vec<ElectionRecord> {
        let first_of = |record: &ElectionRecord| {
            self.read(&record.tenant, &record.cluster, |known| {
                let elected = known.elected();
                elected
                    .first_ms()
                    .filter(|_| *elected.replica == *record.to)
            })?
        };
        self.write().history.all(first_of)
    }

    /// How many elections are in the history, and how many have been dropped from it.
    pub(crate) fn history_counts(&self) -> (usize, u64) {
        self.write().history.counts()
    }

    /// All elections.
    pub(crate) fn election_state(&self) -> Arc<ElectionState> {
        self.write().changes.state(|| {
            let mut elections = Elections::default();
            self.for_each(|tenant, cluster, known| {
                elections.put(Election {
                    tenant: tenant.to_owned(),
                    cluster: cluster.to_owned(),
                    desc: known.elected().desc(),
                });
            });
            elections
        })
    }

    /// A state that includes everything that any watcher has received.
    #[cfg(feature = "grpc")]
    pub(crate) fn last_election_state(&self) -> Arc<ElectionState> {
        self.write().changes.last_state()
    }

    /// Each change from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<ElectionChange>> {
        self.write().changes.subscribe()
    }

    fn write(&self) -> MutexGuard<'_, Written> {
        lock(&self.write)
    }

    /// Reserves capacity for a cluster that is about to be elected, until it is known or
    /// [`Cache::give_up`] is called. A known cluster already has it.
    pub(crate) fn reserve(
        &self,
        tenant: &str,
        cluster: &str,
        capacity: Capacity,
    ) -> Result<(), Full> {
        let mut written = self.write();
        if self.knows(tenant, cluster) || written.pending.contains(tenant, cluster) {
            return Ok(());
        }
        let (known, mine) = (written.count(tenant), written.pending.of(tenant));
        if let Some(limit) = capacity.clusters
            && (known + mine) as u64 >= limit
        {
            return Err(Full::Clusters { limit });
        }
        let is_new_tenant = known == 0 && mine == 0;
        if let Some(limit) = capacity.tenants
            && is_new_tenant
            && written.tenants() >= limit
        {
            return Err(Full::Tenants { limit });
        }
        written.pending.insert(tenant, cluster);
        Ok(())
    }

    /// Returns reserved capacity that the cluster did not use.
    pub(crate) fn give_up(&self, tenant: &str, cluster: &str) {
        self.write().pending.remove(tenant, cluster);
    }

    /// Applies the outcome of a compare-and-swap, unless a later write of another tracker has
    /// already arrived. Events of the store's watch are always applied: they may go back in time,
    /// as when a store is restored from a backup.
    pub(crate) fn put_outcome(&self, tenant: &str, cluster: &str, desc: &ReplicaDesc) -> bool {
        let overtaken = self
            .read(tenant, cluster, |known| {
                known.elected().desc().is_superseding(desc)
            })
            .unwrap_or(false);
        !overtaken && self.put(tenant, cluster, desc)
    }

    /// Removes the cluster, and the tenant with its last cluster; returns whether it was known.
    pub(crate) fn remove(&self, tenant: &str, cluster: &str) -> bool {
        let mut written = self.write();
        let clusters = self.clusters.pin();
        let removed = clusters.remove(&name::borrowed(tenant, cluster)).is_some();
        if removed {
            written.remove(tenant, cluster);
            written.changes.push(tenant, cluster, || None);
        }
        removed
    }

    /// Names of the tenants that have clusters.
    pub(crate) fn tenants(&self) -> Vec<SmolStr> {
        self.write().tenants.keys().cloned().collect()
    }

    /// Calls `visit` with tenant, cluster name and cluster, for all, in no particular order.
    /// Clusters that are added or removed in the meantime may be missed.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&str, &str, &Cluster)) {
        for (name, cluster) in &self.clusters.pin() {
            visit(&name.tenant, &name.cluster, cluster);
        }
    }

    /// As [`Cache::for_each`], with the result of `prepare`, which is called once per tenant.
    pub(crate) fn for_each_with<T>(
        &self,
        mut prepare: impl FnMut(&str) -> T,
        mut visit: impl FnMut(&T, &str, &str, &Cluster),
    ) {
        let mut prepared = HashMap::<SmolStr, T, RandomState>::default();
        self.for_each(|tenant, name, cluster| {
            let of_tenant = match prepared.get(tenant) {
                Some(of_tenant) => of_tenant,
                None => prepared
                    .entry(tenant.into())
                    .or_insert_with(|| prepare(tenant)),
            };
            visit(of_tenant, tenant, name, cluster);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

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
        newest_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<Option<SmolStr>> {
        let sighting = Sighting {
            tenant: "t",
            cluster: "c",
            replica,
            newest_ms,
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
        assert_eq!(seen_ms(), Some(110));
        assert!(cache.put("t", "c", &desc("r3", 106)));
        assert_eq!(seen_ms(), None, "r3 was never seen here");
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
        assert_eq!(seen_ms(), Some(100));
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
        let capacity = Capacity {
            clusters: Some(2),
            tenants: Some(2),
        };
        assert_eq!(cache.reserve("t", "c1", capacity), Ok(()));
        assert_eq!(cache.reserve("t", "c2", capacity), Ok(()));
        assert_eq!(cache.reserve("t", "c1", capacity), Ok(()), "it has one");
        assert_eq!(
            cache.reserve("t", "c3", capacity),
            Err(Full::Clusters { limit: 2 })
        );
        cache.put("t", "c1", &desc("r1", 1));
        assert_eq!(cache.reserve("t", "c1", capacity), Ok(()), "it is known");
        assert_eq!(
            cache.reserve("t", "c3", capacity),
            Err(Full::Clusters { limit: 2 })
        );
        cache.give_up("t", "c1");
        assert_eq!(
            cache.reserve("t", "c3", capacity),
            Err(Full::Clusters { limit: 2 })
        );
        cache.give_up("t", "c2");
        assert_eq!(cache.reserve("t", "c3", capacity), Ok(()));
        cache.remove("t", "c1");
        assert_eq!(cache.reserve("t", "c1", capacity), Ok(()));
        assert_eq!(cache.reserve("t2", "c", capacity), Ok(()));
        assert_eq!(
            cache.reserve("t3", "c", capacity),
            Err(Full::Tenants { limit: 2 })
        );
        cache.put("t2", "c", &desc("r1", 1));
        assert_eq!(
            cache.reserve("t3", "c", capacity),
            Err(Full::Tenants { limit: 2 })
        );
        assert_eq!(cache.reserve("t3", "c", Capacity::default()), Ok(()));
    }

    #[test]
    fn whoever_fits_gets_in_while_others_come_and_go() {
        let capacity = Capacity {
            clusters: Some(4),
            tenants: None,
        };
        let cache = Cache::default();
        std::thread::scope(|scope| {
            for name in ["c1", "c2", "c3", "c4"] {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        assert_eq!(cache.reserve("t", name, capacity), Ok(()));
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
