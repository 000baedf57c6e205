//! A batch job of which one copy at a time works, over etcd: `service-election-etcd ADDRESS`.

use std::sync::Arc;

use kv_election::{Participant, Timing, CODEC};
use kv_etcd::EtcdConfig;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("no address")?;
    let store = Arc::new(kv_etcd::open(&EtcdConfig::new([address]), None, CODEC)?);
    let participant = Participant::new(store, "jobs/report", "host-1", Timing::default())?;
    let token = participant.run(|term| async move { term.token() }).await?;
    println!("worked with token {token}");
    Ok(())
}
