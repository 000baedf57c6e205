//! Several requests over one connection of HTTP/1.1: those that the distributor serves straight from
//! the connection, and all others after them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{config, plain_series, wait_metric};
use e2e::{Distributor, Fault, SHORT, Sink, Version, wait_for};
use remote_write_testkit::to_body;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn start(name: &str, more: &Value) -> (Distributor, Sink) {
    let sink = Sink::start().await;
    let distributor = Distributor::start(name, &config(&sink, more)).await;
    (distributor, sink)
}

/// One connection, and what was read of it beyond the last answer.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn connect(distributor: &Distributor) -> Self {
        let stream = TcpStream::connect(distributor.http_address()).await;
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Head and body of the next answer; `None` if the connection is closed instead.
    async fn answer(&mut self) -> Option<(String, String)> {
        loop {
            if let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
                let head = head.to_ascii_lowercase();
                let length = head.split_once("content-length: ");
                let length = length.map_or(0, |(_, rest)| {
                    rest.lines().next().unwrap().trim().parse().unwrap()
                });
                if self.read.len() >= end + 4 + length {
                    let body = self.read[end + 4..end + 4 + length].to_vec();
                    self.read.drain(..end + 4 + length);
                    return Some((head, String::from_utf8(body).unwrap()));
                }
            }
            let more = self.stream.read_buf(&mut self.read);
            match timeout(SHORT, more).await.expect("no answer") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next answer, which must have this status.
    async fn expect(&mut self, status: u16) -> (String, String) {
        let answer = self.answer().await.expect("the connection was closed");
        let begin = format!("http/1.1 {status} ");
        assert!(answer.0.starts_with(&begin), "{answer:?}");
        answer
    }
}

fn body(name: &str) -> Vec<u8> {
    to_body(Version::V1, &[plain_series(name)])
}

fn head(framing: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/push HTTP/1.1\r\nHost: d\r\nX-Scope-OrgID: t\r\n\
         Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n{framing}\r\n\r\n"
    )
    .into_bytes()
}

fn push(name: &str) -> Vec<u8> {
    let body = body(name);
    [head(&format!("Content-Length: {}", body.len())), body].concat()
}

fn names(sink: &Sink) -> Vec<String> {
    let requests = sink.requests();
    let series = requests.iter().flat_map(|request| &request.series);
    series.map(|series| series.name().to_owned()).collect()
}

#[tokio::test]
async fn every_kind_of_request_may_follow_another() {
    let (distributor, sink) = start("mixture", &json!({})).await;
    let mut client = Client::connect(&distributor).await;
    for name in ["one", "two"] {
        client.send(&push(name)).await;
        let (head, body) = client.expect(200).await;
        assert_eq!(body, "");
        assert!(head.contains("\r\ndate: "), "{head}");
    }
    let chunked = body("three");
    client.send(&head("Transfer-Encoding: chunked")).await;
    client
        .send(format!("{:x}\r\n", chunked.len()).as_bytes())
        .await;
    client.send(&chunked).await;
    client.send(b"\r\n0\r\n\r\n").await;
    client.expect(200).await;
    client.send(&push("four")).await;
    client.expect(200).await;
    client.send(b"GET /ready HTTP/1.1\r\nHost: d\r\n\r\n").await;
    assert_eq!(client.expect(200).await.1, "ready\n");
    client.send(&push("five")).await;
    client.expect(200).await;
    assert_eq!(names(&sink), ["one", "two", "three", "four", "five"]);
    // All were counted alike, whatever served them.
    let labels = [("route", "api_v1_push"), ("status_code", "200")];
    let count = "cortex_request_duration_seconds_count";
    wait_metric(&distributor, count, &labels, 5.0).await;
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte_or_with_the_next_one() {
    let (distributor, sink) = start("pieces", &json!({})).await;
    let mut client = Client::connect(&distributor).await;
    for byte in push("slow") {
        client.send(&[byte]).await;
    }
    client.expect(200).await;
    // The first one of these is answered before the second is read.
    client.send(&[push("first"), push("second")].concat()).await;
    client.expect(200).await;
    client.expect(200).await;
    assert_eq!(names(&sink), ["slow", "first", "second"]);
}

#[tokio::test]
async fn a_refused_request_is_read_to_its_end_and_the_connection_stays() {
    let more = json!({"distributor": {"max_recv_msg_size": 1000}});
    let (distributor, sink) = start("refused", &more).await;
    let mut client = Client::connect(&distributor).await;
    let large = vec![7; 300_000];
    let framing = format!("Content-Length: {}", large.len());
    client.send(&[head(&framing), large].concat()).await;
    let (_, text) = client.expect(413).await;
    assert!(text.contains("max_recv_msg_size"), "{text}");
    client
        .send(&[head("Content-Length: 3"), b"abc".to_vec()].concat())
        .await;
    client.expect(400).await;
    client.send(&push("after")).await;
    client.expect(200).await;
    assert_eq!(names(&sink), ["after"]);

    // More than is read of a refused request: the answer is the last one.
    let endless = format!("Content-Length: {}", 1u64 << 40);
    client.send(&head(&endless)).await;
    for _ in 0..20 {
        // The distributor may have closed it.
        let _ = client.stream.write_all(&[7; 100_000]).await;
    }
    if let Some((head, _)) = client.answer().await {
        assert!(head.contains("connection: close"), "{head}");
        assert!(client.answer().await.is_none());
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_gives_its_request_up() {
    let (distributor, sink) = start("hang-up", &json!({})).await;
    let (_held, fault) = Fault::hold();
    sink.fail(fault);
    let mut client = Client::connect(&distributor).await;
    client.send(&push("up")).await;
    let in_flight = "cortex_distributor_inflight_push_requests";
    wait_metric(&distributor, in_flight, &[], 1.0).await;
    drop(client);
    wait_metric(&distributor, in_flight, &[], 0.0).await;
    let labels = [("route", "api_v1_push"), ("status_code", "499")];
    let count = "cortex_request_duration_seconds_count";
    wait_metric(&distributor, count, &labels, 1.0).await;
}

#[tokio::test]
async fn the_end_of_the_server_answers_what_is_in_flight_and_closes_what_is_idle() {
    let (mut distributor, sink) = start("drain", &json!({})).await;
    let mut idle = Client::connect(&distributor).await;
    idle.send(&push("idle")).await;
    idle.expect(200).await;
    let (held, fault) = Fault::hold();
    sink.fail(fault);
    let mut busy = Client::connect(&distributor).await;
    busy.send(&push("busy")).await;
    wait_for("the downstream to have it", SHORT, || async {
        match sink.attempts() {
            2 => Ok(()),
            attempts => Err(attempts.to_string()),
        }
    })
    .await;
    distributor.process.sigterm();
    assert!(idle.answer().await.is_none());
    drop(held);
    let (head, _) = busy.expect(200).await;
    assert!(head.contains("connection: close"), "{head}");
    assert!(busy.answer().await.is_none());
    assert_eq!(distributor.process.wait_exit(SHORT).await.code(), Some(0));
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_when_its_time_is_over() {
    let more = json!({"server": {"http_server_idle_timeout": "1s"}});
    let (distributor, _sink) = start("idle", &more).await;
    let mut client = Client::connect(&distributor).await;
    for name in ["one", "two"] {
        client.send(&push(name)).await;
        client.expect(200).await;
    }
    assert!(client.answer().await.is_none());
}
