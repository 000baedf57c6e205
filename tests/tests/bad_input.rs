//! Requests that are wrong, by mistake or on purpose: each is refused with a reason, costs little,
//! and never ends the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{
    BOTH, assert_stored, assert_text, assert_written, config, exchange, ha_config, ha_series,
    per_sample_config, plain_series, push_head, wait_metric,
};
use e2e::{Answer, Distributor, Sender, Sink, Version};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A block that claims to hold this much.
const FOUR_GIB: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];

async fn start(name: &str) -> (Sink, Distributor) {
    let sink = Sink::start().await;
    let distributor = Distributor::start(name, &ha_config(&sink, &json!({}))).await;
    (sink, distributor)
}

/// The server lives, and so does the way through it.
async fn assert_serves(sink: &Sink, distributor: &Distributor) {
    sink.take();
    for version in BOTH {
        let series = ha_series("good", "c", "a");
        let answer = distributor.sender("good").send(version, &[series]).await;
        assert_stored(&answer, version);
    }
    assert_eq!(sink.requests().len(), 2);
    assert!(sink.refused().is_empty(), "{:?}", sink.refused());
    let log = distributor.process.log();
    assert!(!log.contains("panicked"), "{log}");
}

async fn post(sender: &Sender, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let answer = sender.try_send_bytes(headers, body.to_vec()).await;
    answer.unwrap_or_else(|e| panic!("{headers:?}: {e}"))
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// A field of wire type 2.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 128);
    [&[number << 3 | 2, length], content].concat()
}

/// A 2.0 request with the symbols "", "a", "b" and one series.
fn with_symbols(series: &[u8]) -> Vec<u8> {
    [
        field(4, b""),
        field(4, b"a"),
        field(4, b"b"),
        field(5, series),
    ]
    .concat()
}

#[tokio::test]
async fn protobuf_that_is_none_is_refused_with_the_place() {
    let (sink, distributor) = start("protobuf").await;
    let eleven_bytes = [[0x80; 10].as_slice(), &[1]].concat();
    let in_series = |bytes: &[u8]| field(1, bytes);
    let long_varint = field(2, &[[0x10].as_slice(), &eleven_bytes].concat());
    // Both versions know field 1 of the request, though only 1.0 as its series.
    let v1_cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("field 0", vec![0x02, 0], "field number 0"),
        (
            "field 0 in a series",
            in_series(&[0x02, 0]),
            "field number 0",
        ),
        ("start of a group", vec![0x0b], "wire type 3"),
        ("end of a group", vec![0x0c], "wire type 4"),
        ("wire type 6", vec![0x0e], "wire type 6"),
        ("wire type 7", vec![0x0f], "wire type 7"),
        ("a group in a series", in_series(&[0x0b]), "wire type 3"),
        ("key too long", eleven_bytes.clone(), "varint longer"),
        (
            "length too long",
            [&[0x0a], eleven_bytes.as_slice()].concat(),
            "varint longer",
        ),
        (
            "timestamp too long",
            in_series(&long_varint),
            "varint longer",
        ),
        (
            "beyond the end",
            vec![0x0a, 5, 0],
            "length 5 exceeds the 1 bytes left",
        ),
        (
            "far beyond the end",
            [&[0x0a], [0xff; 9].as_slice(), &[1]].concat(),
            "exceeds",
        ),
        ("series beyond the end", in_series(&[0x0a, 9, 0]), "exceeds"),
        (
            "label beyond the end",
            in_series(&field(1, &[0x0a, 9, 0])),
            "exceeds",
        ),
        ("ends in a key", vec![0x80], "ends inside a value"),
        (
            "ends in a float",
            in_series(&field(2, &[0x09, 0, 0])),
            "ends inside a value",
        ),
        (
            "a varint as series",
            vec![0x08, 1],
            "wire type 0 instead of 2",
        ),
        ("not even nearly", b"hello, world".to_vec(), "invalid"),
    ];
    let v2_cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("field 0", vec![0x02, 0], "field number 0"),
        ("group", vec![0x2b], "wire type 3"),
        ("beyond the end", vec![0x2a, 5, 0], "exceeds"),
        ("symbol beyond the end", vec![0x22, 5, 0], "exceeds"),
        ("odd", with_symbols(&field(1, &[1])), "odd number"),
        (
            "odd in sum",
            with_symbols(&[field(1, &[1, 2]), field(1, &[1])].concat()),
            "odd number",
        ),
        (
            "out of range",
            with_symbols(&field(1, &[1, 3])),
            "reference 3 out of range",
        ),
        (
            "exceeds 32 bits",
            with_symbols(&field(1, &[1, 0x80, 0x80, 0x80, 0x80, 0x10])),
            "exceeds 32 bits",
        ),
        ("no symbols", field(5, &field(1, &[0, 0])), "symbols"),
        (
            "first symbol",
            [field(4, b"a"), field(5, &[])].concat(),
            "first symbol",
        ),
        (
            "varint in refs",
            with_symbols(&field(1, &[0x80])),
            "ends inside a value",
        ),
    ];
    let sender = distributor.sender("t");
    let v1_cases = v1_cases.into_iter().map(|case| (Version::V1, case));
    let v2_cases = v2_cases.into_iter().map(|case| (Version::V2, case));
    for (version, (what, protobuf, part)) in v1_cases.chain(v2_cases) {
        let answer = sender.send_protobuf(version, &protobuf).await;
        let line = answer.body.clone();
        assert_eq!(answer.status, 400, "{version:?} {what}: {answer:?}");
        assert!(
            line.contains(part),
            "{version:?} {what}: {part:?} is missing in: {line}"
        );
        let number = match version {
            Version::V1 => "remote write 0.1.0",
            Version::V2 => "remote write 2.0.0",
        };
        assert_text(&answer, 400, &[number, "at byte", "fix the sender"]);
        assert_written(&answer, version, [0, 0, 0]);
        assert_eq!(answer.header("Retry-After"), None);
    }
    // One version's request as the other's.
    let v1 = field(1, &field(1, &[field(1, b"a"), field(2, b"b")].concat()));
    assert_stored(&sender.send_protobuf(Version::V1, &v1).await, Version::V1);
    assert_eq!(sink.attempts(), 1);
    assert_serves(&sink, &distributor).await;
}

