//! A program that runs in two copies, of which one works.
//!
//! The copies elect one of them by gossip: no server, no distributor. Start it twice:
//!
//! ```sh
//! cargo run -p ha-tracker --example batch_job -- a 127.0.0.1:7951 127.0.0.1:7952
//! cargo run -p ha-tracker --example batch_job -- b 127.0.0.1:7952 127.0.0.1:7951
//! ```
//!
//! One reports that it works, the other stands by. Stop the one that works: the other takes over
//! after three seconds. Freeze it (SIGSTOP) and let it continue: it notices that it is no longer
//! elected before it works again.
//!
//! For jobs that must never run twice, gossip is not enough: while two copies cannot reach each
//! other, each elects itself. In that case, use a store with a quorum (`kv-etcd`, `kv-consul`) in
//! the same way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ha_tracker::{CODEC, HaLimits, HaTracker, Outcome, Sighting, TrackerConfig};
use kv_core::PrefixStore;
use kv_memberlist::MemberlistConfig;
use prometheus_client::registry::Registry;

/// Tenant and cluster: the owner of the job, and the job.
const TENANT: &str = "jobs";
const JOB: &str = "nightly-report";
/// Time between two checks of the election, and the longest piece of work.
const INTERVAL: Duration = Duration::from_millis(500);

/// Silence after which another copy takes over.
const FAILOVER_MS: i64 = 3_000;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, address, others @ ..] = arguments.as_slice() else {
        return Err("usage: batch_job NAME ADDRESS [ADDRESS OF ANOTHER COPY]...".into());
    };
    let address: SocketAddr = address.parse()?;
    let mut registry = Registry::default();
    let gossip = MemberlistConfig {
        node_name: name.clone(),
        bind_addr: vec![address.ip()],
        bind_port: address.port(),
        join_members: others.to_vec(),
        rejoin_interval: Duration::from_secs(1),
        leave_timeout: Duration::from_secs(3),
        ..MemberlistConfig::default()
    };
    let (store, member) = kv_memberlist::start(gossip, CODEC, &mut registry).await?;
    let limits = HaLimits {
        update_timeout: Duration::from_secs(1),
        update_timeout_jitter_max: Duration::ZERO,
        failover_timeout: Duration::from_millis(FAILOVER_MS.unsigned_abs()),
        ..HaLimits::default()
    };
    let (tracker, handle) = HaTracker::start(
        Arc::new(PrefixStore::new(Arc::new(store), "ha-tracker/")),
        Arc::new(limits),
        TrackerConfig::default(),
        &mut registry,
    );
    tracker.ready().await;
    println!("{name}: ready");

    tokio::select! {
        () = take_turns(&tracker, name) => {}
        _ = tokio::signal::ctrl_c() => println!("{name}: stopping"),
    }
    // In this order: the tracker writes to the store, and then its entries are handed over.
    handle.shutdown().await;
    member.leave().await;
    Ok(())
}

/// Works while elected.
async fn take_turns(tracker: &Arc<HaTracker>, name: &str) {
    let mut elected_before = false;
    let mut checked_ms = 0;
    let mut said = String::new();
    loop {
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
        // It was frozen: another copy may have been elected, and its election may not have arrived
        // yet.
        if now_ms - checked_ms > FAILOVER_MS {
            elected_before = false;
            tokio::time::sleep(INTERVAL).await;
        }
        checked_ms = now_ms;
        let sighting = Sighting {
            tenant: TENANT,
            cluster: JOB,
            replica: name,
            newest_ms: None,
            now_ms,
        };
        let (is_elected, state) = match tracker.check(&sighting).await {
            Ok(Outcome::Accepted) => (true, "works".to_owned()),
            Ok(Outcome::Deduplicated(other)) => {
                (false, format!("stands by: {} works", other.name()))
            }
            Ok(Outcome::TooManyClusters { limit }) => {
                (false, format!("is one job too many: {limit}"))
            }
            Ok(Outcome::NotStorable(error)) => (false, format!("cannot be elected: {error}")),
            // The election is unknown: wait.
            Err(error) => (false, format!("waits: {error}")),
        };
        // Two copies that start at the same moment can both be elected until they know of each
        // other, so the first answer is ignored.
        if is_elected && elected_before {
            work();
        }
        if state != said && (!is_elected || elected_before) {
            println!("{name}: {state}");
            said = state;
        }
        elected_before = is_elected;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A piece of the job, shorter than the failover timeout, so that no other is elected meanwhile.
fn work() {}
