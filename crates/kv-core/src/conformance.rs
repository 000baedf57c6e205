//! The suite that every backend must pass, decorators and combinations included. Needs the feature
//! `testing`.
//!
//! A backend's test implements [`Backend`] and calls [`run`]; a broken rule panics with what was
//! expected. With a server that can be stopped, killed or cut off, it also calls
//! [`acknowledged_increments_survive`] and [`a_watch_survives`], which take the disturbance as a
//! function.
//!
//! ```
//! use std::sync::Arc;
//!
//! use kv_core::conformance::{Backend, Counter};
//! use kv_core::{InMemoryStore, Store};
//!
//! struct Memory(InMemoryStore<Counter>);
//!
//! #[async_trait::async_trait]
//! impl Backend for Memory {
//!     async fn open(&self) -> Arc<dyn Store<Counter>> {
//!         Arc::new(self.0.clone())
//!     }
//! }
//!
//! # /*
//! #[tokio::test(flavor = "multi_thread")]
//! # */
//! # #[tokio::main]
//! # async fn main() { keeps_the_contract().await }
//! async fn keeps_the_contract() {
//!     kv_core::conformance::run(&Memory(InMemoryStore::default())).await;
//! }
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed check panics"
)]

mod backend;
mod disturbed;
mod dropped;
mod everyday;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;

use crate::{CasOutcome, CasUpdate, Store, StoreError, StoreExt, WatchEvent, WatchStream};

use backend::counter;
pub use backend::{Backend, CODEC, Counter};
pub use disturbed::{a_watch_survives, acknowledged_increments_survive, storm};
pub use dropped::{calls_can_be_dropped, polled};

/// How long a change may take to reach a watcher before the suite gives up on it.
const DELIVERY: Duration = Duration::from_secs(30);

/// Runs every check, each below a prefix of its own; the backend's data need not be empty.
pub async fn run(backend: &dyn Backend) {
    let store = backend.open().await;
    absent_keys(&*store).await;
    round_trip(&*store).await;
    cas_answers(&*store).await;
    cas_sees_deletion(&*store).await;
    storm(backend, "storm/key", 8, 25).await;
    watch_prefix_begins_with_what_exists(&*store).await;
    watch_key_is_about_one_key(&*store).await;
    watchers_end_with_the_last_value(backend).await;
    odd_keys_survive_or_are_refused(&*store).await;
    prefixes_are_plain_text(&*store).await;
    everyday::everyday_calls(&*store).await;
    everyday::a_live_map_follows(&*store).await;
    calls_can_be_dropped(backend).await;
}

async fn put(store: &dyn Store<Counter>, key: &str, value: i64) {
    let stored = store.update(key, |_| counter(value)).await.unwrap();
    assert_eq!(stored, counter(value), "what was stored under {key:?}");
}

async fn next(watch: &mut WatchStream<Counter>, waiting_for: &str) -> WatchEvent<Counter> {
    tokio::time::timeout(DELIVERY, watch.next())
        .await
        .unwrap_or_else(|_| panic!("no event within {DELIVERY:?} while waiting for {waiting_for}"))
        .unwrap_or_else(|| panic!("the watch ended while waiting for {waiting_for}"))
}

/// Follows the watch until its entries are `wanted`.
async fn follow(
    watch: &mut WatchStream<Counter>,
    picture: &mut BTreeMap<String, i64>,
    wanted: &BTreeMap<String, i64>,
    waiting_for: &str,
) {
    while picture != wanted {
        match next(
            watch,
            &format!("{waiting_for}: have {picture:?}, want {wanted:?}"),
        )
        .await
        {
            WatchEvent::Put(key, value) => {
                picture.insert(key, value.value);
            }
            WatchEvent::Deleted(key) => {
                picture.remove(&key);
            }
            WatchEvent::Synced => {}
            WatchEvent::Undecodable(key, error) => panic!("{key:?} is undecodable: {error}"),
        }
    }
}

