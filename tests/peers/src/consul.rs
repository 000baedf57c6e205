//! [`Consul`]: the real server, one agent.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use reqwest::{Method, Response, Url};
use serde_json::{Value, json};

use crate::programs::{comes_up, only_lost_its_port, output_of, program};
use crate::{Answer, Port, Process, Recipe, http_client};

/// How an agent is set up.
#[derive(Debug, Clone, Default)]
pub struct ConsulOptions {
    /// Nothing is allowed without a token, and everything with this one, a UUID.
    pub acl_master_token: Option<String>,
    /// More top-level configuration: name and value.
    pub extra_config: Vec<(String, Value)>,
}

/// A running Consul server, with its data on disk.
///
/// Paths of keys are as in URLs: percent-encoded where they must be. Consul has no keys with
/// empty or dot segments (except at the end), encoded or not: such calls fail.
#[derive(Debug)]
pub struct Consul {
    /// Its process.
    pub process: Process,
    token: Option<String>,
    http: Port,
    _server: Port,
    _serf: Port,
}

impl Consul {
    /// Starts one without access control and waits until it is ready.
    ///
    /// # Panics
    /// When the server is not there (`cargo xtask peers` provides it) or does not get ready.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, &ConsulOptions::default()).await
    }

    /// [`Consul::start`] with options.
    ///
    /// # Panics
    /// As [`Consul::start`].
    pub async fn start_with(name: &str, options: &ConsulOptions) -> Self {
        loop {
            let (http, server, serf) = (Port::reserve(), Port::reserve(), Port::reserve());
            let folder = Process::folder_for(name);
            let config = render(options, &http, &server, &serf);
            fs::write(folder.path().join("config.json"), config).unwrap();
            let recipe = Recipe {
                program: program("consul", "consul"),
                arguments: ["agent", "-config-file=config.json"]
                    .map(Into::into)
                    .to_vec(),
                environment: Vec::new(),
            };
            let mut this = Self {
                process: Process::start(name, folder, recipe),
                token: options.acl_master_token.clone(),
                http,
                _server: server,
                _serf: serf,
            };
            if this.ready().await {
                return this;
            }
            only_lost_its_port(&this.process);
        }
    }

    /// The address of its HTTP API.
    pub fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// `127.0.0.1:<port>` of its HTTP API.
    pub fn host(&self) -> String {
        self.address().to_string()
    }

    /// Kills it and starts it again on the same data and ports; returns when it is ready.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.wait_ready().await;
    }

    /// [`Consul::restart`], but all data is lost in between.
    pub async fn restart_empty(&mut self) {
        self.process.sigkill();
        fs::remove_dir_all(self.process.folder().join("data")).unwrap();
        self.restart().await;
    }

    /// Waits until it has a leader and writes keys.
    ///
    /// # Panics
    /// When it exits or takes longer than [`LONG`](crate::LONG).
    pub async fn wait_ready(&mut self) {
        assert!(self.ready().await, "exited:\n{}", self.process.log());
    }

    /// A call of its HTTP API, with a token or without.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn api(
        &self,
        method: &str,
        path_and_query: &str,
        body: &[u8],
        token: Option<&str>,
    ) -> Result<Answer, String> {
        let response = call(self.address(), method, path_and_query, body, token).await?;
        Answer::read(response).await.map_err(|e| format!("{e:?}"))
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When it is refused or there is no answer.
    pub async fn get_raw(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let path = format!("/v1/kv/{path}?raw");
        let response = call(self.address(), "GET", &path, &[], self.token()).await?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|e| format!("{e:?}"))?;
        match status {
            200 => Ok(Some(body.to_vec())),
            404 => Ok(None),
            _ => Err(format!("{status}: {}", String::from_utf8_lossy(&body))),
        }
    }

    /// The keys with a prefix, in order, as they are.
    ///
    /// # Errors
    /// When it is refused or there is no answer.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, String> {
        let path = format!("/v1/kv/{prefix}?keys");
        let answer = self.api("GET", &path, &[], self.token()).await?;
        match answer.status {
            200 => serde_json::from_str(&answer.body).map_err(|e| format!("{e}: {}", answer.body)),
            404 => Ok(Vec::new()),
            _ => Err(format!("{}: {}", answer.status, answer.body)),
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// When it is refused or there is no answer.
    pub async fn put_raw(&self, path: &str, value: &[u8]) -> Result<(), String> {
        let path = format!("/v1/kv/{path}");
        expect_true(&self.api("PUT", &path, value, self.token()).await?)
    }

    /// Runs the real command line tool against it, such as `kv get …`: what it prints.
    ///
    /// # Errors
    /// When it fails: what it prints on standard error.
    pub async fn consul(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program("consul", "consul"));
        command.args(args).env("CONSUL_HTTP_ADDR", self.host());
        if let Some(token) = self.token() {
            command.env("CONSUL_HTTP_TOKEN", token);
        }
        let printed = output_of(command, Vec::new()).await?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// False when it exited before it was ready.
    async fn ready(&mut self) -> bool {
        let (address, token) = (self.address(), self.token.clone());
        comes_up(&mut self.process, || async {
            // A write like any other, which leaves no trace: there is no such key.
            let path = "/v1/kv/e2e/ready";
            let response = call(address, "DELETE", path, &[], token.as_deref()).await?;
            let answer = Answer::read(response).await.map_err(|e| format!("{e:?}"))?;
            expect_true(&answer)
        })
        .await
    }
}

async fn call(
    address: SocketAddr,
    method: &str,
    path_and_query: &str,
    body: &[u8],
    token: Option<&str>,
) -> Result<Response, String> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let url = Url::parse(&format!("http://{address}{path_and_query}")).unwrap();
    let request = http_client().request(method, url.clone());
    let mut request = request.body(body.to_vec());
    if let Some(token) = token {
        request = request.header("X-Consul-Token", token);
    }
    let response = request.send().await.map_err(|e| format!("{e:?}"))?;
    // To a key without empty segments and dots, which is another key.
    if *response.url() != url {
        return Err(format!("{url} was redirected to {}", response.url()));
    }
    Ok(response)
}

/// What writes are answered with.
fn expect_true(answer: &Answer) -> Result<(), String> {
    if answer.status == 200 && answer.body.trim() == "true" {
        return Ok(());
    }
    Err(format!("{}: {}", answer.status, answer.body))
}

fn render(options: &ConsulOptions, http: &Port, server: &Port, serf: &Port) -> String {
    let mut config = json!({
        "server": true,
        "bootstrap_expect": 1,
        "node_name": "consul",
        "data_dir": "data",
        "bind_addr": "127.0.0.1",
        "client_addr": "127.0.0.1",
        "ports": {
            "http": http.number(),
            "server": server.number(),
            "serf_lan": serf.number(),
            "serf_wan": -1,
            "dns": -1,
            "grpc": -1,
            "https": -1,
        },
        // The shortest elections there are.
        "performance": { "raft_multiplier": 1 },
        "disable_update_check": true,
        "leave_on_terminate": false,
        "log_level": "DEBUG",
    });
    if let Some(token) = &options.acl_master_token {
        config["acl"] = json!({
            "enabled": true,
            "default_policy": "deny",
            "tokens": { "master": token },
        });
    }
    for (name, value) in &options.extra_config {
        config[name] = value.clone();
    }
    serde_json::to_string_pretty(&config).unwrap()
}
