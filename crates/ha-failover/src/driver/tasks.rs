//! The driver's background tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use kv_core::{WatchEvent, lock};
use smol_str::SmolStr;

use super::call::Hands;
use super::records::{self, Key};
use super::{Borrowed, Cluster, Failovers, read, write};
use crate::limits::saturating_ms;

/// A distributor without a heartbeat for this long is considered dead.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(5);
/// Between two heartbeats.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Between two ticks of clusters in transition.
const TICK_EVERY: Duration = Duration::from_millis(100);
/// Every how many of these all clusters get one.
const TICKS_FOR_ALL: u32 = 10;
/// Pause before a watch that ended is begun again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_secs(1);
/// Between two clean-ups.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(60);
/// Records of a distributor that has been dead for this long are deleted. Whatever it can have
/// forwarded is then older than any boundary.
const GONE_AFTER: Duration = Duration::from_secs(600);

/// Follows the records of all distributors.
pub(super) async fn follow<B: Clone + Send + Sync + 'static>(
    hands: Arc<Hands<B>>,
    joins_early: bool,
) {
    // Nothing is followed before there is something to follow it for.
    while !joins_early && hands.failovers.clusters.is_empty() {
        tokio::time::sleep(TICK_EVERY).await;
    }
    loop {
        let mut watch = hands.store.watch_prefix("");
        while let Some(event) = watch.next().await {
            match event {
                WatchEvent::Put(key, record) => put(&hands, &key, &record, joins_early),
                WatchEvent::Deleted(key) => {
                    if let Some(Key::Heartbeat { instance }) = Key::parse(&key) {
                        write(&hands.failovers.fleet).forget(instance);
                    }
                }
                WatchEvent::Undecodable(..) => hands.failovers.metrics.undecodable(),
                _ => {}
            }
        }
        tokio::time::sleep(RESUBSCRIBE_AFTER).await;
    }
}

fn put<B: Clone + Send + Sync + 'static>(
    hands: &Hands<B>,
    key: &str,
    record: &ha_tracker::ReplicaDesc,
    joins_early: bool,
) {
    let failovers = &hands.failovers;
    match Key::parse(key) {
        Some(Key::Heartbeat { instance }) => {
            let now_ms = failovers.clock.now_ms();
            write(&failovers.fleet).heard(instance, record.received_at, now_ms);
        }
        // Most clusters of which this distributor sees no requests are not known to it.
        Some(Key::Plan { tenant, cluster }) => {
            if let Some(cluster) = failovers.known(tenant, cluster)
                && let Some(plan) = hands.plan(record)
            {
                failovers.call(&cluster, |state, cx, out| {
                    // The election that it led to may be known already.
                    failovers.tell_election(&cluster.name, state, cx, out);
                    state.plan_seen(&plan, cx, out);
                });
            }
        }
        Some(Key::Claim {
            tenant,
            cluster,
            instance,
        }) => {
            let cluster = match joins_early {
                true => failovers.cluster(tenant, cluster),
                false => failovers.known(tenant, cluster),
            };
            if let Some(cluster) = cluster
                && let Some(claim) = hands.claim(record)
            {
                failovers.call(&cluster, |state, cx, out| {
                    failovers.tell_election(&cluster.name, state, cx, out);
                    state.claim_seen(instance, &claim, cx, out);
                });
            }
        }
        None => {}
    }
}

/// Lets time pass.
pub(super) async fn tick<B: Clone + Send + Sync + 'static>(failovers: Arc<Failovers<B>>) {
    let mut round: u32 = 0;
    loop {
        tokio::time::sleep(TICK_EVERY).await;
        round = round.wrapping_add(1);
        let is_for_all = round.is_multiple_of(TICKS_FOR_ALL);
        let (mut held, mut busy) = (0, 0);
        for cluster in failovers.all() {
            let is_busy = cluster.busy.load(Ordering::Relaxed);
            busy += i64::from(is_busy);
            if !is_busy && !is_for_all {
                continue;
            }
            let name = &cluster.name;
            let settings = is_for_all
                .then(|| failovers.rules.settings(&name.tenant, &name.cluster))
                .flatten();
            failovers.call(&cluster, |state, cx, out| {
                if let Some(settings) = settings {
                    failovers.budget(&name.tenant, settings.hold_bytes);
                    state.set_settings(settings);
                }
                failovers.tell_election(name, state, cx, out);
                state.tick(cx, out);
                held += i64::try_from(state.held()).unwrap_or(i64::MAX);
            });
        }
        failovers.metrics.transitions.set(busy);
        if is_for_all {
            let bytes = i64::try_from(failovers.held_bytes()).unwrap_or(i64::MAX);
            failovers.metrics.held_bytes.set(bytes);
            failovers.metrics.held_requests.set(held);
        }
    }
}

