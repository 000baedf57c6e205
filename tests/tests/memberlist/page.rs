//! `/memberlist` and the metrics of a distributor in Mimir's ring.

use e2e::{LONG, Metrics, http_client, now_ms, wait_for};
use memberlist_protocol::codec::message;
use memberlist_protocol::kv::KeyValuePair;
use memberlist_protocol::message::Message;
use serde_json::{Value, json};

use crate::hostile::send;
use crate::{Either, Rust, go, wait_for_ring};

/// What Mimir's ring holds besides elections.
fn of_another_component() -> Message {
    let pair = KeyValuePair {
        key: "collectors/<ring>".to_owned(),
        value: vec![7; 123].into(),
        codec: "ringDesc".to_owned(),
        ..KeyValuePair::default()
    };
    Message::User(pair.to_bytes())
}

#[tokio::test]
async fn the_page_shows_what_is_spoken_and_why_and_the_keys_of_all() {
    let go = go("go-1", &[]).await;
    let more = json!({"protocol": "auto", "message_history_buffer_bytes": 100_000});
    let rust = Rust::start_with("d1", &[go.gossip()], more).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    send(rust.address(), &message(&of_another_component())).await;
    go.cas("ha-tracker/t1/c1", "r1", now_ms()).await.unwrap();
    let page = wait_for("the keys of all", LONG, || async {
        let page = rust.distributor.get_json("/memberlist").await?;
        let known = ["store", "otherKeys", "receivedMessages", "sentMessages"];
        match known.iter().all(|list| page[list][0] != Value::Null) {
            true => Ok(page),
            false => Err(page.to_string()),
        }
    })
    .await;
    assert_eq!(page["protocol"], "memberlist");
    let chosen = format!(
        "chosen by memberlist.protocol: auto, because {} speaks it",
        go.gossip()
    );
    assert_eq!(page["protocolChosen"], chosen);
    assert_eq!(page["disagreement"], Value::Null);
    assert_eq!(page["store"][0]["key"], "ha-tracker/t1/c1");
    let other = &page["otherKeys"][0];
    assert_eq!(other["key"], "collectors/<ring>");
    assert_eq!(
        (&other["codec"], &other["size"]),
        (&json!("ringDesc"), &json!(123))
    );
    // Where the member listens, not the port that it sent from.
    assert_eq!(page["receivedMessages"][0]["peer"], go.gossip().to_string());
    assert_eq!(page["sentMessages"][0]["peer"], go.gossip().to_string());

    let url = rust.distributor.url("/memberlist");
    let accepted = http_client().get(url).header("accept", "text/html");
    let html = accepted.send().await.unwrap().text().await.unwrap();
    for shown in [
        &*chosen,
        "Keys of other components",
        "collectors/&lt;ring&gt;",
        "ringDesc",
    ] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
}

/// The names of metrics of members' own that a scrape has, without those of values.
fn names(metrics: &Metrics, like: &[&str]) -> Vec<String> {
    let has = |name: &&&str| metrics.get(name, &[]).is_some();
    like.iter()
        .filter(has)
        .map(|name| (*name).to_owned())
        .collect()
}

#[tokio::test]
async fn metrics_are_named_and_count_as_dskits() {
    let go = go("go-1", &[]).await;
    let rust = Rust::start("d1", &[go.gossip()]).await;
    wait_for_ring(&[Either::Go(&go), Either::Rust(&rust)]).await;
    let before = rust.distributor.metrics().await.unwrap();
    let all = [
        "memberlist_client_cluster_members_count",
        "memberlist_client_cluster_node_health_score",
        "memberlist_client_kv_store_count",
        "memberlist_client_messages_to_broadcast_dropped_total",
        "memberlist_client_pending_key_notifications",
        "memberlist_client_received_broadcasts_total",
        "memberlist_client_received_broadcasts_dropped_total",
        "memberlist_client_received_broadcasts_invalid_total",
        "memberlist_client_state_pulls_total",
        "memberlist_client_state_pushes_total",
        "memberlist_tcp_transport_incoming_streams_total",
        "memberlist_tcp_transport_outgoing_stream_errors_total",
        "memberlist_tcp_transport_outgoing_streams_total",
        "memberlist_tcp_transport_packets_dropped_total",
        "memberlist_tcp_transport_packets_received_total",
        "memberlist_tcp_transport_packets_received_bytes_total",
        "memberlist_tcp_transport_packets_received_errors_total",
        "memberlist_tcp_transport_packets_sent_total",
        "memberlist_tcp_transport_packets_sent_bytes_total",
        "memberlist_tcp_transport_packets_sent_errors_total",
        "memberlist_tcp_transport_received_bytes_total",
        "memberlist_tcp_transport_sent_bytes_total",
        "memberlist_tcp_transport_unknown_connections_total",
    ];
    assert_eq!(names(&before, &all), all);
    for queue in ["local", "gossip"] {
        let name = "memberlist_client_messages_in_broadcast_queue";
        assert!(before.get(name, &[("queue", queue)]).is_some(), "{queue}");
    }

    // A user message that is none, what is no member's connection, and a digest that is wrong.
    send(
        rust.address(),
        &message(&Message::User(vec![0xff; 5].into())),
    )
    .await;
    crate::hostile::send_raw(rust.address(), b"GET / HTTP/1.1\r\n\r\n").await;
    crate::hostile::send_raw(rust.address(), b"\x01\x01aXXXXXXXXXXXXXXXXXXXX").await;
    // An election there, and one here.
    go.cas("ha-tracker/t1/c1", "r1", now_ms()).await.unwrap();
    rust.sample("c2", "a").await;
    wait_for("what happened to be counted", LONG, || async {
        let now = rust.distributor.metrics().await?;
        let grew = |name: &str| now.sum(name, &[]) - before.sum(name, &[]);
        let once = [
            "memberlist_client_received_broadcasts_invalid_total",
            "memberlist_tcp_transport_unknown_connections_total",
            "memberlist_tcp_transport_packets_received_errors_total",
        ];
        let some = [
            "memberlist_client_received_broadcasts_total",
            "memberlist_client_sent_broadcasts_total",
            "memberlist_tcp_transport_packets_received_bytes_total",
            "memberlist_tcp_transport_packets_sent_bytes_total",
        ];
        let is_counted = once.iter().all(|name| grew(name) == 1.0)
            && some.iter().all(|name| grew(name) > 0.0)
            && now.sum("memberlist_client_kv_store_count", &[]) == 2.0
            // On a busy machine, one that answers late is accused, and refutes it.
            && now.sum("memberlist_client_cluster_members_count", &[]) == 2.0;
        let all = once.iter().chain(&some);
        match is_counted {
            true => Ok(()),
            false => Err(format!(
                "{:?}, {} members",
                all.map(|name| (name, grew(name))).collect::<Vec<_>>(),
                now.sum("memberlist_client_cluster_members_count", &[])
            )),
        }
    })
    .await;
    // Nothing of this was dropped, and a member in Go had the state once: when this one joined.
    let now = rust.distributor.metrics().await.unwrap();
    assert_eq!(
        now.sum("memberlist_client_received_broadcasts_dropped_total", &[]),
        0.0
    );
    assert!(now.sum("memberlist_client_state_pushes_total", &[]) >= 1.0);
}
