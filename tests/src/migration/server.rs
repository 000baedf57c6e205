//! The store to move away from: a real server, behind a network that can be disturbed.

use std::path::Path;

use serde_json::{Value, json};

use super::plan::OldStore;
use crate::{Consul, Etcd, Process, Proxy};

/// The server, and the only way that distributors know to it.
pub(crate) struct OldServer {
    server: Server,
    pub(crate) network: Proxy,
}

enum Server {
    Consul(Consul),
    Etcd(Etcd),
}

impl OldServer {
    pub(crate) async fn start(kind: OldStore) -> Self {
        let server = match kind {
            OldStore::Consul => Server::Consul(Consul::start("consul").await),
            OldStore::Etcd => Server::Etcd(Etcd::start("etcd").await),
        };
        let address = match &server {
            Server::Consul(consul) => consul.address(),
            Server::Etcd(etcd) => etcd.address(),
        };
        Self {
            server,
            network: Proxy::start(address).await,
        }
    }

    /// Its section below `kvstore`.
    pub(crate) fn section(&self) -> Value {
        let address = self.network.address().to_string();
        match self.server {
            Server::Consul(_) => json!({
                "host": address,
                "http_client_timeout": "2s",
                "watch_rate_limit": 5,
                "cas_retry_delay": "50ms",
            }),
            Server::Etcd(_) => json!({"endpoints": [address], "dial_timeout": "1s"}),
        }
    }

    /// Its keys, as another program reads them.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, String> {
        match &self.server {
            Server::Consul(consul) => consul.keys("").await,
            Server::Etcd(etcd) => etcd.keys("").await,
        }
    }

    /// It is gone for good.
    pub(crate) fn stop(&mut self) {
        self.process().sigkill();
    }

    pub(crate) fn keep_folder(&mut self) -> &Path {
        let process = self.process();
        process.keep_folder();
        process.folder()
    }

    fn process(&mut self) -> &mut Process {
        match &mut self.server {
            Server::Consul(consul) => &mut consul.process,
            Server::Etcd(etcd) => &mut etcd.process,
        }
    }
}
