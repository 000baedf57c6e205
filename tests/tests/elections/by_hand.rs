//! Elections that are handed over by hand: over HTTP, gRPC, and with the button of the page.

use std::time::Duration;

use e2e::tracker::{HandOverRequest, ListClustersRequest};
use e2e::{
    Answer, Distributor, GrpcClient, REPLICAS, SHORT, Sink, Version, http_client, now_ms,
    pair_series, wait_for,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::Code;

use crate::common::assert_text;
use crate::{arrived, clusters, longest_gap, scaled};

const PATH: &str = "/distributor/ha_tracker/handover";

async fn enabled(sink: &Sink) -> Distributor {
    let more = json!({"distributor": {"ha_tracker": {"enable_handover": true}}});
    Distributor::start("distributor", &scaled(sink, &more)).await
}

/// POST of this form, with more headers.
async fn post(distributor: &Distributor, form: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = http_client()
        .post(distributor.url(PATH))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

async fn send(distributor: &Distributor, replica: usize) -> u16 {
    let series = pair_series("pair", replica, now_ms());
    let sender = distributor.sender("team-a");
    sender.send(Version::V1, &[series]).await.status
}

#[tokio::test]
async fn a_handover_under_load_stores_each_time_once() {
    let sink = Sink::start().await;
    let distributor = enabled(&sink).await;
    let (over, stop) = watch::channel(false);
    let tick = Duration::from_millis(50);
    let senders = [0, 1].map(|replica| {
        let (sender, mut stop) = (distributor.sender("team-a"), stop.clone());
        tokio::spawn(async move {
            // The second one sends between two requests of the first.
            sleep(tick * replica / 2).await;
            let mut ticks = interval(tick);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while !*stop.borrow_and_update() {
                ticks.tick().await;
                let series = pair_series("pair", replica as usize, now_ms());
                let answer = sender.send(Version::V1, &[series]).await;
                assert!([200, 202, 503].contains(&answer.status), "{answer:?}");
            }
        })
    });
    let mut elected = String::new();
    for round in 0..6_usize {
        wait_for("twenty samples", SHORT, || async {
            let count = arrived(&sink, "m").get("pair").map_or(0, Vec::len);
            (count >= 20 * (round + 1))
                .then_some(())
                .ok_or(count.to_string())
        })
        .await;
        let now = clusters(&distributor).await.remove("pair").unwrap();
        assert_eq!(now.elected_changes, round as i64, "{now:?}");
        elected = now.replica;
        let other = REPLICAS.iter().find(|name| **name != elected).unwrap();
        let form = format!("tenant=team-a&cluster=pair&replica={other}");
        let answer = post(&distributor, &form, &[]).await;
        assert_text(&answer, 200, &[other, "pair", "is elected"]);
    }
    over.send_replace(true);
    for sender in senders {
        sender.await.unwrap();
    }
    // The value says which replica a sample is of. Without a boundary in data time, requests that are
    // on their way during a handover can overtake each other by milliseconds, but no time comes twice.
    let mut samples: Vec<(i64, u64)> = Vec::new();
    for series in sink.series() {
        let of_series = series.samples.iter();
        samples.extend(of_series.map(|sample| (sample.timestamp, sample.value() as u64)));
    }
    samples.sort_unstable();
    let mut times: Vec<i64> = samples.iter().map(|(time, _)| *time).collect();
    let switches = samples
        .windows(2)
        .filter(|two| two[0].1 != two[1].1)
        .count();
    assert!((6..=18).contains(&switches), "{samples:?}");
    assert!(
        longest_gap(&times) < 10 * tick.as_millis() as i64,
        "{times:?}"
    );
    let count = times.len();
    times.dedup();
    assert_eq!(times.len(), count, "doubled");
    let log = distributor.process.log();
    let asked = log
        .lines()
        .filter(|line| line.contains("asked to hand an election over"));
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked.len(), 6, "{log}");
    assert!(
        asked[0].contains("127.0.0.1") && asked[0].contains("team-a"),
        "{asked:?}"
    );
    assert!(REPLICAS.contains(&elected.as_str()));
}

#[tokio::test]
async fn it_is_off_unless_it_is_configured() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("distributor", &scaled(&sink, &json!({}))).await;
    for replica in [0, 1] {
        send(&distributor, replica).await;
    }
    let answer = post(&distributor, "tenant=team-a&cluster=pair&replica=r1", &[]).await;
    assert_text(&answer, 403, &["distributor.ha_tracker.enable_handover"]);
    let page = distributor
        .get("/distributor/ha_tracker")
        .await
        .unwrap()
        .body;
    assert!(!page.contains(PATH), "{page}");
    let error = hand_over(&distributor, "pair", "r1").await.unwrap_err();
    assert_eq!(error, Code::PermissionDenied);
    assert_eq!(clusters(&distributor).await["pair"].replica, "r0");
}