#[tokio::test]
async fn bodies_that_are_no_snappy_blocks_are_refused() {
    let (sink, distributor) = start("snappy").await;
    let sender = distributor.sender("t");
    let good = compress(&[b"some text ".as_slice(); 100].concat());
    let no_block = "not a valid snappy block";
    for (what, body, part) in [
        ("nothing", vec![], "the body is empty"),
        ("truncated", good[..good.len() - 3].to_vec(), no_block),
        ("only a preamble", vec![10], no_block),
        ("endless preamble", vec![0xff; 20], no_block),
        (
            "a terabyte",
            vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x20],
            no_block,
        ),
        ("too long", [good.as_slice(), &[0, 0]].concat(), no_block),
        ("a copy of nothing", vec![8, 0x15, 1], no_block),
        ("framed", b"\xff\x06\x00\x00sNaPpY".to_vec(), no_block),
        (
            "gzip",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec(),
            no_block,
        ),
        // Below the size limit, but more than its bytes can hold.
        ("bomb", vec![0x80, 0x80, 0x80, 0x20, 0, 0], "can expand to"),
    ] {
        let answer = post(&sender, &[], &body).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_text(&answer, 400, &[part, "fix the sender"]);
    }
    let answer = post(&sender, &[], &FOUR_GIB).await;
    assert_text(
        &answer,
        413,
        &["decompressed", "4294967295 bytes", "104857600 bytes"],
    );
    assert_eq!(sink.attempts(), 0);
    assert_serves(&sink, &distributor).await;
}

/// Content types of remote write that name something else than its messages.
const OTHER_MESSAGES: [&str; 3] = [
    "application/x-protobuf;proto=prometheus.ReadRequest",
    "application/x-protobuf;proto=io.prometheus.write.v3.Request",
    "application/x-protobuf;proto",
];

