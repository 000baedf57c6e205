//! TLS and users.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{AnyStore, Watched, config, increment, put, store_of, value_of};
use kv_core::StoreError;
use kv_core::conformance::CODEC;
use kv_etcd::EtcdConfig;
use peers::{Etcd, EtcdOptions, Proxy, SHORT, ServerTlsFiles, wait_for};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use settings::Secret;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.file("key.pem"), key.serialize_pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    /// Trusts this authority.
    fn client(&self, identity: Option<Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate], key)
                .unwrap(),
            None => builder.with_no_client_auth(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_client_certificates() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("stranger"));
    let ours = authority.sign("127.0.0.1");
    let options = EtcdOptions {
        tls: Some(ServerTlsFiles {
            cert: authority.file("cert.pem"),
            key: authority.file("key.pem"),
            client_ca: Some(authority.file("ca.pem")),
        }),
        extra_flags: Vec::new(),
    };
    let mut etcd = Etcd::start_with("etcd", &options).await;
    let with = |endpoint: String, tls: ClientConfig| {
        let config = EtcdConfig {
            tls_enabled: true,
            max_retries: 2,
            ..config([endpoint])
        };
        (config, tls)
    };
    let store_of = |(config, tls): &(EtcdConfig, ClientConfig)| -> AnyStore {
        Arc::new(kv_etcd::open(config, Some(tls.clone()), CODEC).unwrap())
    };
    let clone = (ours.0.clone(), ours.1.clone_key());
    let trusted = authority.client(Some(clone));
    for endpoint in [etcd.endpoint(), format!("https://{}", etcd.endpoint())] {
        let store = store_of(&with(endpoint, trusted.clone()));
        assert!(increment(&store, "key").await.unwrap() > 0);
    }
    let store = store_of(&with(etcd.endpoint(), trusted.clone()));
    let mut watched = Watched::begin(&store, "").await;
    assert_eq!(etcd.keys("").await.unwrap(), ["key"]);
    etcd.restart().await;
    put(&store, "key", 10).await;
    while watched.picture["key"] != 10 {
        watched.next().await;
    }

    let wrong_name = with(format!("localhost:{}", etcd.address().port()), trusted);
    let wrong_authority = with(etcd.endpoint(), stranger.client(Some(ours)));
    let no_certificate = with(etcd.endpoint(), authority.client(None));
    let foreign = with(
        etcd.endpoint(),
        authority.client(Some(stranger.sign("127.0.0.1"))),
    );
    let mut plain = with(etcd.endpoint(), authority.client(None));
    plain.0.tls_enabled = false;
    for (config, says) in [
        (
            wrong_authority,
            "TLS handshake failed: invalid peer certificate: UnknownIssuer",
        ),
        (wrong_name, "certificate not valid for name \"localhost\""),
        (no_certificate, "received fatal alert"),
        (foreign, "received fatal alert"),
        (plain, ""),
    ] {
        let store = store_of(&config);
        // A member that hangs up is not always heard out.
        let error = wait_for("a clear error", SHORT, || async {
            let error = store.get("key").await.unwrap_err().to_string();
            match error.contains(says) {
                true => Ok(error),
                false => Err(error),
            }
        })
        .await;
        println!("{error}");
        assert!(error.contains(config.0.endpoints[0].expose()), "{error}");
    }
}

async fn with_users() -> Etcd {
    let etcd = Etcd::start("etcd").await;
    for command in [
        "user add root:top",
        "user grant-role root root",
        "role add tracker",
        "role grant-permission tracker --prefix=true readwrite ha-tracker/",
        "user add mimir:secret",
        "user grant-role mimir tracker",
        "auth enable",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        etcd.etcdctl(&words).await.unwrap();
    }
    etcd
}

