//! Moves its counter from Consul to etcd while it counts: `service-multi CONSUL ETCD`.

use std::sync::Arc;
use std::time::Duration;

use kv_consul::ConsulConfig;
use kv_core::{keep_larger, Mergeable, SnappyProtobuf, Store, StoreExt};
use kv_etcd::EtcdConfig;
use kv_multi::{MultiConfig, Override};
use prometheus_client::registry::Registry;

/// A value of one's own: a protobuf message, and how two versions of it are joined.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
struct Visits {
    #[prost(uint64, tag = "1")]
    count: u64,
}

const CODEC: SnappyProtobuf<Visits> = SnappyProtobuf::new("visits");

fn one_more(current: Option<&Visits>) -> Visits {
    let count = current.map_or(0, |visits| visits.count) + 1;
    Visits { count }
}

/// The larger number is the newer one.
impl Mergeable for Visits {
    fn merge(&mut self, other: &Self) -> bool {
        keep_larger(self, other)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [consul, etcd] = arguments.as_slice() else {
        return Err("usage: service-multi CONSUL ETCD".into());
    };
    let (consul, etcd) = (ConsulConfig::new(consul), EtcdConfig::new([etcd]));
    let old: Arc<dyn Store<Visits>> = Arc::new(kv_consul::open(&consul, None, CODEC)?);
    let new: Arc<dyn Store<Visits>> = Arc::new(kv_etcd::open(&etcd, None, CODEC)?);
    // From before there were two stores: it is copied.
    old.update("moved/before", one_more).await?;

    let config = MultiConfig {
        mirror_enabled: true,
        ..MultiConfig::default()
    };
    let mut registry = Registry::default();
    let (store, handle) = kv_multi::start(old, new.clone(), config, "visits", &mut registry)?;
    let seen = store.watch_map("moved/");
    let mut counted = 0;
    // The new store can take over once a comparison finds nothing that it lacks.
    loop {
        store.update("moved/home", one_more).await?;
        counted += 1;
        if store.compare(Duration::ZERO).await?.behind() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let primary = Some("etcd".to_owned());
    let switch = Override {
        primary,
        ..Override::default()
    };
    store.apply(&switch).await?;
    store.update("moved/home", one_more).await?;
    counted += 1;

    let [home, before] = ["home", "before"].map(|name| format!("moved/{name}"));
    let home = new.get(&home).await?.ok_or("nothing has moved")?;
    let before = new.get(&before).await?.ok_or("nothing was copied")?;
    println!(
        "lost {} of {} visits",
        counted + 1 - home.count - before.count,
        counted + 1
    );
    // The map has followed the store from one server to the other.
    seen.wait_for(|seen| (seen.get("moved/home")?.count == counted).then_some(()))
        .await?;
    println!("moved");
    handle.shutdown().await;
    Ok(())
}
