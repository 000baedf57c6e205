//! Watches the elections of distributors over gRPC, and moves to another one when one fails.
//!
//! ```sh
//! cargo run -p ha-tracker --features grpc --example watch_elections -- http://127.0.0.1:9095 http://127.0.0.1:9096
//! ```
//!
//! Prints a line for each election, and for each cluster that is removed. A stream begins with the
//! state, so changes between two streams are found by comparison: nothing is missed.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_tracker::proto::ha_tracker_client::HaTrackerClient;
use ha_tracker::proto::watch_elections_response::Event;
use ha_tracker::proto::{Election, WatchElectionsRequest};
use tonic::transport::{Channel, Endpoint};

type Error = Box<dyn std::error::Error>;

/// Elected replicas by tenant and cluster.
#[derive(Default)]
struct Elected {
    known: BTreeMap<(String, String), String>,
    /// The state that is being received.
    told: BTreeMap<(String, String), String>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.is_empty() {
        return Err("usage: watch_elections http://HOST:PORT...".into());
    }
    let mut elected = Elected::default();
    for address in addresses.iter().cycle() {
        // Ends by itself only when the distributor does.
        if let Err(error) = follow(address, &mut elected).await {
            eprintln!("{address}: {error}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn follow(address: &str, elected: &mut Elected) -> Result<(), Error> {
    let endpoint: Endpoint = address.parse()?;
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(2))
        // Otherwise the failure of a distributor's machine would not be noticed.
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5));
    let channel: Channel = endpoint.connect().await?;
    let mut client = HaTrackerClient::new(channel);
    let watch = client.watch_elections(WatchElectionsRequest::default());
    let mut events = watch.await?.into_inner();
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::State(state)) => {
                if state.is_first {
                    elected.told.clear();
                }
                for election in state.elections {
                    let (cluster, replica) = read(election);
                    elected.told.insert(cluster, replica);
                }
                if state.is_last {
                    eprintln!("following {address}");
                    elected.replace();
                }
            }
            Some(Event::Elected(election)) => {
                let (cluster, replica) = read(election);
                elected.elect(cluster, replica);
            }
            Some(Event::Forgotten(gone)) => elected.forget(&(gone.tenant, gone.cluster)),
            Some(Event::Lagged(lagged)) => eprintln!("too slow: {} changes missed", lagged.missed),
            None => {}
        }
    }
    Ok(())
}

fn read(election: Election) -> ((String, String), String) {
    let replica = election.desc.map(|desc| desc.replica).unwrap_or_default();
    ((election.tenant, election.cluster), replica)
}

impl Elected {
    /// The state is complete: clusters that are not in it were removed.
    fn replace(&mut self) {
        let told = std::mem::take(&mut self.told);
        let gone: Vec<_> = self
            .known
            .keys()
            .filter(|cluster| !told.contains_key(*cluster))
            .cloned()
            .collect();
        for cluster in &gone {
            self.forget(cluster);
        }
        for (cluster, replica) in told {
            self.elect(cluster, replica);
        }
    }

    fn elect(&mut self, cluster: (String, String), replica: String) {
        let (tenant, name) = &cluster;
        let before = self.known.get(&cluster).map_or("-", String::as_str);
        if before != replica {
            println!("{tenant}/{name}: {before} -> {replica}");
        }
        self.known.insert(cluster, replica);
    }

    fn forget(&mut self, cluster: &(String, String)) {
        if let Some(before) = self.known.remove(cluster) {
            println!("{}/{}: {before} -> -", cluster.0, cluster.1);
        }
    }
}