#[tokio::test]
async fn only_posts_of_known_types_are_read() {
    let (sink, distributor) = start("types").await;
    let client = e2e::http_client();
    for path in ["/api/v1/push", "/api/v1/write"] {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let request = client.request(method.clone(), distributor.url(path));
            let response = request.header("X-Scope-OrgID", "t").send().await.unwrap();
            assert_eq!(response.status(), 405, "{method}");
            assert_eq!(response.headers()["allow"], "POST", "{method}");
            let body = response.text().await.unwrap();
            assert!(
                body.contains("remote write needs the method POST"),
                "{method}: {body:?}"
            );
        }
    }
    let sender = distributor.sender("t");
    for content_type in OTHER_MESSAGES {
        let answer = post(&sender, &[("Content-Type", content_type)], &[0]).await;
        let parts = ["unsupported Content-Type", content_type, "supported are"];
        assert_text(&answer, 415, &parts);
    }
    for encoding in [
        "gzip",
        "zstd",
        "identity",
        "snappy, gzip",
        "x-snappy-framed",
    ] {
        let answer = post(&sender, &[("Content-Encoding", encoding)], &[0]).await;
        let parts = ["unsupported Content-Encoding", encoding, "snappy"];
        assert_text(&answer, 415, &parts);
    }
    // Before a byte is decompressed, and before the tenant matters.
    let without_tenant = Sender::new(&distributor.push_url());
    let unknown = "application/x-protobuf;proto=prometheus.ReadRequest";
    let answer = post(&without_tenant, &[("Content-Type", unknown)], &[0xff; 5]).await;
    assert_text(&answer, 415, &[]);

    for headers in [
        vec![],
        vec![("Content-Encoding", "")],
        vec![("Content-Type", "application/x-protobuf")],
        vec![(
            "Content-Type",
            "application/x-protobuf ; proto = prometheus.WriteRequest",
        )],
        // The content type decides.
        vec![("X-Prometheus-Remote-Write-Version", "2.0.0")],
    ] {
        let answer = post(&sender, &headers, &[0]).await;
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
    }
    assert_serves(&sink, &distributor).await;
}