fn as_user(endpoint: impl ToString, user: &str, password: &str) -> EtcdConfig {
    EtcdConfig {
        username: user.to_owned(),
        password: Some(Secret::new(password)),
        ..config([endpoint])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_just_the_needed_rights() {
    let mut etcd = with_users().await;
    let proxy = Proxy::start(etcd.address()).await;
    let store = store_of(&as_user(proxy.address(), "mimir", "secret"));
    put(&store, "ha-tracker/t/a", 1).await;
    let mut watched = Watched::begin(&store, "ha-tracker/").await;
    assert_eq!(store.list("ha-tracker/").await.unwrap(), ["ha-tracker/t/a"]);

    // The token is lost with the process. Each kind of call finds out by itself.
    for round in 2..5 {
        etcd.restart().await;
        match round {
            2 => put(&store, "ha-tracker/t/b", 1).await,
            3 => assert_eq!(value_of(&store, "ha-tracker/t/a").await, round - 1),
            _ => store.delete("ha-tracker/t/b").await.unwrap(),
        }
        put(&store, "ha-tracker/t/a", round).await;
        while watched.picture["ha-tracker/t/a"] != round {
            watched.next().await;
        }
    }
    assert_eq!(watched.picture.len(), 1);
    // Even if there is a single attempt.
    let once = store_of(&EtcdConfig {
        max_retries: 1,
        ..as_user(etcd.address(), "mimir", "secret")
    });
    assert_eq!(value_of(&once, "ha-tracker/t/a").await, 4);

    etcd.etcdctl(&["--user=root:top", "role", "add", "another"])
        .await
        .unwrap();
    put(&once, "ha-tracker/t/a", 5).await;

    // Outside of the role: at once, without ten attempts.
    let before = proxy.bytes_to_server();
    let began = Instant::now();
    let errors = [
        store.get("other/key").await.map(drop),
        store.list("").await.map(drop),
        store.delete("other/key").await,
        increment(&store, "other/key").await.map(drop),
    ];
    for result in errors {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("PermissionDenied"), "{text}");
        assert!(text.contains("permission denied"), "{text}");
    }
    let sent = proxy.bytes_to_server() - before;
    assert!(sent < 1500, "{sent} bytes for four refused calls");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_once_it_is_permitted() {
    let etcd = with_users().await;
    let store = store_of(&as_user(etcd.address(), "mimir", "secret"));
    let mut watched = Watched::new(store.watch_prefix("other/"));
    let early = timeout(Duration::from_millis(500), watched.next()).await;
    assert!(early.is_err(), "{early:?}");
    etcd.etcdctl(&[
        "--user=root:top",
        "role",
        "grant-permission",
        "tracker",
        "--prefix=true",
        "readwrite",
        "other/",
    ])
    .await
    .unwrap();
    watched.until_synced().await;
    put(&store, "other/key", 1).await;
    watched.next().await;
    assert_eq!(watched.picture["other/key"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_are_not_let_in() {
    let etcd = with_users().await;
    for (config, says) in [
        (
            as_user(etcd.address(), "mimir", "wrong"),
            "authentication failed, invalid user ID or password",
        ),
        (
            as_user(etcd.address(), "nobody", "secret"),
            "authentication failed, invalid user ID or password",
        ),
        (config([etcd.address()]), "user name is empty"),
    ] {
        let store = store_of(&config);
        let began = Instant::now();
        let error = store.get("ha-tracker/a").await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("wrong"), "{error}");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}

/// dskit's client does not mind either.
#[tokio::test(flavor = "multi_thread")]
async fn users_while_authentication_is_off() {
    let etcd = Etcd::start("etcd").await;
    let store = store_of(&as_user(etcd.address(), "mimir", "secret"));
    put(&store, "ha-tracker/a", 1).await;
    let mut watched = Watched::begin(&store, "ha-tracker/").await;
    // It is turned on: this client has to log in now.
    for command in [
        "user add root:top",
        "user grant-role root root",
        "user add mimir:secret",
        "user grant-role mimir root",
        "auth enable",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        etcd.etcdctl(&words).await.unwrap();
    }
    put(&store, "ha-tracker/a", 2).await;
    while watched.picture["ha-tracker/a"] != 2 {
        watched.next().await;
    }
}
