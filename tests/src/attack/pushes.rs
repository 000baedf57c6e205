//! Pushes that take places and send nothing.

use std::convert::Infallible;

use bytes::Bytes;
use futures::future::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Attack, Outcome, Size, Victim};
use crate::{GrpcClient, SHORT, Series, Version, now_ms, wait_for};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "made-up-tenants",
        what: "100,000 pushes of one byte, each for a tenant of its own, then one of a new tenant",
        run: |size| made_up_tenants(size).boxed(),
    },
    Attack {
        name: "bodyless-requests",
        what: "2,000 requests without bodies on 10 connections, half of them gRPC",
        run: |size| bodyless(size).boxed(),
    },
];

/// Pushes in flight at the same time.
const AT_ONCE: usize = 16;
const CONNECTIONS: usize = 10;
/// Bodies that a distributor waits for on one connection.
const MAX_OF_CONNECTION: usize = 128;

fn one_series() -> Series {
    Series::floats(
        &[("__name__", "attacked"), ("job", "j")],
        &[(now_ms(), 1.0)],
    )
}

async fn made_up_tenants(size: Size) -> Outcome {
    let victim = Victim::start(&json!({})).await;
    victim
        .under(size, async |victim, outcome| {
            let one = &victim.distributor.sender("made-up");
            let v1 = ("Content-Type", "application/x-protobuf");
            let pushes = (0..size.pick(2_000, 100_000)).map(|number| {
                let sender = one.clone().tenant(&format!("made-up-{number}"));
                // An empty request, and none at all.
                let body = vec![if number % 2 == 0 { 0 } else { 0xff }];
                async move { sender.try_send_bytes(&[v1], body).await.map(|a| a.status) }
            });
            let answers: Vec<_> = stream::iter(pushes)
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            let of = |status| answers.iter().filter(|a| **a == Ok(status)).count();
            let (empty, broken) = (of(200), of(400));
            outcome.fact("answers", format!("{empty} × 200, {broken} × 400"));
            outcome.demand(empty == broken && 2 * empty == answers.len(), || {
                let other = answers.iter().find(|a| !matches!(a, Ok(200 | 400)));
                format!("{empty} × 200, {broken} × 400, and {other:?}")
            });
            let new = victim.distributor.sender("new");
            let answer = new.try_send(Version::V1, &[one_series()]).await;
            outcome.demand(answer.as_ref().is_ok_and(|a| a.status == 200), || {
                format!("a new tenant is answered {answer:?}")
            });
            // A page of a moment ago does not know it yet.
            let page = wait_for("/metrics of the new tenant", SHORT, || async {
                let page = victim.distributor.get("/metrics").await?.body;
                page.contains("user=\"new\"")
                    .then_some(page)
                    .ok_or_else(|| "it is not there".to_owned())
            })
            .await;
            let named = page.matches("user=\"made-up").count();
            outcome.demand(named == 0, || {
                format!("{named} lines of /metrics name made-up tenants")
            });
            let log = victim.distributor.process.log();
            let lines = log.lines().filter(|line| line.contains("made-up")).count();
            outcome.fact("log lines that name made-up tenants", lines.to_string());
            // Ten in a minute.
            outcome.demand(lines <= 100, || format!("{lines} lines in the log"));
        })
        .await
}

type NoBody = StreamBody<stream::Pending<Result<Frame<Bytes>, Infallible>>>;

/// A connection of HTTP/2 with so many requests whose bodies never come. It ends with the set.
async fn requests_without_bodies(
    address: &str,
    is_grpc: bool,
    count: usize,
    all: &mut JoinSet<()>,
) {
    let Ok(stream) = TcpStream::connect(address).await else {
        return;
    };
    let connected = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let Ok((mut client, connection)) = connected else {
        return;
    };
    all.spawn(connection.map(drop));
    let (path, content_type) = match is_grpc {
        true => ("/distributor.Distributor/Push", "application/grpc"),
        false => ("/api/v1/push", "application/x-protobuf"),
    };
    for _ in 0..count {
        let request = Request::post(format!("http://{address}{path}"))
            .header("content-type", content_type)
            .header("x-scope-orgid", "attacker")
            .body(NoBody::new(stream::pending()));
        let Ok(request) = request else {
            return;
        };
        if client.ready().await.is_err() {
            return;
        }
        all.spawn(client.send_request(request).map(drop));
    }
}

async fn bodyless(size: Size) -> Outcome {
    let places = size.pick(50, 2_000);
    let victim = Victim::start(&json!({"distributor": {"instance_limits": {
        "max_inflight_push_requests": places,
    }}}))
    .await;
    victim
        .under(size, async |victim, outcome| {
            let distributor = &victim.distributor;
            let ports = [
                (distributor.http_address().to_string(), false),
                (distributor.grpc_address(), true),
            ];
            let mut all = JoinSet::new();
            // As many as there are places, or twice as many.
            let count = size.pick(2, 1) * places / CONNECTIONS;
            for number in 0..CONNECTIONS {
                let (address, is_grpc) = &ports[number % 2];
                requests_without_bodies(address, *is_grpc, count, &mut all).await;
            }
            // As many as it waits for: those beyond it have given way.
            let awaited = wait_for("bodies to be waited for", SHORT, || async {
                let metrics = distributor.metrics().await?;
                let awaited = metrics.sum("cortex_distributor_awaited_push_bodies", &[]);
                let all = count.min(MAX_OF_CONNECTION) * CONNECTIONS;
                (awaited >= all as f64)
                    .then_some(awaited)
                    .ok_or_else(|| awaited.to_string())
            })
            .await;
            let mut refused = Vec::new();
            let grpc = GrpcClient::new(distributor);
            for _ in 0..20 {
                let sender = distributor.sender("beside");
                let answer = sender.try_send(Version::V1, &[one_series()]).await;
                if !answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                    refused.push(format!("{answer:?}"));
                }
                if let Err(status) = grpc.push(Some("beside"), &[one_series()]).await {
                    refused.push(format!("{status:?}"));
                }
            }
            outcome.fact("bodies waited for meanwhile", awaited.to_string());
            outcome.demand(refused.is_empty(), || {
                format!("{} of 40 refused: {:?}", refused.len(), refused.first())
            });
            all.shutdown().await;
        })
        .await
}
