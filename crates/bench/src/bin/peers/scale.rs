//! How memory and CPU of one distributor grow with connections, clusters, tenants and processors.

use anyhow::{Context, Result, ensure};
use bench::measure::Effort;
use bench::process::resident_bytes;
use bench::report::thousands;
use e2e::Distributor;
use remote_write::{Version, compress_into};
use remote_write_testkit::generate::{Shape, request};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::json;

use crate::cases::{Case, Outcome, whole};
use crate::cores::Cores;
use crate::load::{self, Sender};
use crate::servers::Used;

/// Clusters of one request while they are elected.
const AT_ONCE: usize = 10_000;
/// Series of a request whose cost is measured beside others.
const SERIES: usize = 10;
/// Different requests of a load.
const REQUESTS: usize = 2_000;
/// More than there are: by default, the limit of open files decides.
const MOST_CONNECTIONS: usize = 11_000;
const STORED: [u16; 2] = [200, 204];
const MB: f64 = 1e6;

/// One number.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    value: f64,
    unit: &'static str,
}

type Requests = Vec<(Vec<u8>, [u16; 2])>;

/// Sizes of everything.
struct Sizes {
    connections: usize,
    clusters: &'static [usize],
    tenants: usize,
    seconds: f64,
}

pub(crate) fn measure(effort: Effort) -> Result<Vec<Row>> {
    let sizes = match effort {
        Effort::Quick => Sizes {
            connections: 1_000,
            clusters: &[100, 10_000],
            tenants: 100,
            seconds: 0.3,
        },
        Effort::Full => Sizes {
            connections: 10_000,
            clusters: &[100, 10_000, 100_000, 1_000_000],
            tenants: 1_000,
            seconds: 3.0,
        },
    };
    let cores = Cores::choose()?;
    let mut rows = Vec::new();
    connections(cores, &sizes, &mut rows)?;
    clusters(cores, &sizes, &mut rows)?;
    tenants(cores, &sizes, &mut rows)?;
    processors(cores, &sizes, &mut rows)?;
    Ok(rows)
}

pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut out = String::from("| one distributor | |\n|---|---:|\n");
    for Row { what, value, unit } in rows {
        let value = match *value {
            large if large >= 1_000.0 => thousands(large.round() as u64),
            value => format!("{value:.2}"),
        };
        out += &format!("| {what} | {value} {unit} |\n");
    }
    out
}

fn start() -> Result<Distributor> {
    let config = json!({
        "server": {"http_listen_conn_limit": MOST_CONNECTIONS},
        "distributor": {"ha_tracker": {"enable_ha_tracker": true, "kvstore": {"store": "inmemory"}}},
        "limits": {
            "accept_ha_samples": true,
            "ha_tracker_per_sample_dedupe": true,
            "ha_max_clusters": 0,
            "ingestion_rate": 1e9,
            "ingestion_burst_size": 1_000_000_000,
        },
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(Distributor::start("distributor", &config.to_string())))
}

fn memory(distributor: &Distributor) -> Result<f64> {
    Ok(resident_bytes(distributor.process.id())? as f64)
}

/// A request of 1.0 with these clusters, one for each series in turn.
fn push(tenant: &str, clusters: &[String], series: usize) -> Vec<u8> {
    let pairs: Vec<_> = clusters.iter().map(|name| (name.as_str(), "a")).collect();
    let shape = Shape {
        pairs: &pairs,
        ..Shape::usual(series)
    };
    let mut body = Vec::new();
    compress_into(&request(Version::V1, shape), &mut body);
    whole("/api/v1/push", tenant, Version::V1, &body)
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range
        .map(|number| format!("production-eu-west-{number:07}"))
        .collect()
}

/// Connections of senders that have sent one request each, and wait for the next.
fn connections(cores: Cores, sizes: &Sizes, rows: &mut Vec<Row>) -> Result<()> {
    let count = sizes.connections;
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, wanted).context("the limit of open files")?;
    let enough = limit.maximum.is_none_or(|most| most > count as u64 + 1_000);
    ensure!(enough, "too few files may be open: {limit:?}");
    let distributor = cores.as_server(start)??;
    let before = memory(&distributor)?;
    rows.push(Row {
        what: "resident memory after the start".to_owned(),
        value: before / MB,
        unit: "MB",
    });
    let request = push("tenant", &names(0..1), SERIES);
    let address = distributor.http_address();
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut sender = Sender::connect(address)?;
        sender.push(&request, STORED)?;
        idle.push(sender.into_stream());
    }
    rows.push(Row {
        what: format!(
            "memory of an idle connection, of {}",
            thousands(count as u64)
        ),
        value: (memory(&distributor)? - before) / count as f64 / 1e3,
        unit: "kB",
    });
    Ok(())
}

