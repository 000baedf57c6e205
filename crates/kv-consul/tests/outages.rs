//! The store while its agent is stopped, killed, cut off, or loses its data.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use kv_consul::{ConsulConfig, open};
use kv_core::conformance::{
    Backend, CODEC, Counter, a_watch_survives, acknowledged_increments_survive,
    calls_can_be_dropped,
};
use kv_core::{CasUpdate, Store, WatchEvent};
use peers::{Consul, LONG, Proxy, wait_for};
use settings::SecretUrl;

fn store(host: &str) -> Arc<dyn Store<Counter>> {
    let config = ConsulConfig {
        host: SecretUrl::new(host),
        http_client_timeout: Duration::from_secs(2),
        watch_rate_limit: 0.0,
        cas_retry_delay: Duration::from_millis(10),
        ..ConsulConfig::default()
    };
    Arc::new(open(&config, None, CODEC).unwrap())
}

async fn write(store: &dyn Store<Counter>, key: &str, value: i64) {
    let mut put = |_: Option<&Counter>| {
        CasUpdate::Put(Counter {
            value,
            writer: String::new(),
        })
    };
    store.cas(key, &mut put).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_continued() {
    let consul = Consul::start("consul").await;
    let host = consul.host();
    let stop = async || {
        consul.process.sigstop();
        // For longer than the time-out of a call.
        let unavailable = store(&host).get("count").await;
        consul.process.sigcont();
        unavailable.unwrap_err();
    };
    a_watch_survives(store(&host), &*store(&host), "churn/", 2, stop).await;
    acknowledged_increments_survive(store(&host), "count", stop()).await;
}

struct Behind(Arc<dyn Store<Counter>>);

#[async_trait]
impl Backend for Behind {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::clone(&self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_no_connection() {
    let consul = Consul::start("consul").await;
    let proxy = Proxy::start(consul.address()).await;
    let store = store(&proxy.address().to_string());
    calls_can_be_dropped(&Behind(Arc::clone(&store))).await;
    let at_most = async |most: u64| {
        wait_for("connections to be closed", LONG, || async {
            let open = proxy.open();
            (open <= most)
                .then_some(())
                .ok_or(format!("{open} are open"))
        })
        .await;
    };
    // About as many as were in use at the same time; many more calls were dropped.
    at_most(8).await;
    drop(store);
    at_most(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_with_its_data() {
    let mut consul = Consul::start("consul").await;
    let host = consul.host();
    let (writing, watched) = (store(&host), store(&host));
    a_watch_survives(writing, &*watched, "churn/", 2, async || {
        consul.restart().await;
    })
    .await;
    acknowledged_increments_survive(store(&host), "count", consul.restart()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_five_times() {
    let consul = Consul::start("consul").await;
    let proxy = Proxy::start(consul.address()).await;
    let watched = store(&proxy.address().to_string());
    a_watch_survives(store(&consul.host()), &*watched, "churn/", 5, async || {
        wait_for("the watcher to connect", LONG, || async {
            (proxy.open() > 0).then_some(()).ok_or("not yet".to_owned())
        })
        .await;
        proxy.cut();
    })
    .await;
    assert!(proxy.connections() >= 6, "{}", proxy.connections());
}

/// Follows a watch until its snapshot is `wanted` and complete.
async fn follow(
    watch: &mut kv_core::WatchStream<Counter>,
    snapshot: &mut BTreeMap<String, i64>,
    wanted: &[(&str, i64)],
) {
    let wanted: BTreeMap<String, i64> = wanted
        .iter()
        .map(|(key, value)| ((*key).to_owned(), *value))
        .collect();
    loop {
        let event = tokio::time::timeout(LONG, watch.next())
            .await
            .unwrap_or_else(|_| panic!("have {snapshot:?}, want {wanted:?}"));
        match event.unwrap() {
            WatchEvent::Put(key, value) => {
                snapshot.insert(key, value.value);
            }
            WatchEvent::Deleted(key) => {
                snapshot.remove(&key);
            }
            WatchEvent::Synced if *snapshot == wanted => return,
            WatchEvent::Synced => {}
            WatchEvent::Undecodable(key, error) => panic!("{key:?}: {error}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_index_going_back() {
    let mut consul = Consul::start("consul").await;
    let store = store(&consul.host());
    for value in 0..50 {
        write(&*store, "back/a", value).await;
        write(&*store, "back/b", value).await;
    }
    let mut watch = store.watch_prefix("back/");
    let mut snapshot = BTreeMap::new();
    follow(&mut watch, &mut snapshot, &[("back/a", 49), ("back/b", 49)]).await;
    consul.restart_empty().await;
    write(&*store, "back/b", 1000).await;
    write(&*store, "back/c", 1001).await;
    // The new values, and that the old key is gone.
    follow(
        &mut watch,
        &mut snapshot,
        &[("back/b", 1000), ("back/c", 1001)],
    )
    .await;
}