fn picture<const N: usize>(entries: [(&str, i64); N]) -> BTreeMap<String, i64> {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

async fn absent_keys(store: &dyn Store<Counter>) {
    assert_eq!(store.get("absent/key").await.unwrap(), None);
    assert_eq!(store.list("absent/").await.unwrap(), Vec::<String>::new());
    store
        .delete("absent/key")
        .await
        .expect("deleting an absent key succeeds");
    let kept = store
        .cas("absent/key", &mut |current| {
            assert_eq!(current, None);
            CasUpdate::Keep
        })
        .await;
    assert_eq!(kept.unwrap(), CasOutcome::Kept(None));
}

async fn round_trip(store: &dyn Store<Counter>) {
    put(store, "round/trip/1", 1).await;
    put(store, "round/trip/2", 2).await;
    assert_eq!(store.get("round/trip/1").await.unwrap(), Some(counter(1)));
    let mut keys = store.list("round/").await.unwrap();
    keys.sort();
    assert_eq!(keys, ["round/trip/1", "round/trip/2"]);
    store.delete("round/trip/1").await.unwrap();
    assert_eq!(store.get("round/trip/1").await.unwrap(), None);
    assert_eq!(store.list("round/").await.unwrap(), ["round/trip/2"]);
}

async fn cas_answers(store: &dyn Store<Counter>) {
    put(store, "cas/answers", 1).await;
    let kept = store
        .cas("cas/answers", &mut |_| CasUpdate::Keep)
        .await
        .unwrap();
    assert_eq!(kept, CasOutcome::Kept(Some(counter(1))));
    let aborted = store
        .cas("cas/answers", &mut |_| {
            CasUpdate::Abort("the rule said no".into())
        })
        .await
        .expect_err("an aborted CAS is an error");
    assert!(matches!(aborted, StoreError::Aborted { .. }), "{aborted}");
    let text = aborted.to_string();
    assert!(
        text.contains("cas/answers") && text.contains("the rule said no"),
        "{text}"
    );
    let stored = store
        .cas("cas/answers", &mut |current| {
            let value = current.map_or(0, |current| current.value) + 1;
            CasUpdate::Put(counter(value))
        })
        .await
        .unwrap();
    assert_eq!(stored.into_value(), Some(counter(2)));
    for _ in 0..2 {
        let deleted = store
            .cas("cas/answers", &mut |_| CasUpdate::Delete)
            .await
            .unwrap();
        assert_eq!(deleted, CasOutcome::Deleted);
        assert_eq!(store.get("cas/answers").await.unwrap(), None);
    }
}

async fn cas_sees_deletion(store: &dyn Store<Counter>) {
    put(store, "cas/deleted", 5).await;
    store.delete("cas/deleted").await.unwrap();
    let outcome = store
        .cas("cas/deleted", &mut |current| {
            assert_eq!(current, None, "a deleted key is absent");
            CasUpdate::Put(counter(6))
        })
        .await
        .unwrap();
    assert_eq!(outcome, CasOutcome::Stored(counter(6)));
}

async fn watch_prefix_begins_with_what_exists(store: &dyn Store<Counter>) {
    put(store, "watch/prefix/a", 1).await;
    put(store, "watch/prefix/b", 1).await;
    put(store, "watch/other", 1).await;
    let mut watch = store.watch_prefix("watch/prefix/");
    let mut initial = BTreeMap::new();
    loop {
        match next(&mut watch, "the initial picture").await {
            WatchEvent::Put(key, value) => {
                initial.insert(key, value.value);
            }
            WatchEvent::Synced => break,
            other => panic!("{other:?} in the initial picture"),
        }
    }
    assert_eq!(
        initial,
        picture([("watch/prefix/a", 1), ("watch/prefix/b", 1)])
    );
    put(store, "watch/prefix/b", 2).await;
    put(store, "watch/prefix/c", 3).await;
    put(store, "watch/other", 2).await;
    store.delete("watch/prefix/a").await.unwrap();
    let wanted = picture([("watch/prefix/b", 2), ("watch/prefix/c", 3)]);
    follow(&mut watch, &mut initial, &wanted, "changes and a deletion").await;
    put(store, "watch/prefix/a", 9).await;
    let wanted = picture([
        ("watch/prefix/a", 9),
        ("watch/prefix/b", 2),
        ("watch/prefix/c", 3),
    ]);
    follow(&mut watch, &mut initial, &wanted, "a key that comes back").await;
}

async fn watch_key_is_about_one_key(store: &dyn Store<Counter>) {
    let mut watch = store.watch_key("watch/key");
    assert!(matches!(
        next(&mut watch, "an empty picture").await,
        WatchEvent::Synced
    ));
    put(store, "watch/key/below", 1).await;
    put(store, "watch/keys", 1).await;
    put(store, "watch/key", 7).await;
    let mut seen = BTreeMap::new();
    follow(
        &mut watch,
        &mut seen,
        &picture([("watch/key", 7)]),
        "the watched key",
    )
    .await;
    store.delete("watch/key").await.unwrap();
    follow(&mut watch, &mut seen, &picture([]), "its deletion").await;
}

async fn watchers_end_with_the_last_value(backend: &dyn Backend) {
    const KEYS: i64 = 20;
    const ROUNDS: i64 = 20;
    let store = backend.open().await;
    let mut before = store.watch_prefix("last/");
    for round in 1..=ROUNDS {
        for key in 0..KEYS {
            put(&*store, &format!("last/{key}"), round).await;
        }
    }
    let mut after = backend.open().await.watch_prefix("last/");
    let wanted: BTreeMap<String, i64> = (0..KEYS)
        .map(|key| (format!("last/{key}"), ROUNDS))
        .collect();
    follow(
        &mut before,
        &mut BTreeMap::new(),
        &wanted,
        "the last values (early watcher)",
    )
    .await;
    follow(
        &mut after,
        &mut BTreeMap::new(),
        &wanted,
        "the last values (late watcher)",
    )
    .await;
}

async fn odd_keys_survive_or_are_refused(store: &dyn Store<Counter>) {
    let odd = [
        "odd/with space",
        "odd/with+plus",
        "odd/50%",
        "odd/%2e%2e",
        "odd/a%2Fb",
        "odd/question?x=1&y=2",
        "odd/hash#fragment",
        "odd/Überlänge/日本",
        "odd/emoji-🦀",
        "odd/quote\"and\\backslash",
        "odd/new\nline",
        "odd/semicolon;comma,",
        "odd/[brackets]{braces}",
        "odd//double",
        "odd/trailing/",
        "odd/./dot",
        "odd/t1/../t2/prod",
        "odd/..",
        "odd/...",
    ];
    let mut expected = BTreeMap::new();
    for (value, key) in (1..).zip(odd) {
        match store
            .cas(key, &mut |current| {
                assert_eq!(
                    current, None,
                    "{key:?} is new, but another key's value was read"
                );
                CasUpdate::Put(counter(value))
            })
            .await
        {
            Ok(_) => {
                expected.insert(key.to_owned(), value);
            }
            Err(StoreError::InvalidKey { key: named, .. }) => {
                assert!(
                    named.ends_with(key),
                    "the error names {named:?} instead of {key:?}"
                );
                assert!(matches!(
                    store.get(key).await,
                    Err(StoreError::InvalidKey { .. })
                ));
                assert!(matches!(
                    store.delete(key).await,
                    Err(StoreError::InvalidKey { .. })
                ));
            }
            Err(other) => panic!("{key:?}: {other}"),
        }
    }
    for (key, value) in &expected {
        let got = store.get(key).await.unwrap();
        assert_eq!(got, Some(counter(*value)), "{key:?} was mangled");
    }
    let mut keys = store.list("odd/").await.unwrap();
    keys.sort();
    assert_eq!(keys, expected.keys().cloned().collect::<Vec<_>>());
    let mut watch = store.watch_prefix("odd/");
    follow(&mut watch, &mut BTreeMap::new(), &expected, "odd keys").await;
    for key in expected.keys() {
        store.delete(key).await.unwrap();
    }
    assert_eq!(store.list("odd/").await.unwrap(), Vec::<String>::new());
}

async fn prefixes_are_plain_text(store: &dyn Store<Counter>) {
    for key in ["plain/a", "plain/ab", "plain/a/b", "plain-a"] {
        put(store, key, 1).await;
    }
    let mut keys = store.list("plain/a").await.unwrap();
    keys.sort();
    assert_eq!(keys, ["plain/a", "plain/a/b", "plain/ab"]);
}
