//! The examples of the crates do what they say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use e2e::{Distributor, LONG, Port, Process, Sink, Version, example, wait_for};
use serde_json::json;

use common::{ha_config, ha_series};

/// Waits until the program has printed this line.
async fn says(process: &Process, line: &str) {
    wait_for(
        &format!("{} to say {line:?}", process.name()),
        LONG,
        || async {
            let log = process.log();
            match log.lines().any(|printed| printed == line) {
                true => Ok(()),
                false => Err(log),
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_batch_job_one_works() {
    let ports = [Port::reserve(), Port::reserve()];
    let start = |number: usize| {
        let name = ["a", "b"][number];
        let addresses = [number, 1 - number].map(|number| ports[number].address().to_string());
        let arguments = [vec![name.to_owned()], addresses.to_vec()].concat();
        example(name, "batch_job", &arguments)
    };
    let mut a = start(0);
    says(&a, "a: works").await;
    let mut b = start(1);
    says(&b, "b: stands by: a works").await;

    // Killed: the other takes over, and it stands by when it is back.
    a.sigkill();
    says(&b, "b: works").await;
    a.restart();
    says(&a, "a: stands by: b works").await;

    // Frozen for longer than that, and back: it knows that it is not elected any more.
    b.sigstop();
    wait_for("a to work", LONG, || async {
        let log = a.log();
        match log.ends_with("a: works\n") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    b.sigcont();
    says(&b, "b: stands by: a works").await;
    a.sigstop();
    wait_for("b to work again", LONG, || async {
        let log = b.log();
        match log.ends_with("b: works\n") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
    a.sigcont();

    // Stopped in peace: handed over.
    b.sigint();
    let status = b.wait_exit(LONG).await;
    assert!(status.success(), "{status}: {}", b.log());
    wait_for("a to work again", LONG, || async {
        let log = a.log();
        match log.ends_with("a: works\n") {
            true => Ok(()),
            false => Err(log),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_elections_goes_to_another_distributor() {
    let sink = Sink::start().await;
    let mesh_config = |_: usize, section: serde_json::Value| json!({"memberlist": section});
    let base = ha_config(&sink, &json!({}));
    let mut mesh = e2e::GossipMesh::launch(2, move |number, section| {
        let mut config: serde_json::Value = serde_json::from_str(&base).unwrap();
        common::merge(&mut config, &mesh_config(number, section));
        config.to_string()
    });
    mesh.wait_ready().await;
    let send = async |distributor: &Distributor, cluster: &str, replica: &str| {
        let series = ha_series("m", cluster, replica);
        let answer = distributor.sender("t").send(Version::V1, &[series]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    send(&mesh.distributors[0], "c0", "r0").await;
    let addresses: Vec<String> = mesh
        .distributors
        .iter()
        .map(|distributor| format!("http://{}", distributor.grpc_address()))
        .collect();
    let watcher = example("watcher", "watch_elections", &addresses);
    says(&watcher, "t/c0: - -> r0").await;
    send(&mesh.distributors[1], "c1", "r1").await;
    says(&watcher, "t/c1: - -> r1").await;

    // What only the killed one knew would be lost with it.
    wait_for("the other to know of both", LONG, || async {
        let page = mesh.distributors[1]
            .get_json("/distributor/ha_tracker")
            .await?;
        match page["elected"].as_array().map(Vec::len) {
            Some(2) => Ok(()),
            _ => Err(page.to_string()),
        }
    })
    .await;
    mesh.distributors[0].process.sigkill();
    send(&mesh.distributors[1], "c2", "r1").await;
    says(&watcher, "t/c2: - -> r1").await;
    let log = watcher.log();
    assert_eq!(log.matches("t/c0").count(), 1, "{log}");
    assert_eq!(log.matches("t/c1").count(), 1, "{log}");
}
