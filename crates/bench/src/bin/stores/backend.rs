//! A store and the network before it.

use anyhow::{Result, anyhow};
use e2e::{Answer, Consul, ConsulOptions, Etcd, Metrics, Proxy};
use serde_json::json;

use crate::counted::Counted;

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Inmemory,
    Etcd,
    Consul,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inmemory => "inmemory",
            Self::Etcd => "etcd",
            Self::Consul => "Consul",
        }
    }
}

/// A store with a server.
pub(crate) struct Backend {
    server: Server,
    /// Between the distributor and the server.
    pub(crate) proxy: Proxy,
}

enum Server {
    Etcd(Etcd),
    Consul(Consul),
}

/// What a server counts: reads, writes, and the messages of its watches; for Consul, whose watches
/// are reads, without the last.
pub(crate) type Requests = Counted<3>;

impl Backend {
    /// Starts the server; the in-memory store has none.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        let server = match kind {
            Kind::Inmemory => return None,
            Kind::Etcd => Server::Etcd(Etcd::start("etcd").await),
            Kind::Consul => Server::Consul(Consul::start_with("consul", &consul_options()).await),
        };
        let address = match &server {
            Server::Etcd(etcd) => etcd.address(),
            Server::Consul(consul) => consul.address(),
        };
        let proxy = Proxy::start(address).await;
        Some(Self { server, proxy })
    }

    /// `kvstore` of a distributor; its YAML is JSON.
    pub(crate) fn kvstore(backend: Option<&Self>) -> serde_json::Value {
        let Some(backend) = backend else {
            return json!({"store": "inmemory"});
        };
        let address = backend.proxy.address().to_string();
        match &backend.server {
            Server::Etcd(_) => json!({"store": "etcd", "etcd": {"endpoints": [address]}}),
            Server::Consul(_) => json!({"store": "consul", "consul": {"host": address}}),
        }
    }

    /// The server's process.
    pub(crate) fn process(&self) -> u32 {
        match &self.server {
            Server::Etcd(etcd) => etcd.process.id(),
            Server::Consul(consul) => consul.process.id(),
        }
    }

    /// How many keys of the tracker there are.
    pub(crate) async fn keys(&self) -> Result<usize> {
        let keys = match &self.server {
            Server::Etcd(etcd) => etcd.keys("ha-tracker/").await,
            Server::Consul(consul) => consul.keys("ha-tracker/").await,
        };
        Ok(keys.map_err(|error| anyhow!("{error}"))?.len())
    }

    /// What the server itself has counted.
    pub(crate) async fn requests(&self) -> Result<Requests> {
        let totals = match &self.server {
            Server::Etcd(etcd) => {
                let metrics = etcd.metrics().await.map_err(|error| anyhow!("{error}"))?;
                let calls =
                    |method| metrics.sum("grpc_server_handled_total", &[("grpc_method", method)]);
                let messages = &[("grpc_method", "Watch")];
                [
                    calls("Range"),
                    calls("Txn"),
                    metrics.sum("grpc_server_msg_sent_total", messages),
                ]
            }
            Server::Consul(consul) => {
                let page = "/v1/agent/metrics?format=prometheus";
                let metrics = Metrics::parse(&ask(consul, "GET", page, b"").await?.body)?;
                let calls = |method: &str| {
                    let name = format!("consul_http_{method}_v1_kv___count");
                    metrics.sum(&name, &[])
                };
                [calls("GET"), calls("PUT"), 0.0]
            }
        };
        Ok(Counted::now(totals))
    }

    /// What answers of Consul weigh.
    pub(crate) async fn weights(&self, tenant: &str, cluster: &str) -> Result<Option<Weights>> {
        let Server::Consul(consul) = &self.server else {
            return Ok(None);
        };
        let everything = ask(consul, "GET", "/v1/kv/ha-tracker/?recurse", b"").await?;
        let key = format!("/v1/kv/ha-tracker/{tenant}/{cluster}");
        let read = ask(consul, "GET", &key, b"").await?;
        let write = ask(consul, "PUT", "/v1/kv/bench", b"x").await?;
        Ok(Some(Weights {
            everything: wire_bytes(&everything),
            read: wire_bytes(&read),
            write: wire_bytes(&write),
        }))
    }
}

/// Bytes of single answers of Consul, headers included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights {
    /// To a blocking query: all keys.
    pub(crate) everything: f64,
    /// To the read of a key.
    pub(crate) read: f64,
    /// To the write of a key.
    pub(crate) write: f64,
}

fn wire_bytes(answer: &Answer) -> f64 {
    const STATUS_LINE_AND_EMPTY_LINE: usize = "HTTP/1.1 200 OK\r\n\r\n".len();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let headers: usize = answer.headers.iter().map(header).sum();
    (STATUS_LINE_AND_EMPTY_LINE + headers + answer.body.len()) as f64
}

/// With metrics that only grow, and without a log of every request, which would be a good part of
/// its CPU time.
fn consul_options() -> ConsulOptions {
    let telemetry = json!({"prometheus_retention_time": "24h", "disable_hostname": true});
    ConsulOptions {
        extra_config: vec![
            ("telemetry".to_owned(), telemetry),
            ("log_level".to_owned(), json!("WARN")),
        ],
        ..ConsulOptions::default()
    }
}

async fn ask(consul: &Consul, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
    let answer = consul.api(method, path, body, None).await;
    let answer = answer.map_err(|error| anyhow!("{path}: {error}"))?;
    anyhow::ensure!(
        answer.status == 200,
        "{path}: {}: {}",
        answer.status,
        answer.body
    );
    Ok(answer)
}
