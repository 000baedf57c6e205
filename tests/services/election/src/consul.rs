//! A batch job of which one copy at a time works, over Consul: `service-election-consul ADDRESS`.

use std::sync::Arc;

use kv_consul::ConsulConfig;
use kv_election::{Participant, Timing, CODEC};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("no address")?;
    let store = Arc::new(kv_consul::open(&ConsulConfig::new(&address), None, CODEC)?);
    let participant = Participant::new(store, "jobs/report", "host-1", Timing::default())?;
    let token = participant.run(|term| async move { term.token() }).await?;
    println!("worked with token {token}");
    Ok(())
}
