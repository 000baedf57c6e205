//! Counts visits in Consul: `service-consul ADDRESS`.

use kv_consul::ConsulConfig;
use kv_core::{SnappyProtobuf, StoreExt};

/// A value of one's own.
#[derive(Clone, PartialEq, prost::Message)]
struct Visits {
    #[prost(uint64, tag = "1")]
    count: u64,
}

const CODEC: SnappyProtobuf<Visits> = SnappyProtobuf::new("visits");

fn one_more(current: Option<&Visits>) -> Visits {
    let count = current.map_or(0, |visits| visits.count) + 1;
    Visits { count }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("no address")?;
    let store = kv_consul::open(&ConsulConfig::new(&address), None, CODEC)?;
    for _ in 0..2 {
        store.update("visits/home", one_more).await?;
    }
    let visits = store.update("visits/home", one_more).await?;
    println!("{} visits", visits.count);
    Ok(())
}