/// Requests of [`SERIES`] series of one cluster each, of ever more clusters.
fn clusters(cores: Cores, sizes: &Sizes, rows: &mut Vec<Row>) -> Result<()> {
    for &count in sizes.clusters {
        eprintln!("{count} clusters");
        let distributor = cores.as_server(start)??;
        let before = memory(&distributor)?;
        elect(&distributor, "tenant", count)?;
        let after = memory(&distributor)?;
        // Spread over all, in no order.
        let requests: Requests = (0..REQUESTS)
            .map(|number| {
                let cluster = number.wrapping_mul(7_368_787) % count;
                (push("tenant", &names(cluster..cluster + 1), SERIES), STORED)
            })
            .collect();
        let cost = cost(&distributor, &requests, sizes.seconds)?;
        let of = format!("{} clusters", thousands(count as u64));
        rows.push(Row {
            what: format!("{of}: CPU of a request of {SERIES} series of one of them"),
            value: cost.cpu * 1e6,
            unit: "µs",
        });
        rows.push(Row {
            what: format!("{of}: resident memory"),
            value: after / MB,
            unit: "MB",
        });
        if count >= AT_ONCE {
            rows.push(Row {
                what: format!("{of}: memory of each"),
                value: (after - before) / count as f64,
                unit: "bytes",
            });
        }
    }
    Ok(())
}

fn elect(distributor: &Distributor, tenant: &str, count: usize) -> Result<()> {
    let mut sender = Sender::connect(distributor.http_address())?;
    for first in (0..count).step_by(AT_ONCE) {
        let names = names(first..count.min(first + AT_ONCE));
        sender.push(&push(tenant, &names, names.len()), STORED)?;
    }
    Ok(())
}

/// Many tenants with 100 clusters each, all in each request of the tenant.
fn tenants(cores: Cores, sizes: &Sizes, rows: &mut Vec<Row>) -> Result<()> {
    const CLUSTERS: usize = 100;
    eprintln!("{} tenants", sizes.tenants);
    let distributor = cores.as_server(start)??;
    let requests: Requests = (0..sizes.tenants)
        .map(|tenant| {
            let tenant = format!("tenant-{tenant:04}");
            (push(&tenant, &names(0..CLUSTERS), CLUSTERS), STORED)
        })
        .collect();
    // Once each, so that all are elected.
    let mut sender = Sender::connect(distributor.http_address())?;
    for (request, expected) in &requests {
        sender.push(request, *expected)?;
    }
    let cost = cost(&distributor, &requests, sizes.seconds)?;
    let of = format!(
        "{} tenants × {CLUSTERS} clusters",
        thousands(sizes.tenants as u64)
    );
    let mut add = |what: &str, value, unit| {
        rows.push(Row {
            what: format!("{of}: {what}"),
            value,
            unit,
        });
    };
    add(
        "resident memory under load",
        memory(&distributor)? / MB,
        "MB",
    );
    add(
        "CPU of a request of all clusters of a tenant",
        cost.cpu * 1e6,
        "µs",
    );
    add("p50 of four connections", cost.p50 * 1e6, "µs");
    add("p99 of four connections", cost.p99 * 1e6, "µs");
    Ok(())
}

/// The same requests with one processor for the distributor, and with two: there the load is on both as
/// well, so that CPU is compared, not time.
fn processors(cores: Cores, sizes: &Sizes, rows: &mut Vec<Row>) -> Result<()> {
    eprintln!("processors");
    let case = Case {
        version: Version::V1,
        series: 1_000,
        outcome: Outcome::Deduplicated,
    };
    let bodies = case.bodies()?;
    let accepted = Case {
        outcome: Outcome::Accepted,
        ..case
    };
    let of = |distributor: Distributor| {
        let elect = accepted.requests("/api/v1/push", &bodies);
        load::run(distributor.http_address(), &elect, 0.0, || Ok(()))?;
        let requests = case.requests("/api/v1/push", &bodies);
        cost(&distributor, &requests, sizes.seconds)
    };
    let one = of(cores.as_server(start)??)?;
    let two = cores.everywhere(|| of(start()?))??;
    let name = "CPU of a deduplicated request of 1,000 series";
    for (what, value, unit) in [
        (format!("{name}, one processor"), one.cpu * 1e6, "µs"),
        (format!("{name}, two processors"), two.cpu * 1e6, "µs"),
        (
            "throughput of two processors over one, by CPU".to_owned(),
            2.0 * one.cpu / two.cpu,
            "×",
        ),
    ] {
        rows.push(Row { what, value, unit });
    }
    Ok(())
}

struct Cost {
    /// Seconds of one request.
    cpu: f64,
    p50: f64,
    p99: f64,
}

fn cost(distributor: &Distributor, requests: &Requests, seconds: f64) -> Result<Cost> {
    let process = distributor.process.id();
    let mut marks = Vec::new();
    let answered = load::run(distributor.http_address(), requests, seconds, || {
        marks.push(Used::by(process)?);
        Ok(())
    })?;
    let [before, after] = marks[..] else {
        anyhow::bail!("{} marks", marks.len());
    };
    let mut latencies = answered.latencies;
    latencies.sort_by(f64::total_cmp);
    let count = latencies.len();
    ensure!(count > 0, "nothing was answered");
    let at = |part: f64| latencies[((count as f64 * part) as usize).min(count - 1)];
    Ok(Cost {
        cpu: after.since(before).total() / count as f64,
        p50: at(0.5),
        p99: at(0.99),
    })
}