/// Writes heartbeats from the first claim on.
pub(super) async fn beat<B: Clone + Send + Sync + 'static>(hands: Arc<Hands<B>>) {
    loop {
        tokio::time::sleep(BEAT_EVERY).await;
        if !hands.first_heartbeat.initialized() {
            continue;
        }
        if let Ok(Err(error)) = tokio::time::timeout(BEAT_EVERY, hands.beat()).await {
            hands.failed(&error);
        }
    }
}

/// Forgets clusters that have no election any more, or are not in lossless mode, and deletes records
/// that no distributor needs.
pub(super) async fn clean_up<B: Clone + Send + Sync + 'static>(hands: Arc<Hands<B>>) {
    loop {
        tokio::time::sleep(CLEAN_UP_EVERY).await;
        for cluster in hands.failovers.all() {
            if hands.failovers.is_forgettable(&cluster) {
                hands.forget(&cluster).await;
            }
        }
        hands.delete_records_of_the_dead().await;
    }
}

impl<B: Clone + Send + Sync + 'static> Failovers<B> {
    fn all(&self) -> Vec<Arc<Cluster<B>>> {
        self.clusters.pin().values().cloned().collect()
    }

    fn known(&self, tenant: &str, cluster: &str) -> Option<Arc<Cluster<B>>> {
        let clusters = self.clusters.pin();
        clusters.get(&Borrowed(tenant, cluster)).cloned()
    }

    fn is_forgettable(&self, cluster: &Arc<Cluster<B>>) -> bool {
        let name = &cluster.name;
        let is_classic = self.rules.settings(&name.tenant, &name.cluster).is_none();
        let has_no_election = self.elections.entry(&name.tenant, &name.cluster).is_none();
        let before_ms = self.clock.now_ms() - saturating_ms(CLEAN_UP_EVERY);
        let is_unused = lock(&cluster.state).is_idle(before_ms);
        is_classic || (has_no_election && is_unused)
    }
}

impl<B: Clone + Send + Sync + 'static> Hands<B> {
    async fn forget(&self, cluster: &Cluster<B>) {
        let failovers = &self.failovers;
        let Cluster { name, .. } = cluster;
        failovers
            .clusters
            .pin()
            .remove(&Borrowed(&name.tenant, &name.cluster));
        let plan = records::plan(&name.tenant, &name.cluster);
        let claim = records::claim(&name.tenant, &name.cluster, &failovers.me);
        for key in [claim, plan] {
            if let Err(error) = self.store.delete(&key).await {
                self.failed(&error);
            }
        }
    }

    async fn delete_records_of_the_dead(&self) {
        let failovers = &self.failovers;
        let now_ms = failovers.clock.now_ms();
        let gone: Vec<SmolStr> = read(&failovers.fleet)
            .gone(saturating_ms(GONE_AFTER), now_ms)
            .cloned()
            .collect();
        if gone.is_empty() {
            return;
        }
        let keys = match self.store.list(records::CLAIMS).await {
            Ok(keys) => keys,
            Err(error) => return self.failed(&error),
        };
        let is_of_the_dead = |key: &String| match Key::parse(key) {
            Some(Key::Claim { instance, .. }) => gone.iter().any(|name| name == instance),
            _ => false,
        };
        let claims = keys.into_iter().filter(is_of_the_dead);
        // The heartbeats last: without them, another clean-up would not know whose claims these are.
        let heartbeats = gone.iter().map(|name| records::heartbeat(name));
        for key in claims.chain(heartbeats) {
            if let Err(error) = self.store.delete(&key).await {
                return self.failed(&error);
            }
        }
    }
}
