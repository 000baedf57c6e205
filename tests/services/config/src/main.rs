//! Follows a setting that operators change while it runs: `service-config etcd|consul ADDRESS`. It
//! ends when the limit is 0. With `set N` behind it, it is the operator.

use std::sync::Arc;

use futures::StreamExt;
use kv_consul::ConsulConfig;
use kv_core::{Json, Store, StoreExt, WatchEvent};
use kv_etcd::EtcdConfig;
use serde::{Deserialize, Serialize};

/// As it is stored: `{"requests_per_second":50}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Limits {
    requests_per_second: u32,
}

const CODEC: Json<Limits> = Json::new("limits");
const KEY: &str = "config/my-service/limits";

type Error = Box<dyn std::error::Error>;

/// The only function that knows the backend.
fn open(backend: &str, address: &str) -> Result<Arc<dyn Store<Limits>>, Error> {
    match backend {
        "etcd" => Ok(Arc::new(kv_etcd::open(
            &EtcdConfig::new([address]),
            None,
            CODEC,
        )?)),
        "consul" => Ok(Arc::new(kv_consul::open(
            &ConsulConfig::new(address),
            None,
            CODEC,
        )?)),
        other => Err(format!("unknown backend {other:?}").into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [backend, address] => follow(&*open(backend, address)?).await,
        [backend, address, "set", limit] => {
            let requests_per_second = limit.parse()?;
            let limits = Limits {
                requests_per_second,
            };
            Ok(open(backend, address)?.put(KEY, limits).await?)
        }
        _ => Err("usage: service-config etcd|consul ADDRESS [set LIMIT]".into()),
    }
}

async fn follow(store: &dyn Store<Limits>) -> Result<(), Error> {
    // `config.get(KEY)` is the newest value, for the code that obeys it; here, only changes matter.
    let config = store.watch_map(KEY);
    let mut changes = config.changes();
    while let Some(event) = changes.next().await {
        let WatchEvent::Put(_, limits) = event else {
            continue;
        };
        println!("{} requests per second", limits.requests_per_second);
        if limits.requests_per_second == 0 {
            return Ok(());
        }
    }
    Err(config.check().unwrap_err().into())
}
