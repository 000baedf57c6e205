//! Watches whose connection is lost, and histories that change meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{AnyStore, Watched, increment, put, store_at, stored};
use etcd_client::{Client, Txn, TxnOp};
use kv_core::conformance::CODEC;
use kv_core::{Codec, WatchEvent};
use peers::{Etcd, LONG, Proxy, wait_for};

fn map<const N: usize>(entries: [(&str, i64); N]) -> BTreeMap<String, i64> {
    entries.map(|(key, value)| (key.to_owned(), value)).into()
}

/// No connection gets through, and those that were are gone.
async fn disconnect(proxy: &Proxy) {
    proxy.refuse(true);
    proxy.cut();
    wait_for("the connections to go", LONG, || async {
        let open = proxy.open();
        (open == 0).then_some(()).ok_or(format!("{open} open"))
    })
    .await;
}

/// A watch that has delivered the existing entries and is really running.
async fn under_way(scene: &Scene, prefix: &str) -> Watched {
    let mut watched = Watched::begin(&scene.far, prefix).await;
    let key = format!("{prefix}probe");
    put(&scene.near, &key, 1).await;
    while !watched.picture.contains_key(&key) {
        watched.next().await;
    }
    scene.near.delete(&key).await.unwrap();
    while !matches!(watched.next().await, WatchEvent::Deleted(_)) {}
    watched
}

/// An etcd, a store at it, and one behind a proxy.
struct Scene {
    etcd: Etcd,
    proxy: Proxy,
    near: AnyStore,
    far: AnyStore,
}

