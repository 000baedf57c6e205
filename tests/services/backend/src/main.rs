//! A backend of one's own, in `folder.rs`, that passes the suite of all backends:
//! `service-backend FOLDER`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kv_core::conformance::{self, Backend, Counter};
use kv_core::{Backoff, RetryPolicy, Store, TypedStore};

mod folder;

use folder::Folder;

struct InFolder(Folder);

#[async_trait]
impl Backend for InFolder {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        let policy = RetryPolicy {
            attempts: 20,
            conflict: Backoff {
                first: Duration::from_millis(2),
                longest: Duration::from_millis(50),
            },
            failure: Backoff::constant(Duration::from_millis(100)),
            deadline: Duration::from_secs(10),
        };
        Arc::new(TypedStore::new(self.0.clone(), conformance::CODEC, policy))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("no folder")?;
    std::fs::create_dir_all(&folder)?;
    conformance::run(&InFolder(Folder(folder.into()))).await;
    println!("a backend of one's own keeps the contract");
    Ok(())
}
