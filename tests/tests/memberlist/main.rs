//! Rings in which distributors and members that run Mimir's code, in Go, are side by side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod churn;
mod elections;
mod failures;
mod hostile;
mod load;
mod page;
mod security;
mod sharing;
mod ten;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use e2e::{
    Distributor, HaTracker, LONG, MemberState, MemberlistGo, MemberlistGoOptions, MembersPage,
    Port, Sink, Version, wait_for,
};
use serde_json::{Value, json};

use crate::common::{ha_config, ha_series, merge};

const TENANT: &str = "t1";

/// Short timeouts, the same on both kinds.
const HA_FLAGS: [&str; 3] = [
    "-ha.update-timeout=500ms",
    "-ha.update-timeout-jitter-max=0s",
    "-ha.failover-timeout=2s",
];

/// A distributor that is a member of a ring of Mimir's.
struct Rust {
    distributor: Distributor,
    /// Behind it alone.
    _sink: Option<Sink>,
    name: &'static str,
    gossip: Port,
}

/// A member of both kinds, for what must hold on either side.
enum Either<'m> {
    Rust(&'m Rust),
    Go(&'m MemberlistGo),
}

impl Rust {
    /// Starts one that joins these, and waits until it is ready.
    async fn start(name: &'static str, join: &[SocketAddr]) -> Self {
        Self::start_with(name, join, json!({})).await
    }

    /// [`Rust::start`] with more in its `memberlist` section.
    async fn start_with(name: &'static str, join: &[SocketAddr], more: Value) -> Self {
        let mut this = Self::launch(name, join, more).await;
        this.distributor.wait_ready().await;
        this
    }

    async fn launch(name: &'static str, join: &[SocketAddr], more: Value) -> Self {
        let sink = Sink::start().await;
        let mut this = Self::launch_before(&sink, name, join, &json!({"memberlist": more}));
        this._sink = Some(sink);
        this
    }

    /// One that forwards to this sink, with more in its configuration.
    fn launch_before(sink: &Sink, name: &'static str, join: &[SocketAddr], more: &Value) -> Self {
        let gossip = Port::reserve();
        let yaml = Self::config(name, &gossip, join, more, sink);
        Self {
            distributor: Distributor::launch(name, &yaml),
            _sink: None,
            name,
            gossip,
        }
    }

    fn config(name: &str, gossip: &Port, join: &[SocketAddr], more: &Value, sink: &Sink) -> String {
        let section = json!({
            "protocol": "memberlist",
            "node_name": name,
            "randomize_node_name": false,
            "bind_addr": ["127.0.0.1"],
            "bind_port": gossip.number(),
            "join_members": join.iter().map(SocketAddr::to_string).collect::<Vec<_>>(),
        });
        let limits = json!({
            "ha_max_clusters": 0,
            "ha_tracker_update_timeout": "500ms",
            "ha_tracker_update_timeout_jitter_max": "0s",
            "ha_tracker_failover_timeout": "2s",
        });
        let mut config = json!({"memberlist": section, "limits": limits});
        merge(&mut config, more);
        ha_config(sink, &config)
    }

    fn address(&self) -> SocketAddr {
        self.gossip.address()
    }

    /// Sends a sample of a replica: its status, 202 for one that is deduplicated.
    async fn sample(&self, cluster: &str, replica: &str) -> u16 {
        let series = ha_series("m", cluster, replica);
        let sender = self.distributor.sender(TENANT);
        sender.send(Version::V1, &[series]).await.status
    }

    async fn elected(&self) -> Result<BTreeMap<String, String>, String> {
        let page: HaTracker = self.distributor.page("/distributor/ha_tracker").await?;
        let rows = page.elected.into_iter();
        Ok(rows.map(|row| (row.cluster, row.replica)).collect())
    }
}

impl Either<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Rust(member) => member.name,
            Self::Go(member) => member.node(),
        }
    }

    /// The names of the members that it takes for alive.
    async fn members(&self) -> Result<Vec<String>, String> {
        match self {
            Self::Rust(member) => {
                let page = MembersPage::of(&member.distributor).await?;
                let members = page.members.into_iter();
                let alive = members.filter(|(_, row)| row.state == MemberState::Active);
                Ok(alive.map(|(name, _)| name).collect())
            }
            Self::Go(member) => member.member_names().await,
        }
    }

    /// The elected replica of each cluster.
    async fn elected(&self) -> Result<BTreeMap<String, String>, String> {
        match self {
            Self::Rust(member) => member.elected().await,
            Self::Go(member) => {
                let prefix = format!("ha-tracker/{TENANT}/");
                let keys = member.keys().await?.into_iter();
                let clusters = keys.filter_map(|(key, entry)| {
                    Some((key.strip_prefix(&prefix)?.to_owned(), entry.replica))
                });
                Ok(clusters.collect())
            }
        }
    }

    async fn wait_for_members(&self, names: &[&str]) {
        let what = format!("{} to see {names:?}", self.name());
        // A member that is silent is suspected after 5 s, and believed dead 20 s later.
        wait_for(&what, LONG * 2, || async {
            match self.members().await? {
                members if members == names => Ok(()),
                members => Err(format!("{members:?}")),
            }
        })
        .await;
    }

    async fn wait_for_elected(&self, cluster: &str, replica: &str) {
        let what = format!("{} to know that {cluster} has {replica}", self.name());
        wait_for(&what, LONG, || async {
            let elected = self.elected().await?;
            match elected.get(cluster) {
                Some(elected) if elected == replica => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

/// All members see all.
async fn wait_for_ring(members: &[Either<'_>]) {
    let mut names: Vec<&str> = members.iter().map(Either::name).collect();
    names.sort_unstable();
    for member in members {
        member.wait_for_members(&names).await;
    }
}

/// Starts a member in Go that joins these.
async fn go(node: &str, join: &[SocketAddr]) -> MemberlistGo {
    go_with(node, join, &[]).await
}

async fn go_with(node: &str, join: &[SocketAddr], flags: &[&str]) -> MemberlistGo {
    let flags = HA_FLAGS.iter().chain(flags);
    let options = MemberlistGoOptions {
        node: node.to_owned(),
        join: join.to_vec(),
        flags: flags.map(|flag| (*flag).to_owned()).collect(),
    };
    MemberlistGo::start(&options).await
}

/// Neither side had anything to object to what the other has sent.
fn assert_no_complaints(go: &MemberlistGo, rust: &Rust) {
    let complaints = go.complaints().into_iter();
    // One that came back is told that it was gone, and logs that it is not. A process that ends cuts
    // the connections that it has just made, and stops to send.
    let is_normal = |line: &String| {
        let normal = ["Refuting", "err=EOF", "transport is shutting down"];
        normal.iter().any(|part| line.contains(part))
    };
    let complaints = complaints.filter(|line| !is_normal(line));
    assert_eq!(complaints.collect::<Vec<_>>(), [""; 0]);
    let log = rust.distributor.process.log();
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .filter(|line| line.contains("memberlist"))
        .collect();
    assert_eq!(refused, [""; 0]);
}
