//! Scrapes and pages that cost more than they should, with as many series as there can be tenants.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use futures::stream::{self, FuturesUnordered};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Attack, Outcome, Size, Victim};
use crate::{LONG, Series, Version, http_client, now_ms};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "scrapes-at-once",
        what: "8 scrapes at once, again and again, of the metrics of 100,000 tenants",
        run: |size| at_once(size).boxed(),
    },
    Attack {
        name: "unread-scrapes",
        what: "4 connections of HTTP/2 with 200 streams each that ask for the metrics of 100,000 tenants and do not read",
        run: |size| unread(size, "/metrics").boxed(),
    },
    Attack {
        name: "unread-pages",
        what: "4 connections of HTTP/2 with 200 streams each that ask for the tracker's page of 100,000 clusters and do not read",
        run: |size| unread(size, "/distributor/ha_tracker").boxed(),
    },
];

/// What readers may make the process grow by, bytes, however many there are: two renderings, one that
/// is being made, and what 256 readers' connections take ahead.
const GROWTH: u64 = 96 << 20;
/// Requests that fill the tables at once.
const CONCURRENCY: usize = 32;

/// What a tenant with one cluster may take, with its metrics and its share of gossip, bytes.
const PER_TENANT: u64 = 4 << 10;

fn tenants(size: Size) -> usize {
    size.pick(1_000, 99_000)
}

/// A distributor that knows many tenants, with a cluster each.
async fn crowded(size: Size) -> Victim {
    let victim = Victim::start(&json!({})).await;
    let url = victim.distributor.push_url();
    let tenants = tenants(size);
    let pushes = stream::iter(0..CONCURRENCY).map(|part| {
        let url = url.clone();
        async move {
            // One each, so that its connection is kept.
            let sender = crate::Sender::new(&url);
            for tenant in (part..tenants).step_by(CONCURRENCY) {
                let labels = [
                    ("__name__", "up"),
                    (
                        "__replica__",
                        "prometheus-kube-prometheus-stack-prometheus-0",
                    ),
                    ("cluster", "prod-eu-central-1-kubernetes-platform"),
                ];
                let series = [Series::floats(&labels, &[(now_ms(), 1.0)])];
                let sender = sender.clone().tenant(&format!("tenant-{tenant}"));
                let answer = sender.send(Version::V1, &series).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    });
    pushes.buffer_unordered(CONCURRENCY).collect::<()>().await;
    victim
}

async fn at_once(size: Size) -> Outcome {
    let victim = crowded(size).await;
    victim
        .under(size, async |victim, outcome| {
            outcome.allow_growth(GROWTH);
            if size == Size::Full {
                let of_each = victim.usage().resident / tenants(size) as u64;
                outcome.fact("memory of each tenant", format!("{of_each} bytes"));
                outcome.demand(of_each < PER_TENANT, || {
                    format!("each tenant takes {of_each} bytes, over {PER_TENANT}")
                });
            }
            let url = victim.distributor.url("/metrics");
            let (mut bytes, mut failed) = (0, 0);
            for _ in 0..size.pick(2, 5) {
                let scrapes = (0..8).map(|_| async {
                    let client = http_client();
                    let mut response = client.get(&url).send().await.ok()?;
                    let mut read = 0;
                    while let Some(part) = response.chunk().await.ok()? {
                        read += part.len();
                    }
                    Some(read)
                });
                for read in join_all(scrapes).await {
                    match read {
                        Some(read) => bytes += read,
                        None => failed += 1,
                    }
                }
            }
            outcome.fact("bytes scraped", format!("{bytes}"));
            outcome.demand(failed == 0, || format!("{failed} scrapes got no answer"));
        })
        .await
}

async fn unread(size: Size, path: &str) -> Outcome {
    let victim = crowded(size).await;
    victim
        .under(size, async |victim, outcome| {
            outcome.allow_growth(GROWTH);
            let connections = (0..size.pick(2, 4)).map(|_| streams(victim, path));
            let connections = join_all(connections).await;
            let mut statuses = BTreeMap::<u16, usize>::new();
            for status in connections.iter().flat_map(|(_, answers)| answers) {
                *statuses.entry(status.status().as_u16()).or_default() += 1;
            }
            outcome.fact("answers", format!("{statuses:?}"));
            let (begun, asked) = (statuses.values().sum::<usize>(), connections.len() * 200);
            outcome.demand(begun == asked, || {
                format!("{begun} of {asked} answers began")
            });
            outcome.demand(
                statuses.keys().all(|status| [200, 503].contains(status)),
                || format!("{statuses:?}"),
            );
            // Held for a while, and Prometheus, which asks for gzip, gets its scrapes meanwhile.
            for _ in 0..size.pick(2, 15) {
                let request = http_client().get(victim.distributor.url("/metrics"));
                let scraped = request.header("Accept-Encoding", "gzip").send().await;
                let scraped = match scraped {
                    Ok(response) if response.status() == 200 => response.bytes().await,
                    Ok(response) => response.error_for_status().map(|_| Bytes::new()),
                    Err(error) => Err(error),
                };
                outcome.demand(
                    scraped.as_ref().is_ok_and(|bytes| !bytes.is_empty()),
                    || format!("a scrape meanwhile: {scraped:?}"),
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            drop(connections);
        })
        .await
}

/// A connection that is not read from any more, and the answers that had begun.
type Streams = (BoxFuture<'static, ()>, Vec<Response<Incoming>>);

/// 200 streams of one connection, whose answers have begun.
async fn streams(victim: &Victim, path: &str) -> Streams {
    let address = victim.distributor.http_address();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut send, connection) = http2::Builder::new(TokioExecutor::new())
        // Room for some of each answer here: what is to be held is to be held there.
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(64 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let answers: Vec<_> = (0..200)
        .map(|_| {
            let uri = format!("http://{address}{path}");
            send.send_request(Request::get(uri).body(Empty::<Bytes>::new()).unwrap())
        })
        .collect();
    let mut connection = connection.map(drop).boxed();
    let mut begun = Vec::new();
    let mut answers: FuturesUnordered<_> = answers.into_iter().collect();
    // What has not begun by then is missing among the answers.
    let _ = timeout(LONG, async {
        loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(answer) => begun.extend(answer),
                    None => break,
                },
                () = &mut connection => break,
            }
        }
    })
    .await;
    (connection, begun)
}
