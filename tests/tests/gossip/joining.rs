//! Finding the others, or not.

use e2e::{Distributor, LONG, MemberState, MembersPage, Port, SHORT, Sink, Version, wait_for};
use serde_json::{Value, json};

use crate::common::pairs::pair_series;
use crate::common::{ha_config, now_ms};
use crate::fleet::TENANT;

fn config(sink: &Sink, memberlist: &Value) -> String {
    ha_config(sink, &json!({ "memberlist": memberlist }))
}

/// `/ready` says no, and names all of these.
async fn wait_not_ready(distributor: &Distributor, names: &[&str]) {
    wait_for(&format!("/ready to name {names:?}"), SHORT, || async {
        let answer = distributor.get("/ready").await?;
        let named = names.iter().all(|name| answer.body.contains(name));
        if answer.status == 503 && named {
            return Ok(());
        }
        Err(format!("{answer:?}"))
    })
    .await;
    // A liveness probe does not wait for others.
    assert_eq!(distributor.get("/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn one_that_finds_nobody_says_so_and_goes_on_alone_until_somebody_comes() {
    let sink = Sink::start().await;
    let port = Port::reserve();
    let address = port.address().to_string();
    let alone = json!({ "join_members": [address] });
    let mut alone = Distributor::launch("alone", &config(&sink, &alone));
    wait_not_ready(&alone, &["memberlist", &address, "connection refused"]).await;
    alone.wait_ready().await;
    let log = alone.process.log();
    // The third attempt is the last one before it goes on.
    let attempts = log.matches("msg=\"joining: waiting to hear").count();
    assert_eq!(attempts, 2, "{log}");
    assert!(
        log.contains("no other member was found, going on alone"),
        "{log}"
    );
    let series = pair_series("before", 0, now_ms());
    let answer = alone.sender(TENANT).send(Version::V1, &[series]).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // It keeps trying: a member that was not told about any other is found.
    let second = json!({ "bind_port": port.number() });
    let second = Distributor::start("second", &config(&sink, &second)).await;
    for distributor in [&alone, &second] {
        wait_for("both to know each other", LONG, || async {
            let page = MembersPage::of(distributor).await?;
            if page.count(MemberState::Active) == 2 && page.keys.len() == 1 {
                return Ok(());
            }
            Err(format!("{page:?}"))
        })
        .await;
    }
}

#[tokio::test]
async fn one_that_must_join_exits_when_it_cannot() {
    let sink = Sink::start().await;
    let port = Port::reserve();
    let address = port.address().to_string();
    for (setting, attempts) in [
        ("abort_if_cluster_join_fails", 2),
        ("abort_if_cluster_fast_join_fails", 1),
    ] {
        let memberlist = json!({
            "join_members": [address],
            setting: true,
            "max_join_retries": 2,
        });
        let mut distributor = Distributor::launch("must-join", &config(&sink, &memberlist));
        let status = distributor.process.wait_exit(LONG).await;
        assert_eq!(status.code(), Some(1), "{setting}");
        let log = distributor.process.log();
        let last = log.lines().last().unwrap();
        let why = format!("could not join within {attempts} attempts");
        for part in ["level=error", &why, &address, "connection refused"] {
            assert!(
                last.contains(part),
                "{setting}: {part:?} is missing in {last}"
            );
        }
    }
}

#[tokio::test]
async fn one_that_reaches_only_itself_has_not_joined() {
    let sink = Sink::start().await;
    let (own, closed) = (Port::reserve(), Port::reserve());
    let memberlist = json!({
        "bind_addr": ["0.0.0.0"],
        "bind_port": own.number(),
        "advertise_addr": "127.0.0.1",
        // Its own address under another name, as an entry of /etc/hosts can have it.
        "join_members": [format!("127.0.0.2:{}", own.number()), closed.address().to_string()],
        "abort_if_cluster_join_fails": true,
        "max_join_retries": 2,
    });
    drop(own);
    let mut distributor = Distributor::launch("itself", &config(&sink, &memberlist));
    let status = distributor.process.wait_exit(LONG).await;
    let log = distributor.process.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("could not join within 2 attempts"), "{log}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let sink = Sink::start().await;
    let memberlist = json!({ "join_members": ["no-such-host.invalid:7946"] });
    let mut distributor = Distributor::launch("unresolved", &config(&sink, &memberlist));
    wait_not_ready(&distributor, &["memberlist", "no-such-host.invalid"]).await;
    distributor.wait_ready().await;
    let log = distributor.process.log();
    assert!(log.contains("going on alone and trying again"), "{log}");
}

#[tokio::test]
async fn one_that_still_waits_can_be_stopped() {
    let sink = Sink::start().await;
    let port = Port::reserve();
    let address = port.address().to_string();
    let memberlist = json!({ "join_members": [address], "abort_if_cluster_join_fails": true });
    let mut distributor = Distributor::launch("waits", &config(&sink, &memberlist));
    wait_not_ready(&distributor, &[&address]).await;
    distributor.process.sigterm();
    let status = distributor.process.wait_exit(SHORT).await;
    assert!(status.success(), "{status}");
}
