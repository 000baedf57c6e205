//! A member in Rust: a process that writes its keys, and tells when those of others arrived.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::now_ms;
use futures::StreamExt;
use ha_tracker::{CODEC, ReplicaDesc};
use kv_core::{CasUpdate, Store, WatchEvent};
use kv_memberlist::{MemberlistConfig, MemberlistStore, Protocol, start};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::Load;

/// How long changes that are on their way are waited for.
const LATE: Duration = Duration::from_secs(3);

/// Metrics that count what is sent, by chitchat: over UDP, and over TCP.
const SENT_BY_CHITCHAT: [&str; 2] = [
    "memberlist_client_sent_broadcasts_bytes_total",
    "memberlist_client_state_pushes_bytes_total",
];

/// By memberlist, as of members in Go.
const SENT_BY_MEMBERLIST: [&str; 1] = ["memberlist_tcp_transport_packets_sent_bytes_total"];

/// What a member is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) load: Load,
    pub(crate) number: usize,
    /// Whether it speaks memberlist's protocol, or chitchat's.
    pub(crate) by_memberlist: bool,
    pub(crate) port: u16,
    pub(crate) join: Vec<SocketAddr>,
}

/// What it says, a line each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Line {
    /// It knows so many others, and waits for a line to begin.
    Others(usize),
    /// It has written all; bytes sent meanwhile.
    Written(f64),
    /// What has arrived: key, when it was written (Unix milliseconds), how many milliseconds it took.
    Arrived(Vec<(String, i64, i64)>),
}

type Arrivals = Arc<Mutex<Vec<(String, i64, i64)>>>;

/// Runs the member until its input ends.
pub(crate) async fn run(task: Task) -> Result<()> {
    let mut registry = Registry::default();
    let config = MemberlistConfig {
        protocol: match task.by_memberlist {
            true => Protocol::Memberlist,
            false => Protocol::Chitchat,
        },
        bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        bind_port: task.port,
        node_name: format!("member-{}", task.number),
        join_members: task.join.iter().map(SocketAddr::to_string).collect(),
        ..MemberlistConfig::default()
    };
    let (store, memberlist) = start(config, CODEC, &mut registry).await?;
    memberlist.ready().await;
    while memberlist.inspector().other_members() + 1 < task.load.members {
        sleep(Duration::from_millis(20)).await;
    }
    let own = format!("load/{}/", task.number);
    let arrivals = Arrivals::default();
    tokio::spawn(follow(store.clone(), own.clone(), Arc::clone(&arrivals)));
    say(&Line::Others(memberlist.inspector().other_members()))?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    let names: &[&str] = match task.by_memberlist {
        true => &SENT_BY_MEMBERLIST,
        false => &SENT_BY_CHITCHAT,
    };
    let before = sent(&registry, names)?;
    write(&store, &own, task.load).await?;
    say(&Line::Written(sent(&registry, names)? - before))?;
    sleep(LATE).await;
    let arrived = std::mem::take(&mut *arrivals.lock().unwrap_or_else(PoisonError::into_inner));
    say(&Line::Arrived(arrived))
}

fn say(line: &Line) -> Result<()> {
    println!("{}", serde_json::to_string(line)?);
    Ok(())
}

async fn write(store: &MemberlistStore<ReplicaDesc>, own: &str, load: Load) -> Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / load.changes);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for change in 0..load.changes as usize * load.seconds as usize {
        ticks.tick().await;
        let key = format!("{own}{}", change % load.keys);
        let now = now_ms();
        let mut put = |current: Option<&ReplicaDesc>| {
            CasUpdate::Put(ReplicaDesc {
                replica: "r1".to_owned(),
                received_at: now,
                elected_at: current.map_or(now, |current| current.elected_at),
                ..ReplicaDesc::default()
            })
        };
        store.cas(&key, &mut put).await?;
    }
    Ok(())
}

async fn follow(store: MemberlistStore<ReplicaDesc>, own: String, arrivals: Arrivals) {
    let mut events = store.watch_prefix("load/");
    while let Some(event) = events.next().await {
        if let WatchEvent::Put(key, value) = event
            && !key.starts_with(&own)
        {
            let took = now_ms() - value.received_at;
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.push((key, value.received_at, took));
        }
    }
}

fn sent(registry: &Registry, names: &[&str]) -> Result<f64> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    let value = |name: &&str| {
        let of = |line: &str| {
            line.strip_prefix(*name)?
                .strip_prefix(' ')?
                .parse::<f64>()
                .ok()
        };
        text.lines().find_map(of)
    };
    let found: Option<Vec<f64>> = names.iter().map(value).collect();
    Ok(found
        .context("no metric of what is sent")?
        .into_iter()
        .sum())
}
