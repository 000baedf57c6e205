//! A map of feature flags that copies of a program share by gossip:
//! `service-gossip NAME ADDRESS [ANOTHER COPY]`. Each copy sets a flag, and ends when it sees that of
//! another one.

use std::net::SocketAddr;
use std::time::Duration;

use kv_core::{CasUpdate, Mergeable, SnappyProtobuf, Store};
use kv_memberlist::MemberlistConfig;
use prometheus_client::registry::Registry;

#[derive(Clone, PartialEq, prost::Message)]
struct Flag {
    #[prost(bool, tag = "1")]
    on: bool,
    /// Grows with each change: the newest wins.
    #[prost(uint64, tag = "2")]
    version: u64,
}

impl Mergeable for Flag {
    fn merge(&mut self, other: &Self) -> bool {
        let newer = (other.version, other.on) > (self.version, self.on);
        if newer {
            self.clone_from(other);
        }
        newer
    }
}

const CODEC: SnappyProtobuf<Flag> = SnappyProtobuf::new("featureFlag");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, address, others @ ..] = arguments.as_slice() else {
        return Err("usage: service-gossip NAME ADDRESS [ANOTHER COPY]...".into());
    };
    let address: SocketAddr = address.parse()?;
    let config = MemberlistConfig {
        bind_addr: vec![address.ip()],
        bind_port: address.port(),
        join_members: others.to_vec(),
        rejoin_interval: Duration::from_secs(1),
        leave_timeout: Duration::from_secs(3),
        ..MemberlistConfig::default()
    };
    let (flags, member) = kv_memberlist::start(config, CODEC, &mut Registry::default()).await?;
    let mut turn_on = |current: Option<&Flag>| {
        CasUpdate::Put(Flag {
            on: true,
            version: current.map_or(0, |flag| flag.version) + 1,
        })
    };
    flags.cas(&format!("flags/{name}"), &mut turn_on).await?;
    while flags.list("flags/").await?.len() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("2 flags");
    member.leave().await;
    Ok(())
}
