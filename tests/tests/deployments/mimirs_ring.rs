//! Deployments of Mimir's distributor with this program instead, where Mimir's gossip ring is: with
//! their arguments as they are, the distributor is a member of it.

use std::net::SocketAddr;
use std::time::SystemTime;

use e2e::{Distributor, HaTracker, LONG, MemberlistGo, MemberlistGoOptions, Version, wait_for};

use crate::common::ha_series;
use crate::{MIMIR, OVERRIDES, Seat, cases, replaced};

const TENANT: &str = "team-a";

/// A member of Mimir's ring, in Go, with the label of this list of arguments.
async fn mimir(name: &str, list: &[&str]) -> MemberlistGo {
    let is_label = |argument: &&&str| argument.starts_with("-memberlist.cluster-label");
    let flags = list.iter().filter(is_label);
    let options = MemberlistGoOptions {
        node: format!("{name}-go"),
        join: Vec::new(),
        flags: flags.map(|flag| (*flag).to_owned()).collect(),
    };
    MemberlistGo::start(&options).await
}

fn launch(name: &str, list: &[&str], mimir: SocketAddr) -> Distributor {
    let seat = Seat::new();
    let other = mimir.to_string();
    let yaml = MIMIR
        .replace("GOSSIP", &other)
        .replace("RUNTIME", "overrides.yaml");
    let files = [("mimir.yaml", yaml.as_str()), ("overrides.yaml", OVERRIDES)];
    let arguments = replaced(list, &seat, &other);
    let variables = [("SECRET", "hush")];
    let ports = (seat.http, seat.grpc);
    Distributor::launch_by(name, &files, arguments, &variables, ports)
}

async fn elected(distributor: &Distributor, cluster: &str) -> Result<String, String> {
    let page: HaTracker = distributor.page("/distributor/ha_tracker").await?;
    let mut rows = page.elected.into_iter();
    let row = rows.find(|row| row.tenant == TENANT && row.cluster == cluster);
    row.map(|row| row.replica).ok_or_else(|| "none".to_owned())
}

async fn joins(name: &str, list: &[&str]) {
    let prefix = list
        .iter()
        .find_map(|argument| argument.strip_prefix("-distributor.ha-tracker.prefix="));
    let key = |cluster: &str| format!("{}{TENANT}/{cluster}", prefix.unwrap_or("ha-tracker/"));
    let go = mimir(name, list).await;
    let mut distributor = launch(name, list, go.gossip());
    distributor.wait_ready().await;
    wait_for("both to be in one ring", LONG, || async {
        match go.member_names().await?.len() {
            2 => Ok(()),
            other => Err(format!("{other} members")),
        }
    })
    .await;

    // What one elects, the other knows.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_millis()).unwrap();
    go.cas(&key("theirs"), "r1", now).await.unwrap();
    wait_for("their election here", LONG, || async {
        match &*elected(&distributor, "theirs").await? {
            "r1" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let series = ha_series("up", "ours", "r2");
    let sender = distributor.sender(TENANT);
    sender.send(Version::V1, &[series]).await;
    wait_for("our election there", LONG, || async {
        match go.keys().await?.get(&key("ours")) {
            Some(entry) if entry.replica == "r2" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(go.complaints(), [""; 0], "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_deployment_that_gossips_is_a_member_of_mimirs_ring() {
    let gossips = |list: &[&str]| {
        let has = |start: &str| list.iter().any(|argument| argument.starts_with(start));
        has("-distributor.ha-tracker.store=memberlist") && has("-memberlist.join=")
    };
    let all = cases().into_iter().filter(|(_, list)| gossips(list));
    let mut tried = 0;
    for (name, list) in all {
        joins(&format!("ring-{name}"), &list).await;
        tried += 1;
    }
    assert!(tried > 5, "{tried}");
}
