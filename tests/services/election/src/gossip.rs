//! A batch job of which one copy at a time works, by gossip:
//! `service-election-gossip ADDRESS [ANOTHER COPY]...`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kv_election::{Participant, Timing, CODEC};
use kv_memberlist::MemberlistConfig;
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().ok_or("no address")?.parse()?;
    let config = MemberlistConfig::bound_to(address, arguments);
    let (store, member) = kv_memberlist::start(config, CODEC, &mut Registry::default()).await?;
    // Copies that begin at the same time may each elect themselves at first.
    let timing = Timing::default().and_settle(Duration::from_secs(1));
    let participant = Participant::new(Arc::new(store), "jobs/report", "host-1", timing)?;
    let token = participant.run(|term| async move { term.token() }).await?;
    println!("worked with token {token}");
    member.leave().await;
    Ok(())
}
