//! Counts visits in etcd: `service-etcd ADDRESS`.

use kv_core::{CasUpdate, SnappyProtobuf, Store};
use kv_etcd::EtcdConfig;

/// A value of one's own: a protobuf message, and how two versions of it are joined.
#[derive(Clone, PartialEq, prost::Message)]
struct Visits {
    #[prost(uint64, tag = "1")]
    count: u64,
}

const CODEC: SnappyProtobuf<Visits> = SnappyProtobuf::new("visits");

fn one_more(current: Option<&Visits>) -> CasUpdate<Visits> {
    CasUpdate::Put(Visits {
        count: current.map_or(0, |visits| visits.count) + 1,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("no address")?;
    let store = kv_etcd::open(&EtcdConfig::new([address]), None, CODEC)?;
    for _ in 0..3 {
        store.cas("visits/home", &mut one_more).await?;
    }
    let visits = store.get("visits/home").await?.ok_or("nothing is stored")?;
    println!("{} visits", visits.count);
    Ok(())
}
