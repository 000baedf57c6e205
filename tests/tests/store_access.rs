//! The whole distributor against stores that ask who it is: TLS, users, tokens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::tls::{Authority, TlsFront};
use common::{assert_text, ha_config, ha_series};
use e2e::{
    Consul, ConsulOptions, Distributor, Etcd, EtcdOptions, ServerTlsFiles, Sink, Version, wait_for,
};
use serde_json::{Value, json};

const TOKEN: &str = "b6d8d1c2-2b0f-4a52-9d0e-0a5d6a1e7f10";

fn config(sink: &Sink, kvstore: &Value) -> String {
    let more = json!({"distributor": {"ha_tracker": {"kvstore": kvstore}}});
    ha_config(sink, &more)
}

async fn push(distributor: &Distributor) -> e2e::Answer {
    let series = [ha_series("m", "c", "a")];
    distributor.sender("t").send(Version::V1, &series).await
}

/// What was measured of the calls to the store.
async fn calls(distributor: &Distributor, operation: &str, status: &str, store: &str) -> f64 {
    let labels = [
        ("operation", operation),
        ("status_code", status),
        ("type", store),
        ("role", "primary"),
        ("kv_name", "distributor-hatracker"),
    ];
    let metrics = distributor.metrics().await.unwrap();
    metrics.sum("cortex_kv_request_duration_seconds_count", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_with_tls_client_certificates_and_a_user() {
    let authority = Authority::new("etcd");
    let server = authority.sign("127.0.0.1");
    let client = authority.sign("distributor");
    let etcd = Etcd::start_with(
        "etcd",
        &EtcdOptions {
            tls: Some(ServerTlsFiles {
                cert: server.cert,
                key: server.key,
                client_ca: Some(authority.path()),
            }),
            ..EtcdOptions::default()
        },
    )
    .await;
    for command in [
        "user add root:top",
        "user grant-role root root",
        "role add ha-tracker",
        "role grant-permission ha-tracker --prefix=true readwrite ha-tracker/",
        "user add ha:secret",
        "user grant-role ha ha-tracker",
        "auth enable",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        etcd.etcdctl(&words).await.unwrap();
    }
    let sink = Sink::start().await;
    let kvstore = json!({
        "store": "etcd",
        "etcd": {
            "endpoints": [etcd.endpoint()],
            "tls_enabled": true,
            "tls_ca_path": authority.path(),
            "tls_cert_path": client.cert,
            "tls_key_path": client.key,
            "username": "ha",
            "password": "secret",
        },
    });
    let distributor = Distributor::start("known", &config(&sink, &kvstore)).await;
    let answer = push(&distributor).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let keys = ["--user=root:top", "get", "--prefix", "--keys-only", "ha"];
    let keys = etcd.etcdctl(&keys).await.unwrap();
    assert_eq!(keys.trim(), "ha-tracker/t/c");
    assert!(calls(&distributor, "CAS", "200", "etcd").await >= 1.0);
    let shown = distributor.get("/config").await.unwrap().body;
    assert!(shown.contains("username: ha"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");

    // Without a certificate there is no conversation.
    let mut stranger = kvstore;
    stranger["etcd"]["tls_cert_path"] = json!("");
    stranger["etcd"]["tls_key_path"] = json!("");
    stranger["etcd"]["dial_timeout"] = json!("1s");
    let refused = Distributor::launch("unknown", &config(&sink, &stranger));
    refused_by_its_store(&refused, &etcd.endpoint()).await;
}

/// It is up, not ready, takes no samples, and its log says why.
async fn refused_by_its_store(distributor: &Distributor, cause: &str) {
    wait_for("the cause in the log", e2e::LONG, || async {
        let ready = distributor.get("/ready").await?;
        assert_text(&ready, 503, &["has not read its store"]);
        let log = distributor.process.log();
        let told = log
            .lines()
            .any(|line| line.contains("the watch was interrupted") && line.contains(cause));
        if told { Ok(()) } else { Err(log) }
    })
    .await;
    let answer = push(distributor).await;
    assert_text(&answer, 503, &["has not read its store"]);
    // A restart would not help, so a liveness probe must not ask for one.
    let alive = distributor.get("/healthz").await.unwrap();
    assert_text(&alive, 200, &["alive"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_with_a_token() {
    let consul = Consul::start_with(
        "consul",
        &ConsulOptions {
            acl_master_token: Some(TOKEN.to_owned()),
            ..ConsulOptions::default()
        },
    )
    .await;
    let sink = Sink::start().await;
    let kvstore = json!({
        "store": "consul",
        "consul": {"host": consul.host(), "acl_token": "${CONSUL_TOKEN}"},
    });
    let yaml = config(&sink, &kvstore);
    let start = |name: &'static str, token: &str| {
        let environment = [("CONSUL_TOKEN", token)];
        Distributor::launch_with(name, &yaml, &["-config.expand-env"], &environment)
    };
    let mut known = start("known", TOKEN);
    known.wait_ready().await;
    let answer = push(&known).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(consul.keys("").await.unwrap(), ["ha-tracker/t/c"]);
    assert!(calls(&known, "CAS", "200", "consul").await >= 1.0);
    let shown = known.get("/config").await.unwrap().body;
    assert!(!shown.contains(TOKEN), "{shown}");

    // Consul tells the anonymous that there are no keys, so this one gets ready.
    let mut anonymous = start("anonymous", "");
    anonymous.wait_ready().await;
    let answer = push(&anonymous).await;
    assert_text(&answer, 503, &["403", "acl_token", "ha-tracker/t/c"]);
    assert!(calls(&anonymous, "CAS", "500", "consul").await >= 1.0);

    // And a token that does not exist, that it does not.
    let unknown = start("unknown", "00000000-1111-2222-3333-444444444444");
    refused_by_its_store(&unknown, "403").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_over_tls() {
    let consul = Consul::start("consul").await;
    let authority = Authority::new("consul");
    let front = TlsFront::start(&authority.sign("127.0.0.1"), None, consul.address()).await;
    let sink = Sink::start().await;
    let kvstore = json!({
        "store": "consul",
        "consul": {"host": format!("https://{}", front.address)},
    });
    let yaml = config(&sink, &kvstore);
    let ca = authority.path().display().to_string();
    let environment = [("SSL_CERT_FILE", ca.as_str())];
    let mut trusting = Distributor::launch_with("trusting", &yaml, &[], &environment);
    trusting.wait_ready().await;
    let answer = push(&trusting).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(consul.keys("").await.unwrap(), ["ha-tracker/t/c"]);

    let distrusting = Distributor::launch("distrusting", &yaml);
    refused_by_its_store(&distrusting, "certificate").await;
}
