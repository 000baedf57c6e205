//! The metrics reference, generated from a distributor that has seen one of everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use distributor_config::Invocation;
use http::HeaderMap;
use ingest::{PushBody, Sender};
use remote_write::Version;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use watched_files::Reload;

use crate::intake::Received;
use crate::metrics::Protocol;
use crate::{Running, store};

/// A 1.0 request with the series `{__replica__="r", cluster="c"}`, one sample and one exemplar.
const REQUEST: &[u8] =
    b"\x0a\x2f\x0a\x10\x0a\x0b__replica__\x12\x01r\x0a\x0c\x0a\x07cluster\x12\x01c\
    \x12\x0b\x09\0\0\0\0\0\0\0\0\x10\x01\x1a\0";
/// Metadata, to be appended.
const METADATA: &[u8] = b"\x1a\0";

/// Why the reference cannot be made.
pub type ReferenceError = Box<dyn std::error::Error + Send + Sync>;

/// All metrics with type, labels and help, as a Markdown page (`docs/metrics.md`).
///
/// Runs a distributor on a port of the loopback interface for a moment.
pub async fn metrics_markdown() -> Result<String, ReferenceError> {
    let runtime_file = std::env::temp_dir().join(format!("distributor-{}", std::process::id()));
    std::fs::write(&runtime_file, "overrides: {}\n")?;
    let text = scrape_one_of_everything(&runtime_file.to_string_lossy()).await;
    std::fs::remove_file(&runtime_file)?;
    Ok(render(&text?))
}

async fn scrape_one_of_everything(runtime_file: &str) -> Result<String, ReferenceError> {
    let downstream = TcpListener::bind("127.0.0.1:0").await?;
    let downstream_flag = format!(
        "-distributor.downstream.url=http://{}/",
        downstream.local_addr()?
    );
    let takes_all = axum::Router::new().fallback(async || ());
    let _downstream = AbortOnDropHandle::new(tokio::spawn(async {
        // Without it the reference lacks a metric, which a test notices.
        let _ = axum::serve(downstream, takes_all).await;
    }));
    let runtime_flag = format!("-runtime-config.file={runtime_file}");
    let flags = [
        "-server.http-listen-address=127.0.0.1",
        "-server.http-listen-port=0",
        "-server.grpc-listen-address=127.0.0.1",
        "-server.grpc-listen-port=0",
        "-distributor.ha-tracker.enable",
        "-distributor.ha-tracker.enable-for-all-users",
        "-distributor.ha-tracker.enable-elected-replica-metric",
        "-distributor.ha-tracker.max-clusters=1",
        "-distributor.ingestion-rate-limit=0.001",
        "-distributor.ingestion-burst-size=1",
        "-distributor.ha-tracker.store=multi",
        "-distributor.ha-tracker.multi.primary=memberlist",
        "-distributor.ha-tracker.multi.secondary=inmemory",
        "-distributor.ha-tracker.multi.mirror-enabled",
        "-memberlist.bind-addr=127.0.0.1",
        "-memberlist.bind-port=0",
        downstream_flag.as_str(),
        runtime_flag.as_str(),
    ];
    let loaded = distributor_config::load(flags.map(Into::into), [], &store::check)?;
    let Invocation::Run(loaded) = loaded else {
        return Err("the flags of the reference do not start a distributor".into());
    };
    let running = crate::start(loaded.config).await?;
    running.ready().await;
    let scraped = push_and_scrape(&running).await;
    running.shutdown().await;
    scraped
}

async fn push_and_scrape(running: &Running) -> Result<String, ReferenceError> {
    let measured = running.measured();
    let mut sender = Sender::default();
    sender.tenant.push_str("tenant");
    // The second cluster is one too many, and discarded; the third request exceeds the rate limit.
    for (cluster, more) in [(b'c', &[][..]), (b'd', &[]), (b'c', METADATA)] {
        let mut raw = [REQUEST, more].concat();
        let position = raw.windows(8).position(|bytes| bytes == b"\x07cluster");
        if let Some(value) = position.and_then(|name| raw.get_mut(name + 10)) {
            *value = cluster;
        }
        let mut body = Vec::new();
        remote_write::compress_into(&raw, &mut body);
        let pusher = &measured.intake.pusher;
        let received = Received {
            version: Version::V1,
            body: PushBody::Snappy(Bytes::from(body).into()),
            headers: HeaderMap::new(),
            held: pusher.hold(),
            in_flight: pusher.enter()?,
        };
        measured.intake.push(&sender, received).await;
    }
    drop(measured.requests.begin(Protocol::Http("GET"), "metrics"));
    measured
        .files
        .add("server.http_tls_config", Arc::new(NoFiles));
    if let Some(multi) = &measured.multi {
        multi.compare(std::time::Duration::ZERO).await?;
    }
    Ok(admin::encode(&measured.registry)?)
}

/// Stands for certificates, which the flags of the reference have none of.
struct NoFiles;

impl Reload for NoFiles {
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn reload(&self) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    labels: Vec<String>,
}

fn render(exposition: &str) -> String {
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    for line in exposition.lines() {
        if let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            all.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            all.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            // The family whose name the sample's name begins with, the longest.
            let family = all
                .iter_mut()
                .rev()
                .find(|(family, _)| name.starts_with(family.as_str()));
            if let Some((_, metric)) = family {
                for label in labels.split("\",").filter_map(|pair| pair.split_once('=')) {
                    let name = label.0.trim_start_matches('{');
                    if name != "le" && !metric.labels.iter().any(|known| known == name) {
                        metric.labels.push(name.to_owned());
                    }
                }
            }
        }
    }
    let mut page = String::from(
        "# Metrics\n\n<!-- Generated by `cargo xtask codegen`; do not edit. -->\n\n\
         What `/metrics` shows, with the names of Grafana Mimir where Mimir has the metric. Series \
         with a `cluster` label exist while the cluster's election does; series with a `user` label \
         (the tenant) disappear 20 minutes after the tenant's last request. `cortex_multikv_*` are there only with \
         `kvstore.store: multi`, `memberlist_client_*` only where gossip is used.\n\n\
         | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for (name, metric) in &all {
        let suffix = match metric.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        page.push_str(&format!(
            "| `{name}{suffix}` | {} | {} | {} |\n",
            metric.kind,
            labels.join(", "),
            metric.help
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn docs_metrics_md_is_up_to_date() {
        let page = metrics_markdown().await.unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(
            page == checked_in,
            "docs/metrics.md is stale: run `cargo xtask codegen`"
        );
    }

    #[test]
    fn labels_of_a_longer_name_are_not_mixed_up() {
        let page = render(
            "# HELP a First.\n# TYPE a counter\na_total{x=\"1\",y=\"2\"} 1\n\
             # HELP a_b Second.\n# TYPE a_b gauge\na_b{z=\"1\"} 1\n",
        );
        assert!(
            page.contains("| `a_total` | counter | `x`, `y` | First. |"),
            "{page}"
        );
        assert!(page.contains("| `a_b` | gauge | `z` | Second. |"), "{page}");
    }
}
