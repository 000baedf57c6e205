//! [`Etcd`]: the real server, one member.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::programs::{comes_up, only_lost_its_port, output_of, program};
use crate::{Metrics, Port, Process, Recipe, get};

/// The TLS files of a server.
#[derive(Debug, Clone)]
pub struct ServerTlsFiles {
    /// Its certificate.
    pub cert: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// Who signs the certificates that clients have to show; without it, they show none.
    ///
    /// `etcdctl` shows the server's own, so it has to be good for a client of this authority.
    pub client_ca: Option<PathBuf>,
}

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// Serve clients over TLS.
    pub tls: Option<ServerTlsFiles>,
    /// More flags.
    pub extra_flags: Vec<String>,
}

/// A running etcd, with its data on disk.
#[derive(Debug)]
pub struct Etcd {
    /// Its process.
    pub process: Process,
    options: EtcdOptions,
    client: Port,
    _peer: Port,
    /// Metrics and health in plain HTTP, whatever clients need.
    monitoring: Port,
}

impl Etcd {
    /// Starts one without TLS and waits until it is healthy.
    ///
    /// # Panics
    /// When the server is not there (`cargo xtask peers` provides it) or does not get healthy.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &EtcdOptions::default()).await
    }

    /// [`Etcd::start`] with options.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    pub async fn start_with(name: &str, options: &EtcdOptions) -> Self {
        loop {
            let (client, peer, monitoring) = (Port::reserve(), Port::reserve(), Port::reserve());
            let arguments = arguments(options, &client, &peer, &monitoring);
            let recipe = Recipe {
                program: program("etcd", "etcd"),
                arguments: arguments.into_iter().map(Into::into).collect(),
                environment: Vec::new(),
            };
            let mut this = Self {
                process: Process::start(name, Process::folder_for(name), recipe),
                options: options.clone(),
                client,
                _peer: peer,
                monitoring,
            };
            if this.healthy().await {
                return this;
            }
            only_lost_its_port(&this.process);
        }
    }

    /// `127.0.0.1:<port>` for clients.
    pub fn endpoint(&self) -> String {
        self.address().to_string()
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        self.client.address()
    }

    /// Kills it and starts it again on the same data and ports; returns when it is healthy.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.wait_healthy().await;
    }

    /// [`Etcd::restart`], but all data is lost in between.
    pub async fn restart_empty(&mut self) {
        self.process.sigkill();
        fs::remove_dir_all(self.process.folder().join("data")).unwrap();
        self.restart().await;
    }

    /// Waits until it has a leader and can write.
    ///
    /// # Panics
    /// When it exits or takes longer than [`LONG`](crate::LONG).
    pub async fn wait_healthy(&mut self) {
        assert!(self.healthy().await, "exited:\n{}", self.process.log());
    }

    /// Its own metrics.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        let url = format!("http://{}/metrics", self.monitoring.address());
        Ok(Metrics::parse(&get(&url, None).await?.body).unwrap())
    }

    /// Runs the real `etcdctl` against it: what it prints.
    ///
    /// # Errors
    /// When it fails: what it prints on standard error.
    pub async fn etcdctl(&self, args: &[&str]) -> Result<String, String> {
        let printed = self.run_etcdctl(args, &[]).await?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    /// The value of a key, read by `etcdctl`.
    ///
    /// # Errors
    /// As [`Etcd::etcdctl`].
    pub async fn get_raw(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let args = ["get", "--print-value-only", "--", key];
        // A line for the value, if there is one.
        let mut printed = self.run_etcdctl(&args, &[]).await?;
        Ok(printed.pop().map(|_newline| printed))
    }

    /// The keys with a prefix, in order, read by `etcdctl`.
    ///
    /// # Errors
    /// As [`Etcd::etcdctl`].
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, String> {
        let args = ["get", "--prefix", "--keys-only", "-w", "json", "--", prefix];
        let printed = self.etcdctl(&args).await?;
        let value: Value = serde_json::from_str(&printed).map_err(|e| format!("{e}: {printed}"))?;
        let entries = value["kvs"].as_array().map_or(&[][..], Vec::as_slice);
        entries
            .iter()
            .map(|entry| {
                let key = entry["key"].as_str().unwrap_or_default();
                let key = BASE64_STANDARD.decode(key).map_err(|e| e.to_string())?;
                String::from_utf8(key).map_err(|e| e.to_string())
            })
            .collect()
    }

    /// Writes a value with `etcdctl`.
    ///
    /// # Errors
    /// As [`Etcd::etcdctl`].
    pub async fn put_raw(&self, key: &str, value: &[u8]) -> Result<(), String> {
        // From standard input it takes every value but an empty one.
        let args = ["put", "--", key, ""];
        let count = if value.is_empty() { 4 } else { 3 };
        self.run_etcdctl(&args[..count], value).await.map(drop)
    }

    /// The revision of the store, read by `etcdctl`.
    ///
    /// # Errors
    /// As [`Etcd::etcdctl`].
    pub async fn revision(&self) -> Result<i64, String> {
        let printed = self.etcdctl(&["get", "revision", "-w", "json"]).await?;
        let value: Value = serde_json::from_str(&printed).map_err(|e| format!("{e}: {printed}"))?;
        let revision = value["header"]["revision"].as_i64();
        revision.ok_or_else(|| format!("no revision: {printed}"))
    }

    async fn run_etcdctl(&self, args: &[&str], stdin: &[u8]) -> Result<Vec<u8>, String> {
        let mut command = Command::new(program("etcdctl", "etcdctl"));
        command.env("ETCDCTL_API", "3").args([
            "--endpoints",
            &self.endpoint(),
            "--dial-timeout=10s",
            "--command-timeout=10s",
        ]);
        if let Some(tls) = &self.options.tls {
            command.args(["--insecure-transport=false", "--insecure-skip-tls-verify"]);
            if tls.client_ca.is_some() {
                command.arg("--cert").arg(&tls.cert);
                command.arg("--key").arg(&tls.key);
            }
        }
        command.args(args);
        output_of(command, stdin.to_vec()).await
    }

    /// False when it exited before it was healthy.
    async fn healthy(&mut self) -> bool {
        let url = format!("http://{}/health", self.monitoring.address());
        comes_up(&mut self.process, || async {
            let answer = get(&url, None).await?;
            // The value is a string in 3.4 and 3.5.
            if answer.status == 200 && answer.json()["health"] == "true" {
                return Ok(());
            }
            Err(format!("{}: {}", answer.status, answer.body))
        })
        .await
    }
}

fn arguments(options: &EtcdOptions, client: &Port, peer: &Port, monitoring: &Port) -> Vec<String> {
    let scheme = options.tls.as_ref().map_or("http", |_| "https");
    let client = format!("{scheme}://{}", client.address());
    let peer = format!("http://{}", peer.address());
    let mut arguments = vec![
        "--name=etcd".to_owned(),
        "--data-dir=data".to_owned(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=etcd={peer}"),
        format!("--listen-metrics-urls=http://{}", monitoring.address()),
        // Half of the defaults. There is no other member to elect, so late ticks do no harm.
        "--heartbeat-interval=50".to_owned(),
        "--election-timeout=500".to_owned(),
        // What the kernel has survives SIGKILL.
        "--unsafe-no-fsync".to_owned(),
        "--logger=zap".to_owned(),
    ];
    if let Some(tls) = &options.tls {
        arguments.push(format!("--cert-file={}", tls.cert.display()));
        arguments.push(format!("--key-file={}", tls.key.display()));
        if let Some(authority) = &tls.client_ca {
            arguments.push("--client-cert-auth".to_owned());
            arguments.push(format!("--trusted-ca-file={}", authority.display()));
        }
    }
    arguments.extend(options.extra_flags.iter().cloned());
    arguments
}
