//! Calls and watches while etcd is frozen, killed or out of reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{AnyStore, DIAL, Watched, Writers, config, increment, put, store_at, store_of};
use common::{stored, value_of};
use kv_core::StoreError;
use kv_core::conformance::{Backend, calls_can_be_dropped};
use kv_etcd::EtcdConfig;
use peers::{Etcd, LONG, Port, Proxy, wait_for};
use tokio::time::{Instant, timeout};

/// Each with a writer of its own.
const KEYS: [&str; 4] = ["run/a", "run/b", "run/c", "run/d"];

async fn sum(store: &AnyStore) -> i64 {
    stored(store, "run/").await.values().sum()
}

async fn shows_all(watched: &mut Watched, store: &AnyStore) {
    let all = stored(store, "run/").await;
    watched.until(&all).await;
    put(store, "run/after", 1).await;
    store.delete("run/a").await.unwrap();
    let all = stored(store, "run/").await;
    assert!(all.contains_key("run/after") && !all.contains_key("run/a"));
    watched.until(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_etcd_costs_time_but_no_write() {
    let etcd = Etcd::start("etcd").await;
    let store = store_at([etcd.endpoint()]);
    let mut watched = Watched::begin(&store, "run/").await;
    let writers = Writers::start(&store, &KEYS);
    writers.more_acknowledged(100).await;
    etcd.process.sigstop();
    // Each ends within its deadline, which the writers check.
    writers.more_failed(4).await;
    etcd.process.sigcont();
    writers.more_acknowledged(100).await;
    writers.finish(async || sum(&store).await).await;
    shows_all(&mut watched, &store).await;
}

struct Behind(AnyStore);

#[async_trait]
impl Backend for Behind {
    async fn open(&self) -> AnyStore {
        Arc::clone(&self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_no_connection() {
    let etcd = Etcd::start("etcd").await;
    let proxy = Proxy::start(etcd.address()).await;
    let store = store_at([proxy.address()]);
    calls_can_be_dropped(&Behind(Arc::clone(&store))).await;
    assert_eq!((proxy.open(), proxy.connections()), (1, 1));
    drop(store);
    wait_for("the connection to be closed", LONG, || async {
        let open = proxy.open();
        (open == 0).then_some(()).ok_or(format!("{open} are open"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_freeze_is_only_a_delay() {
    let etcd = Etcd::start("etcd").await;
    let proxy = Proxy::start(etcd.address()).await;
    let store = store_at([proxy.address()]);
    assert_eq!(increment(&store, "key").await.unwrap(), 1);
    etcd.process.sigstop();
    let before = proxy.bytes_to_server();
    let call = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { increment(&store, "key").await })
    };
    wait_for("the call to be sent", LONG, || async {
        let sent = proxy.bytes_to_server();
        (sent > before).then_some(()).ok_or(format!("{sent} bytes"))
    })
    .await;
    assert!(!call.is_finished());
    etcd.process.sigcont();
    assert_eq!(call.await.unwrap().unwrap(), 2);
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_etcd_loses_no_acknowledged_write() {
    let mut etcd = Etcd::start("etcd").await;
    let store = store_at([etcd.endpoint()]);
    let mut watched = Watched::begin(&store, "run/").await;
    let writers = Writers::start(&store, &KEYS);
    for _ in 0..3 {
        writers.more_acknowledged(100).await;
        etcd.process.sigkill();
        writers.more_failed(4).await;
        etcd.restart().await;
    }
    writers.more_acknowledged(100).await;
    writers.finish(async || sum(&store).await).await;
    shows_all(&mut watched, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_can_be_opened_before_etcd_is_there() {
    let mut etcd = Etcd::start("etcd").await;
    etcd.process.sigkill();
    let store = store_at([etcd.endpoint()]);
    let mut watched = Watched::new(store.watch_prefix(""));
    // There are no changes to be seen.
    let error = store.get("key").await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    let first = tokio::spawn(async move {
        watched.until_synced().await;
        watched
    });
    etcd.restart().await;
    put(&store, "key", 1).await;
    let mut watched = first.await.unwrap();
    watched
        .until(&BTreeMap::from([("key".to_owned(), 1)]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_where_and_why() {
    let port = Port::reserve();
    let address = port.address().to_string();
    let store = store_of(&EtcdConfig {
        max_retries: 4,
        ..config([&address])
    });
    let began = Instant::now();
    let results = [
        store.get("some/key").await.map(drop),
        store.delete("some/key").await,
        store.list("some/key").await.map(drop),
        increment(&store, "some/key").await.map(drop),
    ];
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }));
        let text = error.to_string();
        for part in [
            "etcd: ",
            "\"some/key\"",
            &address,
            "cannot connect",
            "refused",
        ] {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
        assert_eq!(text.matches("refused").count(), 1, "{text}");
    }
    // Three pauses for each.
    let longest = Duration::from_millis(4 * 3 * 300) + Duration::from_secs(2);
    assert!(began.elapsed() < longest, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_at_the_deadline() {
    let etcd = Etcd::start("etcd").await;
    let proxy = Proxy::start(etcd.address()).await;
    let dial_timeout = Duration::from_millis(500);
    let store = store_of(&EtcdConfig {
        dial_timeout,
        ..config([proxy.address()])
    });
    put(&store, "key", 1).await;
    proxy.freeze(true);
    let began = Instant::now();
    let error = store.get("key").await.unwrap_err().to_string();
    let took = began.elapsed();
    assert!(took < dial_timeout * 2 + Duration::from_secs(2), "{took:?}");
    assert!(error.contains("no answer within 500ms"), "{error}");
    assert!(error.contains(&proxy.address().to_string()), "{error}");
    // The old connection stays frozen for good; a new one serves.
    proxy.freeze(false);
    assert_eq!(value_of(&store, "key").await, 1);
}

/// It is unknown whether it took effect, so it is not repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_an_answer_is_not_repeated() {
    let etcd = Etcd::start("etcd").await;
    let proxy = Proxy::start(etcd.address()).await;
    let store = store_at([proxy.address()]);
    put(&store, "key", 1).await;
    let mut calls = 0;
    let error = store
        .cas("key", &mut |current| {
            calls += 1;
            proxy.freeze(true);
            kv_core::CasUpdate::Put(common::counter(current.unwrap().value + 1))
        })
        .await
        .unwrap_err()
        .to_string();
    proxy.freeze(false);
    assert_eq!(calls, 1);
    assert!(error.contains("may or may not have taken place"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_member_serves_when_one_is_dead() {
    let etcd = Etcd::start("etcd").await;
    let dead = Port::reserve();
    let store = store_at([dead.address(), etcd.address()]);
    put(&store, "key", 1).await;
    assert_eq!(store.list("").await.unwrap(), ["key"]);
    let store = store_at([dead.address(), etcd.address()]);
    let watched = Watched::begin(&store, "").await;
    assert_eq!(watched.picture["key"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_member_serves_when_one_dies() {
    let etcd = Etcd::start("etcd").await;
    for silent in [false, true] {
        let (first, second) = (
            Proxy::start(etcd.address()).await,
            Proxy::start(etcd.address()).await,
        );
        let store = store_at([first.address(), second.address()]);
        put(&store, "key", 1).await;
        let mut watched = Watched::begin(&store, "").await;
        assert_eq!(second.connections(), 0);
        if silent {
            first.freeze(true);
        } else {
            first.refuse(true);
            first.cut();
        }
        // Many find out at the same time.
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let store = Arc::clone(&store);
            calls.spawn(async move { value_of(&store, "key").await });
        }
        while let Some(value) = calls.join_next().await {
            assert_eq!(value.unwrap(), 1);
        }
        assert_eq!(second.connections(), 1);
        let began = Instant::now();
        put(&store, "key", 2).await;
        assert!(began.elapsed() < DIAL, "back at the first");
        if !silent {
            let wanted = BTreeMap::from([("key".to_owned(), 2)]);
            timeout(LONG, watched.until(&wanted)).await.unwrap();
        }
        store.delete("key").await.unwrap();
    }
}
