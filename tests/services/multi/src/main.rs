//! Moves its counter from Consul to etcd while it counts: `service-multi CONSUL ETCD`.

use std::sync::Arc;
use std::time::Duration;

use kv_consul::ConsulConfig;
use kv_core::{CasUpdate, Mergeable, SnappyProtobuf, Store};
use kv_etcd::EtcdConfig;
use kv_multi::{MultiConfig, Override};
use prometheus_client::registry::Registry;
use settings::SecretUrl;

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

/// The larger number is the newer one.
impl Mergeable for Visits {
    fn merge(&mut self, other: &Self) -> bool {
        let grows = other.count > self.count;
        self.count = self.count.max(other.count);
        grows
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [consul, etcd] = arguments.as_slice() else {
        return Err("usage: service-multi CONSUL ETCD".into());
    };
    let consul = ConsulConfig {
        host: SecretUrl::new(consul),
        ..ConsulConfig::default()
    };
    let old: Arc<dyn Store<Visits>> = Arc::new(kv_consul::open(&consul, None, CODEC)?);
    let new: Arc<dyn Store<Visits>> = Arc::new(kv_etcd::open(
        &EtcdConfig::new([etcd.as_str()]),
        None,
        CODEC,
    )?);
    let config = MultiConfig {
        mirror_enabled: true,
        ..MultiConfig::default()
    };
    let mut registry = Registry::default();
    let (store, handle) = kv_multi::start(old, new.clone(), config, "visits", &mut registry)?;
    store.cas("moved/home", &mut one_more).await?;
    // The new store can take over once a comparison finds nothing that it lacks.
    while store.compare(Duration::from_secs(10)).await?.behind() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let primary = Some("etcd".to_owned());
    let switch = Override {
        primary,
        ..Override::default()
    };
    store.apply(&switch).await?;
    store.cas("moved/home", &mut one_more).await?;
    let visits = new.get("moved/home").await?.ok_or("nothing has moved")?;
    println!("{} visits", visits.count);
    handle.shutdown().await;
    Ok(())
}
