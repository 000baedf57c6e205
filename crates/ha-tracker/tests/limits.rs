//! Limits are exact, however many checks come at once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::sync::Arc;

use futures::future::join_all;
use ha_tracker::{
    CODEC, Clock, HaLimits, HaTracker, Outcome, ReplicaDesc, Sighting, TrackerConfig,
};
use kv_core::{InMemoryStore, Store};
use kv_memberlist::MemberlistConfig;
use prometheus_client::registry::Registry;

const MAX_CLUSTERS: u64 = 100;
/// Enough that each run has found a miscount, where there was one in a hundred tenants.
const TENANTS: usize = 500;

/// Checks `clusters` new ones of a tenant at once; how many were accepted, and how many refused for
/// the limit.
async fn check_at_once(tracker: &Arc<HaTracker>, tenant: &str, clusters: u64) -> (u64, u64) {
    let checks = (0..clusters).map(|cluster| {
        let (tracker, tenant) = (Arc::clone(tracker), tenant.to_owned());
        async move {
            let sighting = Sighting {
                tenant: &tenant,
                cluster: &format!("cluster-{cluster}"),
                replica: "r1",
                newest_ms: None,
                now_ms: Clock::System.now_ms(),
            };
            match tracker.check(&sighting).await.unwrap() {
                Outcome::Accepted => true,
                Outcome::TooManyClusters { limit } => {
                    assert_eq!(limit, MAX_CLUSTERS);
                    false
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let accepted = join_all(checks).await.into_iter().filter(|ok| *ok).count() as u64;
    (accepted, clusters - accepted)
}

/// As many new clusters as the limit allows, of many tenants, some at a time.
async fn as_many_as_fit_get_in(store: Arc<dyn Store<ReplicaDesc>>, tenants: usize) {
    let limits = HaLimits {
        max_clusters: MAX_CLUSTERS,
        ..HaLimits::default()
    };
    let (tracker, handle) = HaTracker::start(
        store,
        Arc::new(limits),
        TrackerConfig::default(),
        &mut Registry::default(),
    );
    tracker.ready().await;
    let tracker = &tracker;
    let names: Vec<String> = (0..tenants)
        .map(|tenant| format!("tenant-{tenant}"))
        .collect();
    for names in names.chunks(8) {
        let tenants = names.iter().map(|tenant| {
            let tracker = Arc::clone(tracker);
            let tenant = tenant.clone();
            tokio::spawn(async move {
                let all = check_at_once(&tracker, &tenant, MAX_CLUSTERS).await;
                assert_eq!(all, (MAX_CLUSTERS, 0), "{tenant}");
                let more = check_at_once(&tracker, &tenant, MAX_CLUSTERS + 7).await;
                assert_eq!(more, (MAX_CLUSTERS, 7), "{tenant}");
            })
        });
        for tenant in join_all(tenants).await {
            tenant.unwrap();
        }
    }
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_clusters_as_fit_get_in_at_once_in_memory() {
    let store = Arc::new(InMemoryStore::<ReplicaDesc>::default());
    as_many_as_fit_get_in(store, TENANTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn as_many_clusters_as_fit_get_in_at_once_by_gossip() {
    let config = MemberlistConfig {
        node_name: "alone".into(),
        bind_addr: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        bind_port: 0,
        ..MemberlistConfig::default()
    };
    let registry = &mut Registry::default();
    let (store, member) = kv_memberlist::start(config, CODEC, registry).await.unwrap();
    as_many_as_fit_get_in(Arc::new(store), TENANTS).await;
    member.leave().await;
}
