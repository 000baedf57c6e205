//! The store against a real agent: the conformance suite, keys, values, errors, permissions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use consulrs::client::{ConsulClient, ConsulClientSettingsBuilder};
use kv_consul::{ConsulConfig, ConsulStore, open};
use kv_core::conformance::{Backend, CODEC, Counter, run, storm};
use kv_core::{CasUpdate, Codec, SnappyProtobuf, Store, StoreError};
use peers::{Consul, ConsulOptions};
use settings::{Secret, SecretUrl};
use tokio::time::Instant;

/// Settings that make no test wait for a second.
fn config(host: String) -> ConsulConfig {
    ConsulConfig {
        host: SecretUrl::new(host),
        watch_rate_limit: 0.0,
        cas_retry_delay: Duration::from_millis(10),
        ..ConsulConfig::default()
    }
}

struct Agent(Consul);

#[async_trait]
impl Backend for Agent {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(open(&config(self.0.host()), None, CODEC).unwrap())
    }
}

fn put(value: i64) -> impl FnMut(Option<&Counter>) -> CasUpdate<Counter> + Send {
    move |_| {
        CasUpdate::Put(Counter {
            value,
            writer: String::new(),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    run(&Agent(Consul::start("consul").await)).await;
}

/// What the store writes is there for another client, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn another_client_reads_and_writes_the_same() {
    let consul = Consul::start("consul").await;
    let settings = ConsulClientSettingsBuilder::default()
        .address(format!("http://{}", consul.host()))
        .build()
        .unwrap();
    let other = ConsulClient::new(settings).unwrap();
    let store = open(&config(consul.host()), None, CODEC).unwrap();

    store.cas("shared/ours", &mut put(7)).await.unwrap();
    let read = consulrs::kv::read(&other, "shared/ours", None).await;
    let entry = read.unwrap().response.pop().unwrap();
    let bytes: Vec<u8> = entry.value.unwrap().try_into().unwrap();
    let ours = Counter {
        value: 7,
        writer: String::new(),
    };
    assert_eq!(CODEC.decode(&bytes).unwrap(), ours);

    let theirs = Counter {
        value: 8,
        writer: "another client".to_owned(),
    };
    // consulrs wants bytes that live for ever.
    let bytes: &'static [u8] = CODEC.encode(&theirs).unwrap().leak();
    let written = consulrs::kv::set(&other, "shared/theirs", bytes, None).await;
    assert!(written.unwrap().response);
    assert_eq!(store.get("shared/theirs").await.unwrap(), Some(theirs));
    let listed = consulrs::kv::keys(&other, "shared/", None).await.unwrap();
    assert_eq!(listed.response, ["shared/ours", "shared/theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_storm_loses_nothing() {
    storm(&Agent(Consul::start("consul").await), "storm", 16, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_with_consistent_reads() {
    struct Consistent(Consul);
    #[async_trait]
    impl Backend for Consistent {
        async fn open(&self) -> Arc<dyn Store<Counter>> {
            let config = ConsulConfig {
                consistent_reads: true,
                ..config(self.0.host())
            };
            Arc::new(open(&config, None, CODEC).unwrap())
        }
    }
    run(&Consistent(Consul::start("consul").await)).await;
}

/// As Mimir's description of a replica.
#[derive(Clone, PartialEq, prost::Message)]
struct Desc {
    #[prost(string, tag = "1")]
    replica: String,
    #[prost(int64, tag = "2")]
    received_at: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn others_find_exactly_our_key_and_our_bytes() {
    let consul = Consul::start("consul").await;
    let codec = SnappyProtobuf::<Desc>::new("replicaDesc");
    let store: ConsulStore<Desc> = open(&config(consul.host()), None, codec).unwrap();
    let stored: &[u8] = b"\x0b\x28\x0a\x02r1\x10\x80\xd0\x95\xff\xbc\x31";
    // What we write, curl's way and Consul's own command read. The second is the key as curl would
    // write it into a URL.
    for (key, in_url) in [
        ("ha-tracker/t1/prod", "ha-tracker/t1/prod"),
        ("ha-tracker/t1/with space", "ha-tracker/t1/with%20space"),
        ("ha-tracker/t1/ü", "ha-tracker/t1/%C3%BC"),
        ("ha-tracker/t1/50%", "ha-tracker/t1/50%25"),
        ("ha-tracker/t1/%2e%2e", "ha-tracker/t1/%252e%252e"),
        ("ha-tracker/t1/a?b#c&d=e", "ha-tracker/t1/a%3Fb%23c%26d%3De"),
        ("ha-tracker/t1/a+b", "ha-tracker/t1/a+b"),
    ] {
        let desc = Desc {
            replica: "r1".to_owned(),
            received_at: 1_700_000_000_000,
        };
        store
            .cas(key, &mut |_| CasUpdate::Put(desc.clone()))
            .await
            .unwrap();
        let raw = consul.get_raw(in_url).await.unwrap();
        assert_eq!(raw.as_deref(), Some(stored), "{key:?}");
        let base64 = consul
            .consul(&["kv", "get", "-base64", key])
            .await
            .unwrap_or_else(|error| panic!("{key:?}: {error}"));
        assert_eq!(base64.trim(), "CygKAnIxEIDQlf+8MQ==", "{key:?}");
    }
    assert_eq!(consul.keys("").await.unwrap().len(), 7);
    // And the other way round.
    consul.put_raw("ha-tracker/t2/x%20y", stored).await.unwrap();
    let read = store.get("ha-tracker/t2/x y").await.unwrap().unwrap();
    assert_eq!(
        (read.replica.as_str(), read.received_at),
        ("r1", 1_700_000_000_000)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_reaches_another() {
    let consul = Consul::start("consul").await;
    let store = open(&config(consul.host()), None, CODEC).unwrap();
    store.cas("ha-tracker/t2/prod", &mut put(7)).await.unwrap();
    for cluster in [
        "../t2/prod",
        "..",
        ".",
        "./../t2/prod",
        "/../t2/prod",
        "x/../../t2/prod",
        "",
        "\u{0}",
        "line\nbreak",
        // Not known to be unprintable here; the agent says so.
        "zero\u{200b}width",
        "private\u{e000}use",
    ] {
        let key = format!("ha-tracker/t1/{cluster}");
        if cluster.is_empty() {
            // A key with a slash at its end is a key of its own.
            store.cas(&key, &mut put(1)).await.unwrap();
            store.delete(&key).await.unwrap();
            continue;
        }
        let error = store.cas(&key, &mut put(1)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::InvalidKey { .. }),
            "{key:?}: {error}"
        );
        assert!(error.to_string().starts_with("consul: cannot hold the key"));
        assert!(store.get(&key).await.is_err(), "{key:?}");
        assert!(store.delete(&key).await.is_err(), "{key:?}");
    }
    assert_eq!(consul.keys("").await.unwrap(), ["ha-tracker/t2/prod"]);
    let untouched = store.get("ha-tracker/t2/prod").await.unwrap().unwrap();
    assert_eq!(untouched.value, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_the_prefix_is_enough() {
    const MASTER: &str = "b6d8d1c2-2b0f-4a52-9d0e-0a5d6a1e7f10";
    let consul = Consul::start_with(
        "consul",
        &ConsulOptions {
            acl_master_token: Some(MASTER.to_owned()),
            ..ConsulOptions::default()
        },
    )
    .await;
    let policy = serde_json::json!({
        "Name": "ha-tracker",
        "Rules": r#"key_prefix "ha-tracker/" { policy = "write" }"#,
    });
    let made = consul
        .api(
            "PUT",
            "/v1/acl/policy",
            policy.to_string().as_bytes(),
            Some(MASTER),
        )
        .await
        .unwrap();
    assert_eq!(made.status, 200, "{}", made.body);
    let token = serde_json::json!({ "Policies": [{ "Name": "ha-tracker" }] });
    let made = consul
        .api(
            "PUT",
            "/v1/acl/token",
            token.to_string().as_bytes(),
            Some(MASTER),
        )
        .await
        .unwrap();
    assert_eq!(made.status, 200, "{}", made.body);
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let secret = made["SecretID"].as_str().unwrap().to_owned();

    let config = ConsulConfig {
        acl_token: Some(Secret::new(secret.clone())),
        ..config(consul.host())
    };
    let store = open(&config, None, CODEC).unwrap();
    store.cas("ha-tracker/t1/c", &mut put(1)).await.unwrap();
    assert_eq!(
        store.list("ha-tracker/").await.unwrap(),
        ["ha-tracker/t1/c"]
    );
    let mut watch = store.watch_prefix("ha-tracker/");
    let first = futures::StreamExt::next(&mut watch).await;
    assert!(
        format!("{first:?}").contains("ha-tracker/t1/c"),
        "{first:?}"
    );

    let start = Instant::now();
    let error = store.cas("elsewhere/c", &mut put(1)).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("elsewhere/c") && text.contains("403") && text.contains("acl_token"),
        "{text}"
    );
    assert!(!text.contains(&secret), "{text}");
    // At once, not after ten attempts.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_not_there_is_named() {
    let free = peers::Port::reserve();
    let config = ConsulConfig {
        http_client_timeout: Duration::from_secs(2),
        ..config(free.address().to_string())
    };
    let store = open(&config, None, CODEC).unwrap();
    let start = Instant::now();
    let error = store.cas("ha-tracker/t1/c", &mut put(1)).await.unwrap_err();
    let text = error.to_string();
    for part in [
        "consul",
        "CAS",
        "ha-tracker/t1/c",
        &free.address().to_string(),
        "refused",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}
