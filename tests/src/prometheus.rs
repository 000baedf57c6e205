//! [`Prometheus`]: the real server, as a sender or as a receiver.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Answer, Labels, Metrics, Port, Process, Recipe, Version, get};
use peers::{comes_up, only_lost_its_port, program};

/// Which real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrometheusVersion {
    /// 2.42, which knows remote write 1.0 only. Debian's build ignores `headers` of
    /// `remote_write`, so it cannot name a tenant.
    V2,
    /// 3.x.
    V3,
}

/// A `remote_write` entry.
#[derive(Debug, Clone)]
pub struct RemoteWrite {
    /// Where to.
    pub url: String,
    /// 2.0 needs [`PrometheusVersion::V3`].
    pub version: Version,
    /// Additional headers, such as the tenant; needs [`PrometheusVersion::V3`].
    pub headers: Vec<(String, String)>,
    /// `retry_on_http_429` of the queue.
    pub retry_on_429: bool,
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct PrometheusConfig {
    /// Which server.
    pub version: PrometheusVersion,
    /// `external_labels`: cluster and replica of a sender.
    pub external_labels: Vec<(String, String)>,
    /// Addresses to scrape.
    pub targets: Vec<String>,
    /// The `job` of the targets.
    pub job: String,
    /// More labels of the targets.
    pub target_labels: Vec<(String, String)>,
    /// Recording rules, evaluated as often as targets are scraped: names and expressions.
    pub rules: Vec<(String, String)>,
    /// Files of rules, evaluated as often.
    pub rule_files: Vec<PathBuf>,
    /// Labels of series win over those of targets.
    pub honor_labels: bool,
    /// How often.
    pub scrape_interval: Duration,
    /// Asks for the text format instead of OpenMetrics; needs [`PrometheusVersion::V3`].
    pub scrape_text: bool,
    /// Where to write.
    pub remote_write: Vec<RemoteWrite>,
    /// How far out of order a receiver takes samples; zero: not at all.
    pub out_of_order_window: Duration,
}

impl RemoteWrite {
    /// Writes to `url`, for `tenant` when it is not empty.
    pub fn new(url: &str, version: Version, tenant: &str) -> Self {
        let tenant = Some(tenant).filter(|tenant| !tenant.is_empty());
        Self {
            url: url.to_owned(),
            version,
            headers: tenant
                .map(|tenant| ("X-Scope-OrgID".to_owned(), tenant.to_owned()))
                .into_iter()
                .collect(),
            retry_on_429: false,
        }
    }
}

impl PrometheusConfig {
    /// A receiver: scrapes nothing.
    pub fn receiver(version: PrometheusVersion) -> Self {
        Self {
            version,
            external_labels: Vec::new(),
            targets: Vec::new(),
            job: "target".to_owned(),
            target_labels: Vec::new(),
            rules: Vec::new(),
            rule_files: Vec::new(),
            honor_labels: false,
            scrape_interval: Duration::from_millis(500),
            scrape_text: false,
            remote_write: Vec::new(),
            out_of_order_window: Duration::ZERO,
        }
    }

    /// One of an HA pair: scrapes `target` and writes on, under these external labels.
    pub fn sender(
        version: PrometheusVersion,
        external_labels: &[(&str, &str)],
        target: SocketAddr,
        remote_write: RemoteWrite,
    ) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            external_labels: external_labels.iter().map(owned).collect(),
            targets: vec![target.to_string()],
            remote_write: vec![remote_write],
            ..Self::receiver(version)
        }
    }
}

/// A running Prometheus; every one accepts remote write and answers queries.
#[derive(Debug)]
pub struct Prometheus {
    /// Its process.
    pub process: Process,
    port: Port,
}

impl Prometheus {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When the server is not there (`cargo xtask peers` provides it), does not get ready, or
    /// cannot do what the configuration asks for.
    pub async fn start(name: &str, config: &PrometheusConfig) -> Self {
        for write in &config.remote_write {
            let plain = write.headers.is_empty() && write.version == Version::V1;
            assert!(
                plain || config.version == PrometheusVersion::V3,
                "only 3.x can: {write:?}"
            );
        }
        let program = binary(config.version);
        loop {
            let port = Port::reserve();
            let folder = Process::folder_for(name);
            fs::write(folder.path().join("prometheus.yml"), render(config)).unwrap();
            fs::write(folder.path().join("rules.yml"), render_rules(config)).unwrap();
            let recipe = Recipe {
                program: program.clone(),
                arguments: arguments(config, &port)
                    .into_iter()
                    .map(Into::into)
                    .collect(),
                environment: Vec::new(),
            };
            let mut this = Self {
                process: Process::start(name, folder, recipe),
                port,
            };
            if this.ready().await {
                return this;
            }
            only_lost_its_port(&this.process);
        }
    }

    /// Kills it and starts it again on the same data and port; returns when it is ready.
    pub async fn restart(&mut self) {
        self.process.restart();
        assert!(self.ready().await, "exited:\n{}", self.process.log());
    }

