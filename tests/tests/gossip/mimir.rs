//! Distributors in one gossip ring with a member in Go, which runs dskit's code and Mimir's election.

use e2e::{GossipMesh, LONG, MemberlistGo, MemberlistGoOptions, Sink, Version, wait_for};
use serde_json::json;

use crate::common::{assert_stored, elected, ha_series};
use crate::fleet::{TENANT, mesh_config};

#[tokio::test(flavor = "multi_thread")]
async fn distributors_and_a_member_in_go_elect_one_replica() {
    let sink = Sink::start().await;
    let more = json!({"protocol": "memberlist", "randomize_node_name": false});
    let mut mesh = GossipMesh::launch(2, mesh_config(&sink, more));
    mesh.wait_ready().await;
    let go = MemberlistGo::start(&MemberlistGoOptions {
        node: "go".to_owned(),
        join: vec![mesh.addresses()[0]],
        flags: Vec::new(),
    })
    .await;
    wait_for("the same members everywhere", LONG, || async {
        let seen = go.member_names().await?;
        let mut pages = vec![seen.len()];
        for number in 0..2 {
            pages.push(mesh.page(number).await?.members.len());
        }
        if pages == [3, 3, 3] && seen.contains(&"go".to_owned()) {
            return Ok(());
        }
        Err(format!("{pages:?}, {seen:?}"))
    })
    .await;

    // Elected by a distributor: the member in Go accepts that replica only.
    let sender = mesh.distributors[0].sender(TENANT);
    let answer = sender
        .send(Version::V1, &[ha_series("up", "first", "r1")])
        .await;
    assert_stored(&answer, Version::V1);
    wait_for("the election in Go", LONG, || async {
        let keys = go.keys().await?;
        match keys.get(&format!("ha-tracker/{TENANT}/first")) {
            Some(entry) if entry.replica == "r1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let verdict = go.sample(TENANT, "first", "r2").await.unwrap();
    assert!(!verdict.accepted && verdict.elected == "r1", "{verdict:?}");
    assert!(go.sample(TENANT, "first", "r1").await.unwrap().accepted);

    // Elected by the member in Go: both distributors accept that replica only.
    assert!(go.sample(TENANT, "second", "r2").await.unwrap().accepted);
    for distributor in &mesh.distributors {
        wait_for("the election here", LONG, || async {
            match elected(distributor, TENANT, "second").await {
                Some(row) if row["replica"] == "r2" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        let sender = distributor.sender(TENANT);
        let answer = sender
            .send(Version::V1, &[ha_series("up", "second", "r1")])
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let answer = sender
            .send(Version::V1, &[ha_series("up", "second", "r2")])
            .await;
        assert_stored(&answer, Version::V1);
    }
}
