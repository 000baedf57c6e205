//! Calls against a real etcd that is well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{AnyStore, counter, put, store_at, stored, value_of};
use kv_core::conformance::{Backend, Counter, run, storm};
use kv_core::{CasUpdate, Codec, CodecError, SnappyProtobuf, Store, StoreError, StoreExt as _};
use kv_etcd::EtcdConfig;
use peers::Etcd;
use prost::Message as _;
use settings::Secret;
use tokio::time::timeout;

struct Server(Etcd);

#[async_trait]
impl Backend for Server {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        store_at([self.0.endpoint()])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_stores() {
    let server = Server(Etcd::start("etcd").await);
    timeout(Duration::from_secs(120), run(&server))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_increment_is_lost_in_a_storm() {
    storm(&Server(Etcd::start("etcd").await), "storm", 16, 200).await;
}

/// A replica description as Mimir has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Replica {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "2")]
    received_at: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_what_mimir_stores() {
    const STORED: &[u8] = b"\x0b\x28\x0a\x02r1\x10\x80\xd0\x95\xff\xbc\x31";
    let etcd = Etcd::start("etcd").await;
    let config = EtcdConfig::new([etcd.endpoint()]);
    let store =
        kv_etcd::open(&config, None, SnappyProtobuf::<Replica>::new("replicaDesc")).unwrap();
    let replica = Replica {
        name: "r1".into(),
        received_at: 1_700_000_000_000,
    };
    let keys = [
        "ha-tracker/user/cluster",
        "ha-tracker/t1/with space",
        "ha-tracker/t1/ü/日本",
        "ha-tracker/t1/../t2/prod",
        "ha-tracker/t1/a%2Fb?x=1&y#z",
        "--prefix",
        "\\x00\"'$(true)",
    ];
    for key in keys {
        store
            .cas(key, &mut |_| CasUpdate::Put(replica.clone()))
            .await
            .unwrap();
        let read = etcd.get_raw(key).await.unwrap();
        assert_eq!(read.as_deref(), Some(STORED), "{key:?}");
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(etcd.keys("").await.unwrap(), sorted);

    // And the other way round.
    etcd.put_raw("ha-tracker/t1/theirs", STORED).await.unwrap();
    assert_eq!(
        store.get("ha-tracker/t1/theirs").await.unwrap(),
        Some(replica.clone())
    );
    etcd.put_raw("ha-tracker/t1/junk", b"\xff\xff")
        .await
        .unwrap();
    let error = store.get("ha-tracker/t1/junk").await.unwrap_err();
    assert!(matches!(error, StoreError::Decode { .. }), "{error}");
    // Nor is it updated, but it can be replaced.
    let update = store.update("ha-tracker/t1/junk", |_| replica.clone());
    let error = update.await.unwrap_err();
    assert!(matches!(error, StoreError::Decode { .. }), "{error}");
    store
        .put("ha-tracker/t1/junk", replica.clone())
        .await
        .unwrap();
    let read = etcd.get_raw("ha-tracker/t1/junk").await.unwrap();
    assert_eq!(read.as_deref(), Some(STORED));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_text_is_a_key() {
    let etcd = Etcd::start("etcd").await;
    let store = store_at([etcd.endpoint()]);
    let longest = "k".repeat(kv_core::MAX_KEY);
    let keys = [
        "\0",
        "\0\0",
        "a\0b",
        "a",
        "\u{10ffff}",
        "\u{7f}",
        "\r\n",
        " ",
        &longest,
    ];
    for (value, key) in (1..).zip(keys) {
        put(&store, key, value).await;
    }
    for (value, key) in (1..).zip(keys) {
        assert_eq!(value_of(&store, key).await, value, "{key:?}");
    }
    // The empty prefix covers all, and "a" not what is before or after.
    assert_eq!(stored(&store, "").await.len(), keys.len());
    let mut listed = store.list("a").await.unwrap();
    listed.sort();
    assert_eq!(listed, ["a", "a\0b"]);
    // A key of another program that is not text is skipped.
    let mut other = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    other.put(b"a\xff".to_vec(), "x", None).await.unwrap();
    assert_eq!(store.list("a").await.unwrap().len(), 2);
    let mut watched = common::Watched::begin(&store, "a").await;
    assert_eq!(watched.picture.len(), 2);
    other.put(b"a\xfe".to_vec(), "x", None).await.unwrap();
    put(&store, "a", 9).await;
    watched.next().await;
    assert_eq!(watched.picture["a"], 9);

    for refused in ["", &format!("{longest}k")] {
        let error = store.get(refused).await.unwrap_err();
        assert!(matches!(error, StoreError::InvalidKey { .. }), "{error}");
    }
}

/// A key that is removed and created again in between has the same version, but not the same
/// revision.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_created_again_has_changed() {
    let etcd = Etcd::start("etcd").await;
    let store: AnyStore = store_at([etcd.endpoint()]);
    put(&store, "again", 1).await;
    let (other, handle) = (
        store_at([etcd.endpoint()]),
        tokio::runtime::Handle::current(),
    );
    let mut seen = Vec::new();
    let outcome = tokio::task::block_in_place(|| {
        handle.block_on(store.cas("again", &mut |current| {
            seen.push(current.unwrap().value);
            if seen.len() == 1 {
                tokio::task::block_in_place(|| {
                    handle.block_on(async {
                        other.delete("again").await.unwrap();
                        put(&other, "again", 2).await;
                    });
                });
            }
            CasUpdate::Put(counter(10))
        }))
    });
    outcome.unwrap();
    assert_eq!(seen, [1, 2]);
    assert_eq!(value_of(&store, "again").await, 10);
}

/// Without a bound, unlike those of kv-core.
struct Unbounded;

impl Codec<Counter> for Unbounded {
    fn id(&self) -> &'static str {
        "unbounded"
    }

    fn encode(&self, value: &Counter) -> Result<Vec<u8>, CodecError> {
        Ok(value.encode_to_vec())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Counter, CodecError> {
        Ok(Counter::decode(bytes)?)
    }
}

/// Beyond etcd's own bound, and beyond that of gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_value_is_refused_at_once() {
    let etcd = Etcd::start("etcd").await;
    let config = EtcdConfig::new([etcd.endpoint()]);
    let store = kv_etcd::open(&config, None, Unbounded).unwrap();
    for (size, says) in [
        (1_600_000, "request is too large"),
        (3_000_000, "larger than max"),
    ] {
        let mut value = counter(1);
        value.writer = common::random_text(size);
        let mut calls = 0;
        let error = store
            .cas("key", &mut |_| {
                calls += 1;
                CasUpdate::Put(value.clone())
            })
            .await
            .unwrap_err();
        assert_eq!(calls, 1);
        assert!(matches!(error, StoreError::InvalidValue { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(says), "{error}");
        assert!(
            !error.contains("may or may not have taken place"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let open = |config: &EtcdConfig| {
        kv_etcd::open(config, None, kv_core::conformance::CODEC)
            .err()
            .map(|error| error.to_string())
    };
    let none = EtcdConfig::new(Vec::<String>::new());
    assert_eq!(
        open(&none).unwrap(),
        "etcd has no endpoints; name at least one member as host:port"
    );
    let bad = EtcdConfig::new(["etcd:2379", "etcd"]);
    assert_eq!(
        open(&bad).unwrap(),
        "etcd endpoint \"etcd\": it has no port from 1 to 65535; write it as host:port"
    );
    let zero = EtcdConfig {
        dial_timeout: Duration::ZERO,
        ..EtcdConfig::new(["etcd:2379"])
    };
    assert!(open(&zero).unwrap().contains("zero"));
    let credentials = EtcdConfig {
        username: "mimir".into(),
        password: Some(Secret::new("secret")),
        ..zero
    };
    let shown = format!("{credentials:?}");
    assert!(
        shown.contains("mimir") && !shown.contains("secret"),
        "{shown}"
    );
}