#[tokio::test]
async fn too_large_is_told_with_both_sizes() {
    let sink = Sink::start().await;
    let limit = json!({"distributor": {"max_recv_msg_size": 1000}});
    let distributor = Distributor::start("too-large", &config(&sink, &limit)).await;
    let sender = distributor.sender("t");
    let setting = "distributor.max_recv_msg_size";
    let answer = post(&sender, &[], &[0; 1001]).await;
    assert_text(
        &answer,
        413,
        &["1001 bytes", "1000 bytes", setting, "max_samples_per_send"],
    );

    let answer = post(&sender, &[], &compress(&[0; 5000])).await;
    assert_text(
        &answer,
        413,
        &["decompressed", "5000 bytes", "1000 bytes", setting],
    );

    let mut chunked = push_head("Transfer-Encoding: chunked\r\n").into_bytes();
    for _ in 0..4 {
        chunked.extend_from_slice(b"190\r\n");
        chunked.extend_from_slice(&[0; 400]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = exchange(distributor.http_address(), &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("at least 1200 bytes"), "{answer}");

    // A gigabyte is announced; the distributor does not wait for it.
    let endless = push_head("Content-Length: 1000000000\r\n");
    let answer = exchange(distributor.http_address(), endless.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("1000000000 bytes"), "{answer}");

    // As large as may be.
    let mut exact = vec![0x3a, 0xe5, 0x07];
    exact.resize(1000, 0);
    let answer = sender.send_protobuf(Version::V1, &exact).await;
    assert_stored(&answer, Version::V1);
    assert_serves(&sink, &distributor).await;
}

#[tokio::test]
async fn a_request_needs_a_valid_tenant() {
    let (sink, distributor) = start("tenant").await;
    let without_tenant = Sender::new(&distributor.push_url());
    for headers in [vec![], vec![("X-Scope-OrgID", "")]] {
        let answer = post(&without_tenant, &headers, &[0]).await;
        let parts = ["no org id", "X-Scope-OrgID", "multitenancy_enabled"];
        assert_text(&answer, 401, &parts);
    }
    let long = "x".repeat(151);
    for (tenant, part) in [
        ("a/b", "'/'"),
        ("a|b", "multiple org IDs"),
        ("a|b|a", "multiple org IDs"),
        ("a|", "empty"),
        (":more", "empty"),
        ("a b", "' '"),
        ("a\tb", "fix the sender"),
        ("..", "reserved"),
        (".", "reserved"),
        ("__mimir_cluster", "reserved"),
        ("../../etc/passwd", "'/'"),
        ("<script>", "'<'"),
        ("ü", "visible ASCII"),
        (&long, "151 bytes"),
    ] {
        let answer = post(&without_tenant, &[("X-Scope-OrgID", tenant)], &[0]).await;
        assert_text(&answer, 400, &["X-Scope-OrgID", part, "fix the sender"]);
    }
    assert_eq!(sink.attempts(), 0);
    assert_serves(&sink, &distributor).await;
}

#[tokio::test]
async fn lies_about_lengths_do_no_harm() {
    let (sink, distributor) = start("lengths").await;
    let address = distributor.http_address();
    let status = |answer: &str| answer.split(' ').nth(1).map(str::to_owned);
    // More than is sent: the client closes its half, and is told so or not.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = push_head("Content-Length: 500\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0; 100]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(
        matches!(status(&answer).as_deref(), None | Some("400" | "503")),
        "{answer}"
    );

    // Fewer than are sent: what is left over is not a request.
    let body = [b"Content-Length: 1\r\n".as_slice(), b"\r\n"].concat();
    let mut bytes = push_head("").into_bytes();
    bytes.truncate(bytes.len() - 2);
    let head = String::from_utf8(bytes)
        .unwrap()
        .replace("Connection: close\r\n", "");
    let bytes = [head.as_bytes(), &body, &[0], b"garbage\r\n\r\n"].concat();
    let answer = exchange(address, &bytes).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("HTTP/1.1 400 "), "{answer}");

    for lengths in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
    ] {
        let bytes = [push_head(lengths).as_bytes(), &[0, 0]].concat();
        let answer = exchange(address, &bytes).await;
        assert_eq!(
            status(&answer).as_deref(),
            Some("400"),
            "{lengths}: {answer}"
        );
    }
    // Chunks that are none.
    let bytes = push_head("Transfer-Encoding: chunked\r\n") + "zz\r\n\0\r\n0\r\n\r\n";
    let answer = exchange(address, bytes.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("not framed as HTTP requires"), "{answer}");
    assert_eq!(sink.attempts(), 0);
    assert_serves(&sink, &distributor).await;
}

