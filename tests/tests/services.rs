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
    for token in 1..=2 {
        let line = format!("worked with token {token}");
        says(service("election-etcd", &[etcd.endpoint()]), &line).await;
        says(service("election-consul", &[consul.host()]), &line).await;
    }
    let line = "accepted a: true, dropped b: true";
    says(service("tracker", &[etcd.endpoint()]), line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_moves_from_one_store_to_another() {
    let (etcd, consul) = (Etcd::start("etcd").await, Consul::start("consul").await);
    let mut moving = service("multi", &[consul.host(), etcd.endpoint()]);
    let status = moving.wait_exit(LONG).await;
    let log = moving.log();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("lost 0 of "), "{log}");
    assert!(log.ends_with("moved\n"), "{log}");
}

/// Over both servers, which are restarted meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_follows_its_configuration() {
    let (mut etcd, mut consul) = (Etcd::start("etcd").await, Consul::start("consul").await);
    let places = [
        ["etcd".to_owned(), etcd.endpoint()],
        ["consul".to_owned(), consul.host()],
    ];
    let set = async |limit: &str| {
        for place in &places {
            let arguments = [&place[..], &["set".to_owned(), limit.to_owned()]].concat();
            let mut operator = service("config", &arguments);
            let status = operator.wait_exit(LONG).await;
            assert!(status.success(), "{status}: {}", operator.log());
        }
    };
    let followers: Vec<Process> = places
        .iter()
        .map(|place| service("config", place))
        .collect();
    let all_say = async |line: &str| {
        for follower in &followers {
            wait_for(&format!("{line:?}"), LONG, || async {
                let log = follower.log();
                let said = log.lines().any(|printed| printed == line);
                said.then_some(()).ok_or(log)
            })
            .await;
        }
    };
    set("50").await;
    all_say("50 requests per second").await;
    // Not a value: the last good one stays.
    let key = "config/my-service/limits";
    consul.put_raw(key, b"{\"requests").await.unwrap();
    etcd.restart().await;
    consul.restart().await;
    set("80").await;
    all_say("80 requests per second").await;
    set("0").await;
    for follower in followers {
        says(follower, "0 requests per second").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_without_a_server() {
    says(service("bytes", &[]), "1 cluster, 1 member").await;
    let folder = Process::folder_for("folder");
    let line = "a backend of one's own keeps the contract";
    let path = folder.path().display().to_string();
    says(service("backend", &[path]), line).await;
    let address = Port::reserve().address().to_string();
    says(
        service("election-gossip", &[address]),
        "worked with token 1",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_service_share_flags_by_gossip() {
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