#[tokio::test]
async fn what_cannot_be_handed_over_is_refused_with_the_reason() {
    let sink = Sink::start().await;
    let distributor = enabled(&sink).await;
    for replica in [0, 1] {
        send(&distributor, replica).await;
    }
    let refused = [
        ("tenant=team-a&cluster=pair", 400, "replica is missing"),
        (
            "tenant=team-a&cluster=other&replica=r1",
            404,
            "no cluster \"other\"",
        ),
        ("tenant=team-b&cluster=pair&replica=r1", 404, "team-b"),
        ("tenant=team-a&cluster=pair&replica=r9", 409, "r9"),
        (
            "tenant=team-a&cluster=pair&replica=r0",
            409,
            "already elected",
        ),
    ];
    for (form, status, part) in refused {
        assert_text(&post(&distributor, form, &[]).await, status, &[part]);
    }
    let valid = "tenant=team-a&cluster=pair&replica=r1";
    let foreign = [("origin", "http://evil.example"), ("accept", "text/html")];
    let answer = post(&distributor, valid, &foreign).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let long = format!("{valid}&more={}", "x".repeat(20_000));
    assert_text(&post(&distributor, &long, &[]).await, 413, &["bytes"]);
    for (cluster, replica, code) in [
        ("other", "r1", Code::NotFound),
        ("pair", "r9", Code::FailedPrecondition),
        ("pair", "r0", Code::AlreadyExists),
        ("pair", "", Code::InvalidArgument),
    ] {
        let error = hand_over(&distributor, cluster, replica).await.unwrap_err();
        assert_eq!(error, code, "{cluster} {replica}");
    }
    assert_eq!(clusters(&distributor).await["pair"].replica, "r0");
}

#[tokio::test]
async fn the_page_asks_before_its_button_elects() {
    let sink = Sink::start().await;
    let distributor = enabled(&sink).await;
    for replica in [0, 1] {
        send(&distributor, replica).await;
    }
    let page = distributor
        .get("/distributor/ha_tracker")
        .await
        .unwrap()
        .body;
    assert!(page.contains(&format!("action=\"{PATH}\"")), "{page}");
    let query = "tenant=team-a&cluster=pair&replica=r1";
    let page = distributor.get(&format!("{PATH}?{query}")).await.unwrap();
    assert!(page.body.contains("method=\"post\""), "{page:?}");
    assert!(
        page.body.contains("name=\"replica\" value=\"r1\""),
        "{page:?}"
    );
    assert_eq!(
        clusters(&distributor).await["pair"].replica,
        "r0",
        "only asked"
    );
    let host = distributor.url("");
    let browser = [("accept", "text/html"), ("origin", host.as_str())];
    let answer = post(&distributor, query, &browser).await;
    // The client follows the redirection to the tracker's page.
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("HA tracker"), "{answer:?}");
    assert_eq!(clusters(&distributor).await["pair"].replica, "r1");
    assert_eq!(
        (send(&distributor, 0).await, send(&distributor, 1).await),
        (202, 200)
    );
}

async fn hand_over(distributor: &Distributor, cluster: &str, replica: &str) -> Result<bool, Code> {
    let mut client = GrpcClient::new(distributor).tracker();
    let request = HandOverRequest {
        tenant: "team-a".to_owned(),
        cluster: cluster.to_owned(),
        replica: replica.to_owned(),
    };
    let answer = client.hand_over(request).await;
    answer
        .map(|answer| answer.into_inner().elected)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn over_grpc_the_senders_are_listed_and_elected() {
    let sink = Sink::start().await;
    let distributor = enabled(&sink).await;
    for replica in [0, 1, 0, 1] {
        send(&distributor, replica).await;
        sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(hand_over(&distributor, "pair", "r1").await, Ok(true));
    let mut client = GrpcClient::new(&distributor).tracker();
    let listed = client
        .list_clusters(ListClustersRequest::default())
        .await
        .unwrap();
    let clusters = listed.into_inner().clusters;
    assert_eq!(clusters.len(), 1);
    let names: Vec<_> = clusters[0]
        .replicas
        .iter()
        .map(|known| known.replica.as_str())
        .collect();
    assert_eq!(names, ["r1", "r0"]);
    for replica in &clusters[0].replicas {
        let interval_ms = replica.send_interval_ms.unwrap();
        assert!((250..2_000).contains(&interval_ms), "{replica:?}");
        assert!(replica.clock_ahead_ms.unwrap() <= 0, "{replica:?}");
        assert!(replica.seen_ms.is_some() && replica.newest_sample_ms.is_some());
    }
    assert_eq!(
        (clusters[0].replicas_seen, clusters[0].redundancy_lost),
        (2, false)
    );
}
