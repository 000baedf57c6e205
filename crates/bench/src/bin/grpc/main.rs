//! The `bench-grpc` binary: what a push costs over gRPC, and the same push over HTTP. Prints a
//! markdown table, writes JSON.
//!
//! `cargo xtask bench grpc` runs it and tells it where the distributor is.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use bench::arguments::Arguments;
use bench::measure::{Effort, median};
use bench::process::cpu_seconds;
use bench::report::thousands;
use e2e::{Distributor, GrpcClient, Sender, Version};
use remote_write_testkit::generate::{Shape, request};
use serde::Serialize;
use serde_json::json;

const TENANT: &str = "tenant-1";
const PUSH: &str = "/distributor.Distributor/Push";
/// The replica that is not elected.
const LOSING: &[(&str, &str)] = &[("production-eu-west-1", "prometheus-1")];

/// One kind of request over both.
#[derive(Debug, Serialize)]
struct Row {
    series: usize,
    outcome: &'static str,
    http: Cost,
    grpc: Cost,
}

/// Of one request.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cost {
    /// Of its body, as it is sent.
    bytes: usize,
    /// Seconds until the answer, one request after the other on one connection; the median of the
    /// rounds.
    seconds: f64,
    /// Seconds of CPU of the distributor; the mean of the rounds.
    cpu_seconds: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    ensure!(
        std::env::var_os("DISTRIBUTOR_BIN").is_some(),
        "DISTRIBUTOR_BIN is not set; `cargo xtask bench grpc` does it"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let rows = runtime.block_on(measure(arguments.effort))?;
    print!("{}", markdown(&rows));
    arguments.write(&rows)
}

async fn measure(effort: Effort) -> Result<Vec<Row>> {
    let config = json!({
        "distributor": {"ha_tracker": {"enable_ha_tracker": true, "kvstore": {"store": "inmemory"}}},
        "limits": {"accept_ha_samples": true},
    });
    let distributor = Distributor::start("distributor", &config.to_string()).await;
    let clients = Clients {
        http: distributor.sender(TENANT),
        grpc: GrpcClient::new(&distributor),
    };
    let mut rows = Vec::new();
    for series in [10, 1_000, 10_000] {
        for (outcome, pairs) in [
            ("accepted", Shape::usual(1).pairs),
            ("deduplicated", LOSING),
        ] {
            eprintln!("{series} series, {outcome}");
            let shape = Shape {
                pairs,
                ..Shape::usual(series)
            };
            let message = request(Version::V1, shape);
            rows.push(compare(effort, &distributor, &clients, &message, series, outcome).await?);
        }
    }
    Ok(rows)
}

struct Clients {
    http: Sender,
    grpc: GrpcClient,
}

async fn compare(
    effort: Effort,
    distributor: &Distributor,
    clients: &Clients,
    message: &[u8],
    series: usize,
    outcome: &'static str,
) -> Result<Row> {
    let mut compressed = Vec::new();
    remote_write::compress_into(message, &mut compressed);
    let (rounds, requests) = match effort {
        Effort::Quick => (3, 20),
        Effort::Full => (21, 2_000 / (series / 100 + 1)),
    };
    let (mut http, mut grpc) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // One after the other, each first in every second round.
        for turn in 0..2 {
            let is_http = (round + turn) % 2 == 0;
            let before = cpu_seconds(distributor.process.id())?;
            let took = timed(async {
                for _ in 0..requests {
                    match is_http {
                        true => push_http(&clients.http, &compressed, outcome).await?,
                        false => push_grpc(&clients.grpc, message, outcome).await?,
                    }
                }
                Ok(())
            })
            .await?;
            let used = cpu_seconds(distributor.process.id())? - before;
            let each = |seconds: f64| seconds / requests as f64;
            let of = if is_http { &mut http } else { &mut grpc };
            // The first rounds warm up connections and buffers.
            if round > 0 {
                of.push((each(took.as_secs_f64()), each(used)));
            }
        }
    }
    let cost = |bytes, rounds: &[(f64, f64)]| Cost {
        bytes,
        seconds: median(rounds.iter().map(|(seconds, _)| *seconds).collect()),
        // Ticks of 10 ms: only the sum is exact.
        cpu_seconds: rounds.iter().map(|(_, cpu)| cpu).sum::<f64>() / rounds.len() as f64,
    };
    Ok(Row {
        series,
        outcome,
        http: cost(compressed.len(), &http),
        grpc: cost(message.len(), &grpc),
    })
}

#[expect(clippy::disallowed_methods, reason = "measures real time")]
async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let start = std::time::Instant::now();
    work.await?;
    Ok(start.elapsed())
}

async fn push_http(sender: &Sender, body: &[u8], outcome: &str) -> Result<()> {
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
    ];
    let answer = sender.try_send_bytes(&headers, body.to_vec()).await;
    let answer = answer.map_err(anyhow::Error::msg)?;
    let expected = if outcome == "accepted" { 200 } else { 202 };
    ensure!(answer.status == expected, "{answer:?}");
    Ok(())
}

async fn push_grpc(client: &GrpcClient, message: &[u8], outcome: &str) -> Result<()> {
    let answer = client
        .push_bytes(PUSH, Some(TENANT), message.to_vec())
        .await;
    let code = answer.err().map(|status| status.code());
    let expected = (outcome != "accepted").then_some(tonic::Code::AlreadyExists);
    ensure!(code == expected, "{code:?}");
    Ok(())
}

fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "| one request of 1.0 | bytes, HTTP | bytes, gRPC | to the answer, HTTP | gRPC | ratio | CPU, HTTP | gRPC | ratio |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6);
    for row in rows {
        let Row { http, grpc, .. } = row;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "| {} series, {} | {} | {} | {} | {} | {:.2} × | {} | {} | {:.2} × |",
            thousands(row.series as u64),
            row.outcome,
            thousands(http.bytes as u64),
            thousands(grpc.bytes as u64),
            micros(http.seconds),
            micros(grpc.seconds),
            grpc.seconds / http.seconds,
            micros(http.cpu_seconds),
            micros(grpc.cpu_seconds),
            grpc.cpu_seconds / http.cpu_seconds,
        );
    }
    out
}
