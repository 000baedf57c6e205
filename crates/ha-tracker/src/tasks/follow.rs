//! Follows the store: elections of other trackers reach the cache here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kv_core::{Store, WatchEvent, WatchStream};

use crate::ReplicaDesc;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::clock_skew::ClockSkews;
use crate::desc::{self, parse_key};
use crate::metrics::FollowMetrics;
use crate::ready::Ready;
use crate::store_health::StoreHealth;

/// Pause before a watch that ended is begun again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(1);

/// Fills the cache and keeps it equal to the store.
pub(crate) struct Follow {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) clock_skews: Arc<ClockSkews>,
    pub(crate) metrics: FollowMetrics,
    pub(crate) clock: Clock,
    /// Set once the cache has everything that was in the store at the start.
    pub(crate) ready: Arc<Ready>,
}

impl Follow {
    pub(crate) async fn run(self) {
        let mut before: Option<HashSet<String>> = None;
        loop {
            let watch = self.store.watch_prefix("");
            self.follow(watch, before.take()).await;
            tracing::warn!("the watch of the store ended; starting another");
            let mut known = HashSet::new();
            self.cache.for_each(|tenant, cluster, _| {
                known.insert(desc::key(tenant, cluster));
            });
            before = Some(known);
            tokio::time::sleep(RESUBSCRIBE_AFTER).await;
        }
    }

    /// Applies events until the stream ends. `before` are the keys known from an earlier watch:
    /// those that are no longer stored are removed when the snapshot of this watch is complete.
    async fn follow(&self, mut watch: WatchStream<ReplicaDesc>, before: Option<HashSet<String>>) {
        let mut gone = before.unwrap_or_default();
        let mut synced = false;
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Put(key, desc) => {
                    gone.remove(&key);
                    self.put(&key, &desc, synced);
                }
                WatchEvent::Deleted(key) => {
                    gone.remove(&key);
                    self.forget(&key, "deleted from the store");
                }
                WatchEvent::Undecodable(key, error) => {
                    // Known clusters keep their last election.
                    gone.remove(&key);
                    self.metrics.undecodable.inc();
                    tracing::error!(key, %error, "the store has a value that is not a replica description; ignoring it");
                }
                WatchEvent::Synced => {
                    // It begins, or it was interrupted.
                    self.health.disturbed();
                    synced = true;
                    for key in gone.drain() {
                        self.forget(&key, "no longer in the store");
                    }
                    self.ready.set();
                }
                // Events that do not change entries.
                _ => {}
            }
        }
    }

    fn put(&self, key: &str, desc: &ReplicaDesc, synced: bool) {
        let Some((tenant, cluster)) = parse_key(key) else {
            tracing::warn!(
                key,
                "a key without '/' below the tracker's prefix; ignoring it"
            );
            return;
        };
        let now_ms = self.clock.now_ms();
        self.clock_skews.note(tenant, cluster, desc, now_ms);
        if synced && !desc.is_deleted() {
            let age_ms = now_ms.saturating_sub(desc.received_at);
            self.metrics
                .propagation
                .observe(age_ms.max(0) as f64 / 1000.0);
        }
        if self.cache.put(tenant, cluster, desc) {
            let (replica, deleted) = (desc.replica.as_str(), desc.is_deleted());
            tracing::debug!(
                tenant,
                cluster,
                replica,
                deleted,
                "the store has another election"
            );
        }
    }

    fn forget(&self, key: &str, why: &'static str) {
        let Some((tenant, cluster)) = parse_key(key) else {
            return;
        };
        if self.cache.remove(tenant, cluster) {
            tracing::debug!(tenant, cluster, why, "removed a cluster");
        }
    }
}
