//! Downstreams that are there and yet fail: bodies without an end, connections that are dead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{BOTH, assert_stored, config, plain_series};
use e2e::{Distributor, Fault, LONG, Proxy, SHORT, Series, Sink, Version, now_ms, wait_for};
use futures::future::join_all;
use serde_json::json;

#[tokio::test]
async fn the_status_decides_whatever_the_body_does() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("endless", &config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    let mut stored = 0;
    for is_silent in [false, true] {
        for version in BOTH {
            let status = 200;
            sink.fail(Fault::Endless { status, is_silent });
            let answer = sender.send(version, &[plain_series("m")]).await;
            assert!(answer.status < 300, "{answer:?}");
            stored += 1;

            let status = 400;
            sink.fail(Fault::Endless { status, is_silent });
            let answer = sender.send(version, &[plain_series("m")]).await;
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.body.contains("answered 400: xxxx"), "{answer:?}");
            assert!(answer.body.len() < 2048, "{}", answer.body.len());

            let status = 500;
            sink.fail(Fault::Endless { status, is_silent });
            let answer = sender.send(version, &[plain_series("m")]).await;
            assert_eq!(answer.status, 500, "{answer:?}");
        }
    }
    assert_eq!(sink.requests().len(), stored, "nothing is sent twice");
    assert_eq!(sink.attempts(), 12);
}

#[tokio::test]
async fn bodies_without_an_end_hold_no_place_and_no_connection() {
    let sink = Sink::start().await;
    let proxy = Proxy::start(sink.address()).await;
    let url = format!("http://{}/api/v1/write", proxy.address());
    // One request at a time: a body that were waited for would hold up the next.
    let yaml = json!({"distributor": {"downstream": [{"url": url, "max_concurrency": 1}]}});
    let distributor = Distributor::start("left", &yaml.to_string()).await;
    let sender = distributor.sender("t");
    for is_silent in [false, true] {
        let status = 200;
        sink.fail(Fault::Endless { status, is_silent });
        for _ in 0..20 {
            let answer = sender.send(Version::V1, &[plain_series("m")]).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        wait_for("the connections to be closed", SHORT, || async {
            match proxy.open() {
                0 => Ok(()),
                open => Err(format!("{open} are open")),
            }
        })
        .await;
    }
    // With one that ends, connections are used again.
    sink.heal();
    let before = proxy.connections();
    for _ in 0..20 {
        let answer = sender.send(Version::V1, &[plain_series("m")]).await;
        assert_stored(&answer, Version::V1);
    }
    assert_eq!(proxy.connections() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_of_the_pool_cost_one_timeout() {
    const POOLED: usize = 12;
    let sink = Sink::start().await;
    let dead = Proxy::start(sink.address()).await;
    let port = dead.address().port();
    let url = format!("http://127.0.0.1:{port}/api/v1/write");
    let yaml = json!({"distributor": {
        "remote_timeout": "4s",
        "downstream": [{"name": "backend", "url": url, "remote_timeout": "4s"}],
    }});
    let distributor = Distributor::start("pooled", &yaml.to_string()).await;
    let sender = distributor.sender("t");

    // So many at once fill the pool.
    let (gate, hold) = Fault::hold();
    sink.fail(hold);
    let push = |name: String| {
        let sender = &sender;
        async move {
            let series = Series::floats(&[("__name__", &name)], &[(now_ms(), 1.0)]);
            sender.send(Version::V1, &[series]).await
        }
    };
    let filling = join_all((0..POOLED).map(|number| push(format!("fill_{number}"))));
    let release = async {
        wait_for("all of them at the downstream", LONG, || async {
            match sink.requests().len() {
                POOLED => Ok(()),
                there => Err(format!("{there} are there")),
            }
        })
        .await;
        drop(gate);
        sink.heal();
    };
    let (answers, ()) = tokio::join!(filling, release);
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(dead.open() as usize, POOLED);

    // The present connections lead nowhere from now on; new ones do.
    dead.freeze_present();
    let first = push("first".to_owned()).await;
    assert_eq!(first.status, 503, "{first:?}");
    assert!(first.body.contains("no answer within"), "{first:?}");
    for number in 0..POOLED {
        let next = push(format!("next_{number}")).await;
        assert_eq!(next.status, 200, "{number}: {next:?}");
    }
    assert_eq!(
        sink.attempts() as usize,
        2 * POOLED,
        "nothing is sent twice"
    );
    let log = distributor.process.log();
    assert!(log.contains("requests to a downstream fail"), "{log}");
    wait_for("the outage to be over", LONG, || async {
        let _ = push("later".to_owned()).await;
        match distributor.process.log() {
            log if log.contains("the downstream answers again") => Ok(()),
            log => Err(log),
        }
    })
    .await;
}
