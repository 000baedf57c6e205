//! What the tracker knows of each cluster, readable without locks.
//!
//! Readers (one per checked request) touch no shared lock and write only two times of the cluster
//! they are about. Writers (elections, store events) are rare and take one mutex.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;
use arc_swap::{ArcSwap, ArcSwapOption};

use crate::ReplicaDesc;

type Map<V> = papaya::HashMap<Box<str>, V, RandomState>;

/// Unix ms of something that has not happened.
pub(crate) const NEVER: i64 = 0;
/// Stands for "no sample" among sample times.
const NO_SAMPLE: i64 = i64::MIN;

/// All tenants' clusters.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    tenants: Map<Arc<TenantClusters>>,
    /// Held by every writer, so that a tenant is not removed while a cluster is added to it.
    write: Mutex<()>,
}

#[derive(Debug, Default)]
pub(crate) struct TenantClusters {
    clusters: Map<Arc<Cluster>>,
}

/// One tracked cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    elected: ArcSwap<Elected>,
    /// The replica that was seen last among those not elected.
    other: ArcSwapOption<OtherReplica>,
    /// How often the elected replica changed in this cache, the first election included.
    pub(crate) changes: AtomicU64,
    /// Compare-and-swaps of this process.
    pub(crate) cas: AtomicU64,
    /// Samples of this cluster that were dropped because their replica was not elected.
    pub(crate) deduplicated_samples: AtomicU64,
}

/// What the store says, and when we saw its replica ourselves. Replaced as one, so that a sighting
/// of one replica is never taken for one of its successor.
#[derive(Debug)]
pub(crate) struct Elected {
    pub(crate) desc: ReplicaDesc,
    seen_ms: AtomicI64,
}

#[derive(Debug)]
pub(crate) struct OtherReplica {
    pub(crate) replica: Box<str>,
    seen_ms: AtomicI64,
    sample_ms: AtomicI64,
}

impl Elected {
    pub(crate) fn seen_ms(&self) -> i64 {
        self.seen_ms.load(Ordering::Relaxed)
    }

    /// Only ever forwards, and without a write where nothing changes: many requests of one
    /// millisecond then share the cache line.
    fn see(&self, now_ms: i64) {
        if self.seen_ms() < now_ms {
            self.seen_ms.store(now_ms, Ordering::Relaxed);
        }
    }
}

impl OtherReplica {
    pub(crate) fn seen_ms(&self) -> i64 {
        self.seen_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn sample_ms(&self) -> Option<i64> {
        Some(self.sample_ms.load(Ordering::Relaxed)).filter(|sample| *sample != NO_SAMPLE)
    }
}

impl Cluster {
    fn new(desc: ReplicaDesc) -> Self {
        Self {
            elected: ArcSwap::from_pointee(Elected {
                desc,
                seen_ms: AtomicI64::new(NEVER),
            }),
            other: ArcSwapOption::empty(),
            changes: AtomicU64::new(1),
            cas: AtomicU64::new(0),
            deduplicated_samples: AtomicU64::new(0),
        }
    }

    pub(crate) fn elected(&self) -> arc_swap::Guard<Arc<Elected>> {
        self.elected.load()
    }

    pub(crate) fn other(&self) -> arc_swap::Guard<Option<Arc<OtherReplica>>> {
        self.other.load()
    }

    /// Records a sample of `replica`; `None` if it is the elected one, else the elected one.
    pub(crate) fn observe(
        &self,
        replica: &str,
        sample_ms: Option<i64>,
        now_ms: i64,
    ) -> Option<Arc<Elected>> {
        let elected = self.elected.load();
        if elected.desc.replica == replica {
            elected.see(now_ms);
            return None;
        }
        let sample_ms = sample_ms.unwrap_or(NO_SAMPLE);
        match &*self.other.load() {
            Some(other) if &*other.replica == replica => {
                other.seen_ms.store(now_ms, Ordering::Relaxed);
                other.sample_ms.store(sample_ms, Ordering::Relaxed);
            }
            _ => self.other.store(Some(Arc::new(OtherReplica {
                replica: replica.into(),
                seen_ms: AtomicI64::new(now_ms),
                sample_ms: AtomicI64::new(sample_ms),
            }))),
        }
        Some(arc_swap::Guard::into_inner(elected))
    }

