//! Deduplicates two replicas, with elections in etcd: `service-tracker ADDRESS`.

use std::sync::Arc;

use ha_tracker::{Clock, HaLimits, HaTracker, Outcome, Sighting, TrackerConfig, CODEC};
use kv_core::PrefixStore;
use kv_etcd::EtcdConfig;
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("no address")?;
    let etcd = kv_etcd::open(&EtcdConfig::new([address]), None, CODEC)?;
    let (tracker, handle) = HaTracker::start(
        Arc::new(PrefixStore::new(Arc::new(etcd), "ha-tracker/")),
        Arc::new(HaLimits::default()),
        TrackerConfig::default(),
        &mut Registry::default(),
    );
    tracker.ready().await;
    let sent_by = |replica| Sighting {
        tenant: "team-a",
        cluster: "eu-1",
        replica,
        newest_ms: None,
        now_ms: Clock::System.now_ms(),
    };
    let accepted = matches!(tracker.check(&sent_by("a")).await?, Outcome::Accepted);
    let dropped = matches!(
        tracker.check(&sent_by("b")).await?,
        Outcome::Deduplicated(_)
    );
    println!("accepted a: {accepted}, dropped b: {dropped}");
    handle.shutdown().await;
    Ok(())
}