impl Scene {
    async fn new() -> Self {
        let etcd = Etcd::start("etcd").await;
        let proxy = Proxy::start(etcd.address()).await;
        let near = store_at([etcd.address()]);
        let far = store_at([proxy.address()]);
        Self {
            etcd,
            proxy,
            near,
            far,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_where_it_was() {
    let scene = Scene::new().await;
    for key in ["w/a", "w/b", "w/c", "x"] {
        put(&scene.near, key, 1).await;
    }
    let mut watched = under_way(&scene, "w/").await;
    assert_eq!(watched.picture, map([("w/a", 1), ("w/b", 1), ("w/c", 1)]));

    // Nothing has changed: only that is said.
    disconnect(&scene.proxy).await;
    scene.proxy.refuse(false);
    let events = watched.events;
    watched.until_synced().await;
    assert_eq!(watched.events, events + 1);

    // Changes, and one that leaves no trace.
    disconnect(&scene.proxy).await;
    put(&scene.near, "w/a", 2).await;
    scene.near.delete("w/b").await.unwrap();
    put(&scene.near, "w/d", 1).await;
    put(&scene.near, "w/gone", 1).await;
    scene.near.delete("w/gone").await.unwrap();
    put(&scene.near, "x", 2).await;
    scene.proxy.refuse(false);
    watched.until_synced().await;
    assert_eq!(watched.picture, map([("w/a", 2), ("w/c", 1), ("w/d", 1)]));

    // Deletions alone, so that no newer change tells that they are due.
    disconnect(&scene.proxy).await;
    scene.near.delete("w/a").await.unwrap();
    scene.near.delete("w/d").await.unwrap();
    scene.proxy.refuse(false);
    watched.until_synced().await;
    assert_eq!(watched.picture, map([("w/c", 1)]));
    put(&scene.near, "w/e", 5).await;
    watched.until(&map([("w/c", 1), ("w/e", 5)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_one_key_goes_on_where_it_was() {
    let scene = Scene::new().await;
    put(&scene.near, "key", 1).await;
    put(&scene.near, "key2", 1).await;
    let mut watched = Watched::new(scene.far.watch_key("key"));
    watched.until_synced().await;
    assert_eq!(watched.picture, map([("key", 1)]));
    put(&scene.near, "key", 2).await;
    watched.until(&map([("key", 2)])).await;
    disconnect(&scene.proxy).await;
    scene.near.delete("key").await.unwrap();
    put(&scene.near, "key2", 2).await;
    scene.proxy.refuse(false);
    watched.until_synced().await;
    assert_eq!(watched.picture, map([]));
    put(&scene.near, "key", 3).await;
    watched.until(&map([("key", 3)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_changes_are_found_by_reading() {
    let scene = Scene::new().await;
    for key in ["w/a", "w/b", "w/c"] {
        put(&scene.near, key, 1).await;
    }
    let mut watched = under_way(&scene, "w/").await;
    disconnect(&scene.proxy).await;
    put(&scene.near, "w/a", 2).await;
    scene.near.delete("w/b").await.unwrap();
    put(&scene.near, "w/d", 4).await;
    let revision = scene.etcd.revision().await.unwrap().to_string();
    let compacted = scene.etcd.etcdctl(&["compact", &revision]).await;
    compacted.unwrap();
    scene.proxy.refuse(false);
    let events = watched.events;
    watched.until_synced().await;
    assert_eq!(watched.picture, map([("w/a", 2), ("w/c", 1), ("w/d", 4)]));
    // What has not changed is not told again.
    assert_eq!(watched.events, events + 4);
    put(&scene.near, "w/c", 3).await;
    watched
        .until(&map([("w/a", 2), ("w/c", 3), ("w/d", 4)]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_under_load_lose_nothing() {
    let scene = Scene::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (Arc::clone(&scene.near), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let key = format!("w/{}", round % 37);
                if round % 5 == 4 {
                    store.delete(&key).await.unwrap();
                } else {
                    increment(&store, &key).await.unwrap();
                }
                round += 1;
            }
        })
    };
    let mut watched = Watched::begin(&scene.far, "w/").await;
    for _ in 0..5 {
        let goal = watched.events + 50;
        while watched.events < goal {
            watched.next().await;
        }
        scene.proxy.cut();
        watched.until_synced().await;
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let all = stored(&scene.near, "w/").await;
    watched.until(&all).await;
    assert!(scene.proxy.connections() >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_data_is_reported_as_deletions() {
    let mut scene = Scene::new().await;
    for round in 1..=5 {
        for key in ["w/a", "w/b", "w/c"] {
            put(&scene.near, key, round).await;
        }
    }
    let mut watched = Watched::begin(&scene.far, "w/").await;
    scene.etcd.restart_empty().await;
    put(&scene.near, "w/b", 9).await;
    watched.until(&map([("w/b", 9)])).await;
    put(&scene.near, "w/new", 1).await;
    watched.until(&map([("w/b", 9), ("w/new", 1)])).await;
}

/// The new history is already longer than the old one was, and even has its revisions and keys.
#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_recognised() {
    let mut scene = Scene::new().await;
    put(&scene.near, "other", 1).await;
    put(&scene.near, "w/a", 1).await;
    put(&scene.near, "w/b", 1).await;
    let mut watched = under_way(&scene, "w/").await;
    disconnect(&scene.proxy).await;
    scene.etcd.restart_empty().await;
    put(&scene.near, "w/a", 7).await;
    put(&scene.near, "w/c", 7).await;
    put(&scene.near, "other", 1).await;
    for _ in 0..20 {
        put(&scene.near, "other", 1).await;
    }
    scene.proxy.refuse(false);
    watched.until(&map([("w/a", 7), ("w/c", 7)])).await;
    put(&scene.near, "w/a", 8).await;
    watched.until(&map([("w/a", 8), ("w/c", 7)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_read_in_pages() {
    const KEYS: i64 = 12_000;
    let scene = Scene::new().await;
    let mut client = Client::connect([scene.etcd.endpoint()], None)
        .await
        .unwrap();
    let all: BTreeMap<String, i64> = (0..KEYS)
        .map(|number| (format!("w/tenant-{}/cluster-{number}", number % 7), number))
        .collect();
    let entries: Vec<_> = all.iter().collect();
    for chunk in entries.chunks(100) {
        let puts: Vec<TxnOp> = chunk
            .iter()
            .map(|(key, value)| {
                TxnOp::put(
                    key.as_str(),
                    CODEC.encode(&common::counter(**value)).unwrap(),
                    None,
                )
            })
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    put(&scene.near, "x", 1).await;
    let mut listed = scene.near.list("w/").await.unwrap();
    listed.sort_unstable();
    assert!(listed.iter().eq(all.keys()));
    let mut watched = Watched::new(scene.far.watch_prefix("w/"));
    let mut puts = 0;
    while let WatchEvent::Put(..) = watched.next().await {
        puts += 1;
    }
    assert_eq!(puts, KEYS);
    assert!(watched.picture == all);

    // After a cut none of it is read again.
    put(&scene.near, "w/last", 1).await;
    watched.next().await;
    disconnect(&scene.proxy).await;
    let before = scene.proxy.bytes_to_client();
    scene.proxy.refuse(false);
    watched.until_synced().await;
    let read = scene.proxy.bytes_to_client() - before;
    assert!(read < 10_000, "{read} bytes");
}

/// More than gRPC's 4 MiB at once, in one revision, which etcd sends in fragments.
#[tokio::test(flavor = "multi_thread")]
async fn large_changes_arrive() {
    let scene = Scene::new().await;
    let mut watched = under_way(&scene, "w/").await;
    disconnect(&scene.proxy).await;
    let mut client = Client::connect([scene.etcd.endpoint()], None)
        .await
        .unwrap();
    let large = kv_core::conformance::Counter {
        value: 1,
        writer: common::random_text(300_000),
    };
    let value = CODEC.encode(&large).unwrap();
    for round in 0..6 {
        let puts: Vec<TxnOp> = (0..4)
            .map(|number| TxnOp::put(format!("w/{round}-{number}"), value.clone(), None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    scene.proxy.refuse(false);
    watched.until_synced().await;
    assert_eq!(watched.picture.len(), 24);
}
