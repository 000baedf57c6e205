//! Deployments of Mimir's distributor with this program instead: their arguments as they are, alone
//! and beside a `mimir.yaml` and a runtime file of Mimir's, start small fleets that become ready.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod mimirs_ring;
mod names;
mod soak;

use std::sync::Arc;

use e2e::{Distributor, LONG, Port, wait_for};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const ARGUMENTS: &str = include_str!("arguments.txt");
const MIMIR: &str = include_str!("mimir.yaml");
const OVERRIDES: &str = include_str!("overrides.yaml");

/// Fleets at the same time: what is shared with other tests is the machine.
const AT_ONCE: usize = 4;

fn deployments() -> Vec<Vec<&'static str>> {
    let blocks = ARGUMENTS.split("\n\n");
    let lists = blocks.map(|block| {
        let lines = block.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect::<Vec<_>>()
    });
    lists.filter(|list| !list.is_empty()).collect()
}

/// One distributor of a fleet of two.
struct Seat {
    http: Port,
    grpc: Port,
    gossip: Port,
}

impl Seat {
    fn new() -> Self {
        Self {
            http: Port::reserve(),
            grpc: Port::reserve(),
            gossip: Port::reserve(),
        }
    }
}

/// The arguments with other values where they name files, ports and members.
fn replaced(list: &[&str], seat: &Seat, other: &str) -> Vec<String> {
    let mut arguments: Vec<String> = list
        .iter()
        .map(|argument| {
            let name = argument.split('=').next().unwrap();
            match name {
                "-config.file" => format!("{name}=mimir.yaml"),
                "-runtime-config.file" => format!("{name}=overrides.yaml"),
                "-memberlist.join" => format!("{name}={other}"),
                _ => (*argument).to_owned(),
            }
        })
        .collect();
    // The last one wins.
    arguments.extend([
        "-server.http-listen-address=127.0.0.1".to_owned(),
        format!("-server.http-listen-port={}", seat.http.number()),
        "-server.grpc-listen-address=127.0.0.1".to_owned(),
        format!("-server.grpc-listen-port={}", seat.grpc.number()),
        "-memberlist.bind-addr=127.0.0.1".to_owned(),
        format!("-memberlist.bind-port={}", seat.gossip.number()),
    ]);
    arguments
}

/// Two distributors that are told to join each other, if anything tells them to.
async fn fleet(name: &str, list: &[&str]) {
    let seats = [Seat::new(), Seat::new()];
    let addresses = [0, 1].map(|number: usize| seats[number].gossip.address().to_string());
    let mut distributors = Vec::new();
    for (number, seat) in seats.into_iter().enumerate() {
        let other = &addresses[1 - number];
        let yaml = MIMIR
            .replace("GOSSIP", other)
            .replace("RUNTIME", "overrides.yaml");
        let files = [("mimir.yaml", yaml.as_str()), ("overrides.yaml", OVERRIDES)];
        let arguments = replaced(list, &seat, other);
        let variables = [("SECRET", "hush")];
        let name = format!("{name}-{number}");
        let ports = (seat.http, seat.grpc);
        distributors.push(Distributor::launch_by(
            &name, &files, arguments, &variables, ports,
        ));
    }
    for distributor in &mut distributors {
        distributor.wait_ready().await;
        let log = distributor.process.log();
        // One line for arguments and YAML together, and one for the runtime file.
        for ignored in [
            "msg=\"ignored settings of Mimir",
            "warning=\"ignored settings of Mimir",
        ] {
            assert_eq!(log.matches(ignored).count(), 1, "{log}");
        }
        assert!(log.contains("of_a_newer_mimir"), "{log}");
        assert!(!log.contains("hush"), "{log}");
        let page = distributor
            .get_json("/runtime_config?mode=diff")
            .await
            .unwrap();
        assert_eq!(page["overrides"]["team-a"]["ingestion_rate"], 350_000);
    }
    let has = |start: &str| list.iter().any(|argument| argument.starts_with(start));
    let gossips = has("-distributor.ha-tracker.store=memberlist");
    if gossips && (has("-memberlist.join=") || has("-config.file=")) {
        for distributor in &distributors {
            let what = format!("{} to see the other", distributor.process.name());
            wait_for(&what, LONG, || async {
                let metrics = distributor.metrics().await?;
                match metrics.get("memberlist_client_cluster_members_count", &[]) {
                    Some(count) if (count - 2.0).abs() < f64::EPSILON => Ok(()),
                    count => Err(format!("{count:?} members")),
                }
            })
            .await;
        }
    }
}

/// Every list alone, and every one that names no file with Mimir's.
fn cases() -> Vec<(String, Vec<&'static str>)> {
    let mut cases = Vec::new();
    for (number, list) in deployments().into_iter().enumerate() {
        if !list
            .iter()
            .any(|argument| argument.starts_with("-config.file="))
        {
            let with_file = ["-config.file=/etc/mimir/mimir.yaml", "-config.expand-env"];
            let list = [&list[..], &with_file].concat();
            cases.push((format!("deployment-{number}-with-yaml"), list));
        }
        cases.push((format!("deployment-{number}"), list));
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_deployments_arguments_start_a_fleet_that_becomes_ready() {
    let cases = cases();
    assert!(cases.len() > 25, "{}", cases.len());
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut fleets = JoinSet::new();
    for (name, list) in cases {
        let places = Arc::clone(&places);
        fleets.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            fleet(&name, &list).await;
        });
    }
    while let Some(fleet) = fleets.join_next().await {
        fleet.unwrap();
    }
}
