//! Connections to a listener: those that never speak, too many of them, and idle ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::net::SocketAddr;

use common::{assert_stored, config, plain_series};
use e2e::{Distributor, LONG, SHORT, Sink, Version, wait_for};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client of HTTP/2 begins with, without the end.
const HALF_A_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

async fn start(name: &str, more: &Value) -> (Distributor, Sink) {
    let sink = Sink::start().await;
    let distributor = Distributor::start(name, &config(&sink, more)).await;
    (distributor, sink)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the other side has closed.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.is_ok()
}

async fn metric(distributor: &Distributor, name: &str, protocol: &str) -> f64 {
    let metrics = distributor.metrics().await.unwrap();
    metrics.get(name, &[("protocol", protocol)]).unwrap()
}

#[tokio::test]
async fn whoever_does_not_speak_in_time_is_closed_on_both_ports() {
    let (distributor, _sink) = start("silent", &json!({})).await;
    let grpc: SocketAddr = distributor.grpc_address().parse().unwrap();
    let mut streams = Vec::new();
    for address in [distributor.http_address(), grpc] {
        for said in [&b""[..], b"P", HALF_A_PREFACE] {
            let mut stream = connect(address).await;
            stream.write_all(said).await.unwrap();
            streams.push((address, said, stream));
        }
    }
    let closing = streams
        .iter_mut()
        .map(|(address, said, stream)| async move {
            let said = String::from_utf8_lossy(said);
            assert!(is_closed(stream).await, "{address} after {said:?}");
        });
    join_all(closing).await;
}

#[tokio::test]
async fn an_idle_connection_gives_way_and_a_busy_one_does_not() {
    let more = json!({"server": {"http_listen_conn_limit": 8}});
    let (distributor, sink) = start("limit", &more).await;
    let sender = distributor.sender("t");
    let address = distributor.http_address();
    // One that is in the middle of a request.
    let mut busy = connect(address).await;
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: d\r\nX-Scope-OrgID: t\r\n\
                Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                Content-Length: 1\r\n\r\n";
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect(address).await);
        assert_stored(
            &sender.send(Version::V1, &[plain_series("up")]).await,
            Version::V1,
        );
    }
    assert_eq!(sink.requests().len(), 40);
    // The first ones were closed at once, not when their time was over.
    for stream in &mut silent[..30] {
        assert!(timeout(SHORT, is_closed(stream)).await.is_ok());
    }
    busy.write_all(&[0]).await.unwrap();
    let mut answer = [0; 12];
    timeout(SHORT, busy.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!(
        metric(&distributor, "cortex_tcp_connections_limit", "http").await,
        8.0
    );
    assert!(metric(&distributor, "cortex_tcp_connections", "http").await <= 8.0);
    let log = distributor.process.log();
    assert!(
        log.contains("an idle one was closed for a new one"),
        "{log}"
    );
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_when_its_time_is_over() {
    let more = json!({"server": {"http_server_idle_timeout": "1s"}});
    let (distributor, _sink) = start("idle", &more).await;
    let mut stream = connect(distributor.http_address()).await;
    // More than one request, so that the time restarts.
    for _ in 0..2 {
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nHost: d\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ready\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert!(is_closed(&mut stream).await);
    wait_for("the place of the connection", SHORT, || async {
        // The one that asks.
        match metric(&distributor, "cortex_tcp_connections", "http").await {
            few if few <= 1.0 => Ok(()),
            many => Err(format!("{many} connections")),
        }
    })
    .await;
}
