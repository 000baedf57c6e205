//! The harness of gossip rings: a member in Go, of the code that Mimir runs, does what scenarios rely
//! on, without a distributor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use peers::{LONG, MemberlistGo, MemberlistGoOptions, SHORT, wait_for};

/// Quick elections.
const FLAGS: [&str; 3] = [
    "-ha.update-timeout=300ms",
    "-ha.update-timeout-jitter-max=0s",
    "-ha.failover-timeout=1s",
];

async fn member(node: &str, join: &[&MemberlistGo]) -> MemberlistGo {
    let options = MemberlistGoOptions {
        node: node.to_owned(),
        join: join.iter().map(|member| member.gossip()).collect(),
        flags: FLAGS.map(str::to_owned).to_vec(),
    };
    MemberlistGo::start(&options).await
}

async fn wait_for_members(member: &MemberlistGo, names: &[&str]) {
    let what = format!("{} to see {names:?}", member.node());
    wait_for(&what, LONG, || async {
        let members = member.member_names().await?;
        if members == names {
            return Ok(());
        }
        Err(format!("{members:?}"))
    })
    .await;
}

async fn wait_for_replica(member: &MemberlistGo, key: &str, replica: &str) {
    wait_for("the key to arrive", SHORT, || async {
        let keys = member.keys().await?;
        match keys.get(key) {
            Some(entry) if entry.replica == replica && entry.arrived_at > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn members_share_keys_leave_and_come_back() {
    let first = member("go-1", &[]).await;
    let mut second = member("go-2", &[&first]).await;
    wait_for_members(&first, &["go-1", "go-2"]).await;
    let seen = first.members().await.unwrap();
    assert_eq!(seen[1].address, second.gossip().to_string());
    assert_eq!((seen[1].width, &*seen[1].meta), (4, ""));

    second.cas("ha-tracker/u/c", "r1", 5000).await.unwrap();
    wait_for_replica(&first, "ha-tracker/u/c", "r1").await;
    first.cas("ha-tracker/u/c", "r2", 6000).await.unwrap();
    wait_for_replica(&second, "ha-tracker/u/c", "r2").await;
    let entry = second
        .keys()
        .await
        .unwrap()
        .remove("ha-tracker/u/c")
        .unwrap();
    assert_eq!((entry.received_at, entry.elected_changes), (6000, 1));
    assert_eq!((&*entry.codec, entry.deleted), ("replicaDesc", false));

    first.fill("ha-tracker/u/many-", 500, "r1").await.unwrap();
    wait_for("many keys", SHORT, || async {
        match second.keys().await?.len() {
            501 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;

    second.leave().await.unwrap();
    wait_for_members(&first, &["go-1"]).await;
    let address = second.gossip();
    second.restart().await;
    assert_eq!(second.gossip(), address);
    wait_for_members(&first, &["go-1", "go-2"]).await;
    second.leave().await.unwrap();
    second.restart_elsewhere().await;
    assert_ne!(second.gossip(), address);
    wait_for_members(&first, &["go-1", "go-2"]).await;
    assert_eq!(second.keys().await.unwrap().len(), 501);
    let complaints = first.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
    let metrics = first.metrics().await.unwrap();
    assert_eq!(
        metrics.get("memberlist_client_kv_store_count", &[]),
        Some(501.0)
    );
}

#[tokio::test]
async fn members_elect_by_mimirs_rule() {
    let first = member("go-1", &[]).await;
    let second = member("go-2", &[&first]).await;
    let elected = first.sample("u", "c", "r1").await.unwrap();
    assert!(elected.accepted);
    wait_for_replica(&second, "ha-tracker/u/c", "r1").await;
    let other = second.sample("u", "c", "r2").await.unwrap();
    assert_eq!((other.accepted, &*other.elected), (false, "r1"));
    // The elected replica is silent now.
    wait_for("a failover", SHORT, || async {
        let verdict = second.sample("u", "c", "r2").await?;
        if verdict.accepted {
            return Ok(());
        }
        Err(format!("{verdict:?}"))
    })
    .await;
    wait_for_replica(&first, "ha-tracker/u/c", "r2").await;
    let late = first.sample("u", "c", "r1").await.unwrap();
    assert_eq!((late.accepted, &*late.elected), (false, "r2"));
}