#[tokio::test]
async fn what_is_not_http_does_no_harm() {
    let (sink, distributor) = start("not-http").await;
    let address = distributor.http_address();
    let huge_header = push_head(&format!("X-Huge: {}\r\n", "x".repeat(1 << 20)));
    let many_headers = push_head(&"X-Many: x\r\n".repeat(10_000));
    let mut random = Vec::new();
    for i in 0..100_000_u32 {
        random.extend_from_slice(&i.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    for bytes in [
        b"\0\0\0\0\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"POST /api/v1/push HTTP/9.9\r\n\r\n",
        &[b'/'; 100_000],
        &random,
        huge_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let answer = exchange(address, bytes).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    for path in [
        "/nothing",
        "/api/v1/push/more",
        "/%00",
        "//",
        "/..%2f..%2fetc%2fpasswd",
    ] {
        let answer = distributor.get(path).await.unwrap();
        assert_text(&answer, 404, &["there is nothing at"]);
    }
    assert_serves(&sink, &distributor).await;
}

/// Many from 50 connections; returns the statuses that came.
async fn flood(
    distributor: &Distributor,
    count: usize,
    headers: [(&str, &str); 1],
    body: &[u8],
) -> Vec<u16> {
    // One client for all: making one takes longer than a request.
    let sender = distributor.sender("flood");
    let clients = (0..50).map(|_| async {
        let mut statuses = Vec::new();
        for _ in 0..count / 50 {
            statuses.push(post(&sender, &headers, body).await.status);
        }
        statuses
    });
    futures::future::join_all(clients).await.concat()
}

/// The most that the process has ever had in memory, in MiB, without the pages of its program,
/// which are many in a debug build.
fn peak_mib(distributor: &Distributor) -> f64 {
    let path = format!("/proc/{}/status", distributor.process.id());
    let status = std::fs::read_to_string(path).unwrap();
    let kib = |name: &str| -> f64 {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    };
    (kib("VmHWM:") - kib("RssFile:")) / 1024.0
}

#[tokio::test]
async fn floods_of_bombs_take_no_memory() {
    let (sink, distributor) = start("bombs").await;
    let v1 = [("Content-Type", "application/x-protobuf")];
    // And what is just below the limit of 100 MiB.
    for (body, status) in [
        (FOUR_GIB.as_slice(), 413),
        (&[0x80, 0x80, 0x80, 0x32, 0, 0], 400),
    ] {
        let statuses = flood(&distributor, 2000, v1, body).await;
        assert_eq!(statuses.len(), 2000);
        assert!(statuses.iter().all(|s| *s == status), "{statuses:?}");
    }
    let peak = peak_mib(&distributor);
    assert!(peak < 64.0, "at most {peak} MiB");
    assert_serves(&sink, &distributor).await;
}

#[tokio::test]
async fn bombs_within_the_limits_take_what_the_limits_say() {
    let mut limits = common::tracked();
    common::merge(
        &mut limits,
        &json!({"distributor": {
            "max_recv_msg_size": "512KiB",
            "instance_limits": {"max_inflight_push_requests_bytes": "2MiB"},
        }, "limits": {"accept_ha_samples": true}}),
    );
    let distributor = Distributor::start("millions", &limits.to_string()).await;
    // A quarter of a million empty symbols, series, labels: each is legal.
    for (content_type, pair) in [
        (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            [0x22, 0],
        ),
        (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            [0x2a, 0],
        ),
        ("application/x-protobuf", [0x0a, 0]),
    ] {
        let body = compress(&pair.repeat(1 << 18));
        let headers = [("Content-Type", content_type)];
        for status in flood(&distributor, 50, headers, &body).await {
            assert!(
                matches!(status, 200 | 204 | 400 | 503),
                "{pair:?}: {status}"
            );
        }
    }
    let peak = peak_mib(&distributor);
    assert!(peak < 48.0, "at most {peak} MiB");
    wait_metric(
        &distributor,
        "cortex_distributor_inflight_push_requests",
        &[],
        0.0,
    )
    .await;
    let answer = distributor
        .sender("good")
        .send(Version::V1, &[plain_series("m")])
        .await;
    assert_stored(&answer, Version::V1);
}

#[tokio::test]
async fn ten_thousand_clusters_at_once_are_bounded() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("clusters", &per_sample_config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    let series: Vec<_> = (0..10_000)
        .map(|i| ha_series("m", &format!("c{i}"), "a"))
        .collect();
    let answer = tokio::time::timeout(Duration::from_secs(25), sender.send(Version::V1, &series));
    let answer = answer.await.unwrap();
    assert!(answer.status == 400, "{answer:?}");
    let page = distributor.get_json("/distributor/ha_tracker").await;
    let elected = page.unwrap()["elected"].as_array().unwrap().len();
    assert!(
        elected <= 100,
        "{elected} clusters, more than ha_max_clusters"
    );
    let long = "x".repeat(1025);
    for (cluster, replica) in [(long.as_str(), "a"), ("c", long.as_str())] {
        let answer = sender
            .send(
                Version::V1,
                &[ha_series("m", cluster, replica), plain_series("p")],
            )
            .await;
        assert_text(&answer, 400, &["more than 1024 bytes", "shorten"]);
        assert!(answer.body.len() < 300, "{answer:?}");
    }
    assert_serves(&sink, &distributor).await;
}
