//! A map of feature flags that copies of a program share by gossip:
//! `service-gossip NAME ADDRESS [ANOTHER COPY]...`. Each copy sets a flag, and ends when it sees that
//! of another one.

use std::net::SocketAddr;

use kv_core::{keep_larger, Mergeable, SnappyProtobuf, StoreExt};
use kv_memberlist::MemberlistConfig;
use prometheus_client::registry::Registry;

/// Fields are compared in this order: the version first, which grows with each change.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
struct Flag {
    #[prost(uint64, tag = "2")]
    version: u64,
    #[prost(bool, tag = "1")]
    on: bool,
}

impl Mergeable for Flag {
    fn merge(&mut self, other: &Self) -> bool {
        keep_larger(self, other)
    }
}

const CODEC: SnappyProtobuf<Flag> = SnappyProtobuf::new("featureFlag");

fn turn_on(current: Option<&Flag>) -> Flag {
    let version = current.map_or(0, |flag| flag.version) + 1;
    Flag { version, on: true }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: service-gossip NAME ADDRESS [ANOTHER COPY]...".into());
    };
    let address: SocketAddr = address.parse()?;
    let config = MemberlistConfig::bound_to(address, arguments);
    let (store, member) = kv_memberlist::start(config, CODEC, &mut Registry::default()).await?;
    let flags = store.watch_map("flags/");
    store.update(&format!("flags/{name}"), turn_on).await?;
    let on = flags
        .wait_for(|flags| (flags.values().filter(|flag| flag.on).count() > 1).then(|| flags.len()))
        .await?;
    println!("{on} flags");
    member.leave().await;
    Ok(())
}
