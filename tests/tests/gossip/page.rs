//! `/memberlist`.

use std::collections::BTreeSet;

use e2e::{Distributor, GossipMesh, SHORT, Sink, Version, http_client, wait_for};
use serde_json::{Value, json};

use crate::common::pairs::{Desc, pair_series};
use crate::common::{assert_text, ha_config, now_ms};
use crate::fleet::TENANT;
use crate::fleet::{key, mesh_config};

/// The names of the fields of an object.
fn fields(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn the_page_shows_members_entries_values_and_messages() {
    let sink = Sink::start().await;
    let history = json!({ "message_history_buffer_bytes": 65_536 });
    let mut mesh = GossipMesh::launch(2, mesh_config(&sink, history));
    mesh.wait_ready().await;
    wait_for("both to know each other", SHORT, || mesh.settled(&[0, 1])).await;
    let before = now_ms();
    let series = pair_series("<b>&é", 1, before);
    let sender = mesh.distributors[0].sender(TENANT);
    let answer = sender.send(Version::V1, &[series]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let key = key("<b>&é");
    wait_for("the other to know the cluster", SHORT, || async {
        let keys = mesh.page(1).await?.keys;
        if keys.contains(&key) {
            Ok(())
        } else {
            Err(format!("{keys:?}"))
        }
    })
    .await;

    for (number, distributor) in mesh.distributors.iter().enumerate() {
        let page = distributor.get_json("/memberlist").await.unwrap();
        assert_eq!(page["enabled"], true);
        assert_eq!(page["ready"], true);
        assert_eq!(page["waitingFor"], Value::Null);
        let members = page["members"].as_array().unwrap();
        assert_eq!(members.len(), 2, "{page}");
        for (other, member) in members.iter().enumerate() {
            let expected = [
                "address",
                "entries",
                "heartbeatAgeMs",
                "name",
                "self",
                "state",
            ];
            assert_eq!(fields(member), expected.into());
            let name = member["name"].as_str().unwrap();
            assert!(name.starts_with(&format!("d{other}-")), "{page}");
            assert_eq!(member["address"], mesh.addresses()[other].to_string());
            assert_eq!(member["state"], "active");
            assert_eq!(member["self"], other == number);
            assert!(member["heartbeatAgeMs"].as_u64().unwrap() < 5_000, "{page}");
        }
        let store = page["store"].as_array().unwrap();
        assert_eq!(store.len(), 1, "{page}");
        let expected = ["codec", "deleted", "key", "size", "updated", "version"];
        assert_eq!(fields(&store[0]), expected.into());
        assert_eq!(store[0]["key"], key);
        assert_eq!(store[0]["codec"], "replicaDesc");
        assert_eq!(store[0]["deleted"], false);
        assert!(store[0]["version"].as_u64().unwrap() >= 1);
        let time = humantime::parse_rfc3339(store[0]["updated"].as_str().unwrap()).unwrap();
        assert!(time.elapsed().unwrap() < SHORT, "{page}");

        value_of(
            distributor,
            &key,
            before,
            store[0]["size"].as_u64().unwrap(),
        )
        .await;
        messages_of(&page, (number == 1).then_some(&*key));
        html_of(distributor).await;
        let unknown = "/memberlist?viewKey=ha-tracker/t1/none";
        let answer = distributor.get(unknown).await.unwrap();
        assert_text(&answer, 404, &["ha-tracker/t1/none"]);
        let unknown = "/memberlist?downloadKey=none&format=json";
        let answer = distributor.get(unknown).await.unwrap();
        assert_text(&answer, 404, &["none"]);
    }
}

/// As JSON, as a page, and as the bytes that any other store would hold.
async fn value_of(distributor: &Distributor, key: &str, before: i64, size: u64) {
    let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let path = format!("/memberlist?viewKey={encoded}&format=json");
    let answer = distributor.get(&path).await.unwrap();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let shown = answer.json();
    let expected = [
        "deleted_at",
        "deleted_at_time",
        "elected_at",
        "elected_at_time",
        "elected_changes",
        "received_at",
        "received_at_time",
        "replica",
    ];
    assert_eq!(fields(&shown), expected.into());
    assert_eq!(shown["replica"], "r1");
    assert_eq!(shown["deleted_at"], 0);
    assert_eq!(shown["elected_changes"], 0);
    let received_at = shown["received_at"].as_i64().unwrap();
    assert!((before..=now_ms()).contains(&received_at), "{shown}");

    let path = format!("/memberlist?viewKey={encoded}");
    let html = distributor.get(&path).await.unwrap();
    assert_eq!(html.status, 200);
    assert!(
        html.body.contains("ha-tracker/t1/&lt;b&gt;&amp;é"),
        "{html:?}"
    );
    assert!(html.body.contains("received_at"), "{html:?}");

    let url = distributor.url(&format!("/memberlist?downloadKey={encoded}"));
    let answer = http_client().get(url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    let raw = answer.bytes().await.unwrap();
    assert_eq!(raw.len() as u64, size);
    let expected = Desc {
        replica: "r1".to_owned(),
        received_at,
    };
    assert_eq!(Desc::read(&raw), expected);
}

/// Both directions; `heard` stands in what was received.
fn messages_of(page: &Value, heard: Option<&str>) {
    for direction in ["sentMessages", "receivedMessages"] {
        let messages = page[direction].as_array().unwrap();
        assert!(!messages.is_empty(), "{direction}");
        for message in messages {
            let expected = ["id", "keys", "kind", "peer", "size", "time"];
            assert_eq!(fields(message), expected.into());
            let kind = message["kind"].as_str().unwrap();
            assert!(["syn", "syn-ack", "ack"].contains(&kind), "{message}");
        }
        let ids: Vec<u64> = messages
            .iter()
            .map(|message| message["id"].as_u64().unwrap())
            .collect();
        assert!(ids.is_sorted(), "{direction}: {ids:?}");
    }
    if let Some(key) = heard {
        let received = page["receivedMessages"].as_array().unwrap();
        let brought = |message: &Value| message["keys"].as_array().unwrap().contains(&json!(key));
        assert!(received.iter().any(brought), "{key}: {page}");
    }
}

async fn html_of(distributor: &Distributor) {
    let page = distributor.get("/memberlist").await.unwrap();
    assert_eq!(page.status, 200);
    let content_type = page.header("content-type").unwrap();
    assert!(content_type.starts_with("text/html"), "{content_type}");
    for part in [
        "2 alive",
        "replicaDesc",
        "(this one)",
        "Received",
        "syn-ack",
        "&lt;b&gt;",
    ] {
        assert!(
            page.body.contains(part),
            "{part:?} is missing: {}",
            page.body
        );
    }
    assert!(!page.body.contains("<b>&"), "{}", page.body);
    let filtered = distributor.get("/memberlist?key=nothing").await.unwrap();
    assert!(filtered.body.contains("There is no key that matches"));
}

#[tokio::test]
async fn the_page_says_when_gossip_is_not_used() {
    let sink = Sink::start().await;
    let more = json!({"distributor": {"ha_tracker": {"kvstore": {"store": "inmemory"}}}});
    let distributor = Distributor::start("inmemory", &ha_config(&sink, &more)).await;
    let page = distributor.get("/memberlist").await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Gossip is not used here"), "{page:?}");
    let page = distributor.get_json("/memberlist").await.unwrap();
    assert_eq!(page, json!({"enabled": false, "members": [], "store": []}));
    let metrics = distributor.get("/metrics").await.unwrap().body;
    assert!(!metrics.contains("memberlist_client"), "{metrics}");
}

#[tokio::test]
async fn messages_are_kept_only_when_asked_for() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("quiet", &ha_config(&sink, &json!({}))).await;
    let page = distributor.get_json("/memberlist").await.unwrap();
    assert_eq!(page["sentMessages"], Value::Null);
    assert_eq!(page["receivedMessages"], Value::Null);
    let page = distributor.get("/memberlist").await.unwrap();
    assert!(
        page.body
            .contains("memberlist.message_history_buffer_bytes")
    );
    assert!(page.body.contains("1 alive"), "{page:?}");
}
