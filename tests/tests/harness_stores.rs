//! The harness of the stores: the real servers and the network before them do what scenarios
//! rely on, without a distributor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::tls::Authority;
use e2e::{
    Consul, ConsulOptions, Etcd, EtcdOptions, LONG, Proxy, SHORT, ServerTlsFiles, get, wait_for,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// No text, and with everything that a line-based reader could lose.
const VALUE: &[u8] = b"\n\xff\0 value\n\n";

#[tokio::test]
async fn etcd_keeps_its_data_until_it_loses_it() {
    let mut etcd = Etcd::start("etcd").await;
    assert_eq!(etcd.revision().await.unwrap(), 1);
    assert_eq!(etcd.get_raw("a/1").await.unwrap(), None);
    etcd.put_raw("a/1", VALUE).await.unwrap();
    etcd.put_raw("a/2", b"").await.unwrap();
    etcd.put_raw("b", b"x").await.unwrap();

    let address = etcd.address();
    etcd.restart().await;
    assert_eq!(etcd.address(), address);
    assert_eq!(etcd.get_raw("a/1").await.unwrap().as_deref(), Some(VALUE));
    assert_eq!(etcd.get_raw("a/2").await.unwrap(), Some(Vec::new()));
    assert_eq!(etcd.keys("a/").await.unwrap(), ["a/1", "a/2"]);
    assert_eq!(etcd.revision().await.unwrap(), 4);
    let metrics = etcd.metrics().await.unwrap();
    assert_eq!(metrics.get("etcd_server_has_leader", &[]), Some(1.0));

    etcd.restart_empty().await;
    assert_eq!(etcd.revision().await.unwrap(), 1);
    assert_eq!(etcd.get_raw("a/1").await.unwrap(), None);
    assert!(etcd.keys("").await.unwrap().is_empty());

    let error = etcd.etcdctl(&["no-such-command"]).await.unwrap_err();
    assert!(error.contains("unknown command"), "{error}");
}

#[tokio::test]
async fn etcd_speaks_tls_and_asks_for_certificates() {
    let authority = Authority::new("etcd");
    let identity = authority.sign("127.0.0.1");
    for client_ca in [None, Some(authority.path())] {
        let options = EtcdOptions {
            tls: Some(ServerTlsFiles {
                cert: identity.cert.clone(),
                key: identity.key.clone(),
                client_ca: client_ca.clone(),
            }),
            extra_flags: vec!["--max-txn-ops=7".to_owned()],
        };
        let etcd = Etcd::start_with("etcd", &options).await;
        etcd.put_raw("a", VALUE).await.unwrap();
        assert_eq!(etcd.get_raw("a").await.unwrap().as_deref(), Some(VALUE));
        assert!(etcd.metrics().await.is_ok());
        let plain = get(&format!("http://{}/health", etcd.endpoint()), None).await;
        assert!(plain.is_err() || plain.unwrap().status == 400);
        let trusting = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([trusting])
            .no_proxy()
            .build()
            .unwrap();
        let url = format!("https://{}/health", etcd.endpoint());
        let without_certificate = client.get(url).send().await;
        assert_eq!(
            without_certificate.is_ok(),
            client_ca.is_none(),
            "{without_certificate:?}"
        );
    }
}

/// What Consul says with a key.
async fn index(consul: &Consul) -> u64 {
    let answer = consul.api("GET", "/v1/kv/a/1", &[], None).await.unwrap();
    answer.header("X-Consul-Index").unwrap().parse().unwrap()
}

#[tokio::test]
async fn consul_keeps_its_data_until_it_loses_it() {
    let mut consul = Consul::start("consul").await;
    assert!(consul.keys("").await.unwrap().is_empty());
    assert_eq!(consul.get_raw("a/1").await.unwrap(), None);
    consul.put_raw("a/1", b"x").await.unwrap();
    let first = index(&consul).await;
    for i in 0..20 {
        // Another value each time: writing the same again does not move the index.
        consul.put_raw("a/1", &[i]).await.unwrap();
    }
    consul.put_raw("a/1", VALUE).await.unwrap();
    consul.put_raw("a/%3F%25%20%2F", b"").await.unwrap();
    let last = index(&consul).await;
    assert!(last >= first + 20, "{first} {last}");

    let address = consul.address();
    consul.restart().await;
    assert_eq!(consul.address(), address);
    assert_eq!(consul.get_raw("a/1").await.unwrap().as_deref(), Some(VALUE));
    assert_eq!(
        consul.get_raw("a/%3F%25%20%2F").await.unwrap(),
        Some(Vec::new())
    );
    assert_eq!(consul.keys("a/").await.unwrap(), ["a/1", "a/?% /"]);
    assert_eq!(index(&consul).await, last);
    let keys = consul.consul(&["kv", "get", "-keys", "a/"]).await.unwrap();
    assert_eq!(keys, "a/1\na/?% /\n");
    let error = consul.put_raw("a/%2Fb", b"").await.unwrap_err();
    assert!(error.contains("redirected"), "{error}");
    let error = consul.consul(&["kv", "get", "b"]).await.unwrap_err();
    assert!(error.contains("No key exists at: b"), "{error}");

    consul.restart_empty().await;
    assert_eq!(consul.get_raw("a/1").await.unwrap(), None);
    consul.put_raw("a/1", b"x").await.unwrap();
    assert!(index(&consul).await < last);
}

#[tokio::test]
async fn consul_asks_for_tokens() {
    let token = "6b8f1c1e-3c5e-4f0a-9a63-0d5a8f0b7c11";
    let options = ConsulOptions {
        acl_master_token: Some(token.to_owned()),
        extra_config: vec![(
            "limits".to_owned(),
            r#"{"kv_max_value_size":8}"#.parse().unwrap(),
        )],
    };
    let mut consul = Consul::start_with("consul", &options).await;
    consul.put_raw("a", b"x").await.unwrap();
    let error = consul.put_raw("a", b"123456789").await.unwrap_err();
    assert!(error.starts_with("413"), "{error}");
    consul.restart().await;
    assert_eq!(
        consul.get_raw("a").await.unwrap().as_deref(),
        Some(&b"x"[..])
    );
    assert_eq!(consul.consul(&["kv", "get", "a"]).await.unwrap(), "x\n");
    for (given, status) in [(None, 403), (Some("unknown"), 403), (Some(token), 200)] {
        let answer = consul.api("PUT", "/v1/kv/a", b"y", given).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let answer = consul.api("GET", "/v1/kv/a", &[], None).await.unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
    // A list without a token has nothing in it, instead of an error.
    let answer = consul.api("GET", "/v1/kv/?keys", &[], None).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "[]"));
}

