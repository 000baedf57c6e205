//! Programs outside of the workspace, built from the packaged crates, do what they say: see
//! `tests/services` and `cargo xtask services`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use e2e::{Consul, Etcd, LONG, Port, Process, service, wait_for};

/// Waits until the program has ended well, and said this.
async fn says(mut service: Process, line: &str) {
    let status = service.wait_exit(LONG).await;
    let log = service.log();
    assert!(status.success(), "{}: {status}: {log}", service.name());
    assert!(
        log.lines().any(|printed| printed == line),
        "{}: {log}",
        service.name()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn services_over_servers() {
    let (etcd, consul) = (Etcd::start("etcd").await, Consul::start("consul").await);
    says(service("etcd", &[etcd.endpoint()]), "3 visits").await;
    says(service("consul", &[consul.host()]), "3 visits").await;
    let both = [consul.host(), etcd.endpoint()];
    says(service("multi", &both), "2 visits").await;
    for token in 1..=2 {
        let line = format!("worked with token {token}");
        says(service("election", &[etcd.endpoint()]), &line).await;
    }
    let line = "accepted a: true, dropped b: true";
    says(service("tracker", &[etcd.endpoint()]), line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_without_a_server() {
    says(service("bytes", &[]), "1 cluster, 1 member").await;
    let ports = [Port::reserve(), Port::reserve()];
    let [a, b] = [0, 1].map(|number: usize| ports[number].address().to_string());
    let first = service("gossip", &["a".to_owned(), a.clone(), b.clone()]);
    let second = service("gossip", &["b".to_owned(), b, a]);
    wait_for("both to see both flags", LONG, || async {
        match [&first, &second].map(|copy| copy.log().contains("2 flags")) {
            [true, true] => Ok(()),
            _ => Err(format!("{}\n{}", first.log(), second.log())),
        }
    })
    .await;
    says(first, "2 flags").await;
    says(second, "2 flags").await;
}