    /// Takes what is stored. The caller holds the cache's write lock.
    fn update(&self, desc: ReplicaDesc) -> bool {
        let before = self.elected.load();
        if before.desc == desc {
            return false;
        }
        let changed = before.desc.replica != desc.replica;
        let seen_ms = if !changed {
            before.seen_ms()
        } else {
            match &*self.other.load() {
                Some(other) if *other.replica == *desc.replica => other.seen_ms(),
                _ => NEVER,
            }
        };
        if changed {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        self.elected.store(Arc::new(Elected {
            desc,
            seen_ms: AtomicI64::new(seen_ms),
        }));
        changed
    }
}

impl Cache {
    /// Calls `read` with the cluster, if it is known.
    pub(crate) fn read<R>(
        &self,
        tenant: &str,
        cluster: &str,
        read: impl FnOnce(&Arc<Cluster>) -> R,
    ) -> Option<R> {
        let tenants = self.tenants.pin();
        let clusters = tenants.get(tenant)?.clusters.pin();
        clusters.get(cluster).map(read)
    }

    pub(crate) fn get(&self, tenant: &str, cluster: &str) -> Option<Arc<Cluster>> {
        self.read(tenant, cluster, Arc::clone)
    }

    /// How many clusters the tenant has.
    pub(crate) fn count(&self, tenant: &str) -> usize {
        self.tenants
            .pin()
            .get(tenant)
            .map_or(0, |clusters| clusters.clusters.len())
    }

    /// Takes what the store holds; true if the elected replica is another than before.
    pub(crate) fn put(&self, tenant: &str, cluster: &str, desc: ReplicaDesc) -> bool {
        if desc.is_deleted() {
            return self.remove(tenant, cluster);
        }
        let _write = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        let tenants = self.tenants.pin();
        let clusters = match tenants.get(tenant) {
            Some(clusters) => clusters,
            None => tenants.get_or_insert_with(tenant.into(), Arc::default),
        };
        let clusters = clusters.clusters.pin();
        match clusters.get(cluster) {
            Some(known) => known.update(desc),
            None => {
                clusters.insert(cluster.into(), Arc::new(Cluster::new(desc)));
                true
            }
        }
    }

    /// Forgets the cluster, and the tenant with its last one; true if it was known.
    pub(crate) fn remove(&self, tenant: &str, cluster: &str) -> bool {
        let _write = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        let tenants = self.tenants.pin();
        let Some(clusters) = tenants.get(tenant) else {
            return false;
        };
        let removed = clusters.clusters.pin().remove(cluster).is_some();
        if clusters.clusters.is_empty() {
            tenants.remove(tenant);
        }
        removed
    }

    /// Names of the tenants that have clusters.
    pub(crate) fn tenants(&self) -> Vec<Box<str>> {
        self.tenants.pin().keys().cloned().collect()
    }

    /// Calls `visit` for each cluster of a tenant. Clusters that come or go meanwhile may be missed.
    pub(crate) fn for_each_of(&self, tenant: &str, mut visit: impl FnMut(&str, &Arc<Cluster>)) {
        if let Some(clusters) = self.tenants.pin().get(tenant) {
            for (name, cluster) in &clusters.clusters.pin() {
                visit(name, cluster);
            }
        }
    }

    /// Calls `visit` with tenant, cluster name and cluster, for all.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&str, &str, &Arc<Cluster>)) {
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

    fn desc(replica: &str, received_at: i64) -> ReplicaDesc {
        ReplicaDesc {
            replica: replica.into(),
            received_at,
            ..Default::default()
        }
    }

    #[test]
    fn a_new_elected_replica_keeps_the_time_it_was_seen_as_the_other() {
        let cache = Cache::default();
        assert!(cache.put("t", "c", desc("r1", 1)));
        let cluster = cache.get("t", "c").unwrap();
        assert!(cluster.observe("r1", None, 100).is_none());
        assert_eq!(
            cluster.observe("r2", Some(90), 110).unwrap().desc.replica,
            "r1"
        );
        assert!(cache.put("t", "c", desc("r2", 105)));
        assert_eq!(cluster.elected().seen_ms(), 110);
        assert!(cache.put("t", "c", desc("r3", 106)));
        assert_eq!(cluster.elected().seen_ms(), NEVER, "r3 was never seen here");
        assert_eq!(cluster.changes.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_refresh_keeps_the_sighting() {
        let cache = Cache::default();
        cache.put("t", "c", desc("r1", 1));
        let cluster = cache.get("t", "c").unwrap();
        cluster.observe("r1", None, 100);
        assert!(!cache.put("t", "c", desc("r1", 50)));
        assert_eq!(cluster.elected().seen_ms(), 100);
        assert_eq!(cluster.elected().desc.received_at, 50);
    }

    #[test]
    fn a_deleted_entry_is_forgotten_and_its_tenant_with_it() {
        let cache = Cache::default();
        cache.put("t", "c1", desc("r1", 1));
        cache.put("t", "c2", desc("r1", 1));
        assert_eq!(cache.count("t"), 2);
        assert!(cache.put(
            "t",
            "c1",
            ReplicaDesc {
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