/// A server that sends back what it gets.
struct Echo {
    listener: JoinHandle<()>,
    proxy: Proxy,
}

impl Echo {
    /// One behind a proxy.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    // Fails when it is reset.
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::start(address).await;
        Self { listener, proxy }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Sends a byte and waits for it to come back.
async fn ping(stream: &mut TcpStream) -> std::io::Result<u8> {
    stream.write_all(b"p").await?;
    timeout(LONG, stream.read_u8()).await.unwrap()
}

/// Whether nothing comes for a while.
async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(200), stream.read_u8())
        .await
        .is_err()
}

async fn until_open(proxy: &Proxy, wanted: u64) {
    wait_for("connections to be open or closed", SHORT, || async {
        let open = proxy.open();
        (open == wanted).then_some(()).ok_or(open.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_proxy_cuts_and_refuses() {
    let echo = Echo::start().await;
    let (mut a, mut b) = (echo.connect().await, echo.connect().await);
    assert_eq!(ping(&mut a).await.unwrap(), b'p');
    assert_eq!(ping(&mut b).await.unwrap(), b'p');
    assert_eq!((echo.proxy.connections(), echo.proxy.open()), (2, 2));
    let counters = |proxy: &Proxy| (proxy.bytes_to_server(), proxy.bytes_to_client());
    assert_eq!(counters(&echo.proxy), (2, 2));

    echo.proxy.cut();
    for stream in [&mut a, &mut b] {
        let error = timeout(LONG, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    until_open(&echo.proxy, 0).await;
    let mut c = echo.connect().await;
    assert_eq!(ping(&mut c).await.unwrap(), b'p');

    echo.proxy.refuse(true);
    assert!(ping(&mut echo.connect().await).await.is_err());
    assert_eq!(ping(&mut c).await.unwrap(), b'p');
    echo.proxy.refuse(false);
    assert_eq!(ping(&mut echo.connect().await).await.unwrap(), b'p');
    assert_eq!((echo.proxy.connections(), echo.proxy.refused()), (4, 1));
    assert_eq!(counters(&echo.proxy), (5, 5));
}

#[tokio::test]
async fn a_proxy_freezes_and_thaws() {
    let echo = Echo::start().await;
    let mut old = echo.connect().await;
    assert_eq!(ping(&mut old).await.unwrap(), b'p');
    echo.proxy.freeze(true);
    let mut new = echo.connect().await;
    for stream in [&mut old, &mut new] {
        stream.write_all(b"q").await.unwrap();
        assert!(is_silent(stream).await);
    }
    assert_eq!((echo.proxy.bytes_to_server(), echo.proxy.open()), (1, 2));
    echo.proxy.freeze(false);
    for stream in [&mut old, &mut new] {
        let read = timeout(LONG, stream.read_u8()).await.unwrap();
        assert_eq!(read.unwrap(), b'q');
    }

    // The end of one direction passes, and what comes after it in the other.
    old.write_all(b"last").await.unwrap();
    old.shutdown().await.unwrap();
    let mut rest = String::new();
    let read = timeout(LONG, old.read_to_string(&mut rest)).await.unwrap();
    assert_eq!((read.unwrap(), rest.as_str()), (4, "last"));
    until_open(&echo.proxy, 1).await;

    echo.proxy.freeze(true);
    echo.proxy.cut();
    assert!(timeout(LONG, new.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_proxy_delays_without_getting_slower() {
    let echo = Echo::start().await;
    let mut stream = echo.connect().await;
    assert_eq!(ping(&mut stream).await.unwrap(), b'p');
    let delay = Duration::from_millis(300);
    echo.proxy.delay(delay);
    let start = Instant::now();
    assert_eq!(ping(&mut stream).await.unwrap(), b'p');
    assert!(start.elapsed() >= delay);

    // In 256 chunks: one after the other, they would take more than a minute.
    let sent: Vec<u8> = (0..4 << 20).map(|i: u32| (i / 7) as u8).collect();
    let mut received = vec![0; sent.len()];
    let start = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let both = async { tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received)) };
    let (written, read) = timeout(LONG, both).await.unwrap();
    written.unwrap();
    read.unwrap();
    assert!(sent == received, "changed on the way");
    let elapsed = start.elapsed();
    assert!(elapsed >= delay && elapsed < SHORT, "{elapsed:?}");

    echo.proxy.delay(Duration::ZERO);
    assert_eq!(ping(&mut stream).await.unwrap(), b'p');
}

#[tokio::test]
async fn a_proxy_without_a_server_resets_and_ends_when_dropped() {
    let mut echo = Echo::start().await;
    let mut stream = echo.connect().await;
    assert_eq!(ping(&mut stream).await.unwrap(), b'p');
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = unused.local_addr().unwrap();
    drop(unused);
    let dead = Proxy::start(target).await;
    let mut nowhere = TcpStream::connect(dead.address()).await.unwrap();
    assert!(timeout(LONG, nowhere.read_u8()).await.unwrap().is_err());

    echo.proxy = dead;
    assert!(timeout(LONG, stream.read_u8()).await.unwrap().is_err());
}