    /// A URL of it.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.port.address())
    }

    /// Where others write to.
    pub fn write_url(&self) -> String {
        self.url("/api/v1/write")
    }

    /// An instant query: the result list.
    ///
    /// # Errors
    /// When it is refused or there is no answer.
    pub async fn query(&self, promql: &str) -> Result<Vec<Value>, String> {
        let data = self.api("query", &[("query", promql)]).await?;
        Ok(list(&data["result"]))
    }

    /// The samples of the last five minutes of every series that `selector` matches: as `query`
    /// of `selector[5m]`.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn raw_samples(&self, selector: &str) -> Result<Vec<Value>, String> {
        self.query(&format!("{selector}[5m]")).await
    }

    /// A range query: the result list. Unix seconds.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn query_range(
        &self,
        promql: &str,
        start: f64,
        end: f64,
        step: f64,
    ) -> Result<Vec<Value>, String> {
        let (start, end, step) = (start.to_string(), end.to_string(), step.to_string());
        let parameters = [
            ("query", promql),
            ("start", &start),
            ("end", &end),
            ("step", &step),
        ];
        let data = self.api("query_range", &parameters).await?;
        Ok(list(&data["result"]))
    }

    /// The label sets of the series that a selector matches.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn series(&self, selector: &str) -> Result<Vec<Labels>, String> {
        let data = self.api("series", &[("match[]", selector)]).await?;
        list(&data)
            .into_iter()
            .map(|series| serde_json::from_value(series).map_err(|e| e.to_string()))
            .collect()
    }

    /// The exemplars of the series that a query names, from a year ago to in a year.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn exemplars(&self, promql: &str) -> Result<Vec<Value>, String> {
        let parameters = [("query", promql), ("start", "0"), ("end", "9999999999")];
        Ok(list(&self.api("query_exemplars", &parameters).await?))
    }

    /// What it knows about its metrics, from scrapes.
    ///
    /// # Errors
    /// As [`Prometheus::query`].
    pub async fn metadata(&self) -> Result<Value, String> {
        self.api("metadata", &[]).await
    }

    /// Its own metrics.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        let page = get(&self.url("/metrics"), None).await?.body;
        Ok(Metrics::parse(&page).unwrap())
    }

    /// A call of its API below `/api/v1/`: the `data` of the answer.
    ///
    /// # Errors
    /// When it is refused or there is no answer.
    pub async fn api(&self, call: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url =
            reqwest::Url::parse_with_params(&self.url(&format!("/api/v1/{call}")), parameters)
                .map_err(|e| e.to_string())?;
        let Answer { status, body, .. } = get(url.as_str(), None).await?;
        let value: Value =
            serde_json::from_str(&body).map_err(|e| format!("{status}: {e}: {body}"))?;
        if value["status"] != "success" {
            return Err(format!("{status}: {body}"));
        }
        Ok(value["data"].clone())
    }

    /// False when it exited before it was ready.
    async fn ready(&mut self) -> bool {
        let url = self.url("/-/ready");
        comes_up(&mut self.process, || async {
            match get(&url, None).await? {
                answer if answer.status == 200 => Ok(()),
                answer => Err(format!("{}: {}", answer.status, answer.body)),
            }
        })
        .await
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Where `cargo xtask peers` puts the server.
fn binary(version: PrometheusVersion) -> PathBuf {
    let name = match version {
        PrometheusVersion::V2 => "prometheus-2",
        PrometheusVersion::V3 => "prometheus-3",
    };
    program(name, "prometheus")
}

fn arguments(config: &PrometheusConfig, port: &Port) -> Vec<String> {
    let mut features = vec!["native-histograms", "exemplar-storage"];
    if config.version == PrometheusVersion::V3 {
        // Without it, 2.0 requests carry no metadata.
        features.push("metadata-wal-records");
    }
    vec![
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address={}", port.address()),
        "--web.enable-remote-write-receiver".to_owned(),
        "--web.enable-lifecycle".to_owned(),
        format!("--enable-feature={}", features.join(",")),
        "--log.level=debug".to_owned(),
    ]
}

/// The file of the recording rules.
fn render_rules(config: &PrometheusConfig) -> String {
    let rules: Vec<Value> = config
        .rules
        .iter()
        .map(|(record, expr)| json!({ "record": record, "expr": expr }))
        .collect();
    json!({ "groups": [{ "name": "rules", "rules": rules }] }).to_string()
}

/// YAML, of which JSON is a part.
fn render(config: &PrometheusConfig) -> String {
    let interval = format!("{}ms", config.scrape_interval.as_millis());
    let object = |pairs: &[(String, String)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect()
    };
    let remote_write: Vec<Value> = config
        .remote_write
        .iter()
        .map(|write| {
            let mut entry = json!({
                "url": write.url,
                "headers": object(&write.headers),
                "send_exemplars": true,
                "send_native_histograms": true,
                "remote_timeout": "10s",
                "queue_config": {
                    "batch_send_deadline": "200ms",
                    "min_backoff": "30ms",
                    "max_backoff": "500ms",
                    "retry_on_http_429": write.retry_on_429,
                },
                "metadata_config": { "send": true, "send_interval": "1s" },
            });
            if write.version == Version::V2 {
                entry["protobuf_message"] = json!("io.prometheus.write.v2.Request");
            }
            entry
        })
        .collect();
    let mut rule_files = vec![PathBuf::from("rules.yml")];
    rule_files.extend(config.rule_files.iter().cloned());
    let mut yaml = json!({
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
            "external_labels": object(&config.external_labels),
        },
        "scrape_configs": [{
            "job_name": config.job,
            "honor_labels": config.honor_labels,
            "static_configs": [{
                "targets": config.targets,
                "labels": object(&config.target_labels),
            }],
        }],
        "rule_files": rule_files,
        "remote_write": remote_write,
        "storage": { "exemplars": { "max_exemplars": 100_000 } },
    });
    if config.scrape_text {
        yaml["scrape_configs"][0]["scrape_protocols"] = json!(["PrometheusText0.0.4"]);
    }
    if !config.out_of_order_window.is_zero() {
        let window = format!("{}ms", config.out_of_order_window.as_millis());
        yaml["storage"]["tsdb"] = json!({ "out_of_order_time_window": window });
    }
    serde_json::to_string_pretty(&yaml).unwrap()
}
