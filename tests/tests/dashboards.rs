//! Mimir's dashboards, recording rules and alerts, over a distributor that a real Prometheus scrapes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{assert_stored, ha_config, ha_series, plain_series};
use e2e::{
    Distributor, Exemplar, GrpcClient, LONG, Prometheus, PrometheusConfig, PrometheusVersion, Sink,
    Version, labels, now_ms, promtool, to_v1, v1, wait_for,
};
use prost::Message as _;
use serde_json::json;

/// What Mimir's dashboards select a distributor by, in the namespace and cluster of the test.
const JOB: &str = r#"cluster=~"test", job=~"(mimir)/((distributor.*|cortex|mimir|mimir-write.*))""#;
/// The routes of writes in Mimir's mixin.
const WRITES: &str = r#"route=~"/distributor.Distributor/Push|/httpgrpc.*|api_(v1|prom)_push|otlp_v1_metrics|api_v1_push_influx_write""#;

// The queries are those of grafana/mimir's mixin as of 3.0 (main of February 2026), rewritten for one
// test: what Grafana's variables stand for is fixed, and times are shorter.

/// Recording rules of Mimir's mixin (`operations/mimir-mixin/recording_rules.libsonnet`, over
/// shorter times): name and expression.
const RULES: [(&str, &str); 8] = [
    (
        "cluster_job_route:cortex_request_duration_seconds:99quantile",
        "histogram_quantile(0.99, sum by (le, cluster, job, route) (rate(cortex_request_duration_seconds_bucket[1m])))",
    ),
    (
        "cluster_job_route:cortex_request_duration_seconds_bucket:sum_rate",
        "sum by (le, cluster, job, route) (rate(cortex_request_duration_seconds_bucket[1m]))",
    ),
    (
        "cluster_job_route:cortex_request_duration_seconds_count:sum_rate",
        "sum by (cluster, job, route) (rate(cortex_request_duration_seconds_count[1m]))",
    ),
    (
        "cluster_namespace_job_route:cortex_request_duration_seconds:99quantile",
        "histogram_quantile(0.99, sum by (le, cluster, namespace, job, route) (rate(cortex_request_duration_seconds_bucket[1m])))",
    ),
    (
        "cluster_namespace_job:cortex_distributor_received_samples:rate5m",
        "sum by (cluster, namespace, job) (rate(cortex_distributor_received_samples_total[5m]))",
    ),
    (
        "cluster_namespace_job:cortex_distributor_received_exemplars:rate5m",
        "sum by (cluster, namespace, job) (rate(cortex_distributor_received_exemplars_total[5m]))",
    ),
    (
        "cluster_namespace_job:cortex_distributor_exemplars_in:rate5m",
        "sum by (cluster, namespace, job) (rate(cortex_distributor_exemplars_in_total[5m]))",
    ),
    (
        "cluster_job:cortex_distributor_samples_in:rate5m",
        "sum by (cluster, job) (rate(cortex_distributor_samples_in_total[5m]))",
    ),
];

/// Panels of Mimir's mixin whose data a distributor has: the Writes, Tenants, Top tenants, Overview,
/// Networking and Config dashboards of `operations/mimir-mixin/dashboards`, with `$job` for the
/// selector of the job, `$writes` for that of the routes, and `$user` for the tenant.
const PANELS: &[(&str, &str)] = &[
    (
        "Writes: Samples / sec",
        "sum(cluster_namespace_job:cortex_distributor_received_samples:rate5m{$job})",
    ),
    (
        "Writes: Exemplars / sec",
        "sum(cluster_namespace_job:cortex_distributor_received_exemplars:rate5m{$job})",
    ),
    (
        "Writes: Requests / sec",
        "sum(rate(cortex_request_duration_seconds_count{$job, $writes}[1m]))",
    ),
    (
        "Writes: Distributor, requests by status",
        r#"sum by (status) (label_replace(label_replace(rate(cortex_request_duration_seconds_count{$job, $writes}[1m]), "status", "${1}xx", "status_code", "([0-9]).."), "status", "${1}", "status_code", "([a-zA-Z]+)"))"#,
    ),
    (
        "Writes: Distributor, latency p99",
        "histogram_quantile(0.99, sum by (le) (cluster_job_route:cortex_request_duration_seconds_bucket:sum_rate{$job, $writes})) * 1e3",
    ),
    (
        "Writes: Distributor, average latency",
        "1e3 * sum(rate(cortex_request_duration_seconds_sum{$job, $writes}[1m])) / sum(rate(cortex_request_duration_seconds_count{$job, $writes}[1m]))",
    ),
    (
        "Writes: Distributor, p99 per pod",
        "topk(10, histogram_quantile(0.99, sum by (le, pod) (rate(cortex_request_duration_seconds_bucket{$job, $writes}[1m]))))",
    ),
    (
        "Writes: Rejected distributor requests",
        "sum by (reason) (rate(cortex_distributor_instance_rejected_requests_total{$job}[1m]))",
    ),
    (
        "Writes: HA tracker's store, requests by status",
        r#"sum by (status_code) (rate(cortex_kv_request_duration_seconds_count{$job, kv_name=~"distributor-hatracker"}[1m]))"#,
    ),
    (
        "Writes: HA tracker's store, latency p99",
        r#"histogram_quantile(0.99, sum by (le) (rate(cortex_kv_request_duration_seconds_bucket{$job, kv_name=~"distributor-hatracker"}[1m]))) * 1e3"#,
    ),
    (
        "Writes: Distributor exemplars incoming rate",
        "sum(cluster_namespace_job:cortex_distributor_exemplars_in:rate5m{$job})",
    ),
    (
        "Writes: Distributor exemplars received rate",
        "sum(cluster_namespace_job:cortex_distributor_received_exemplars:rate5m{$job})",
    ),
    (
        "Not in the mixin: share of samples that are deduplicated",
        "sum(rate(cortex_distributor_deduped_samples_total{$job}[1m])) / (sum(rate(cortex_distributor_samples_in_total{$job}[1m])) > 0 or vector(1))",
    ),
    (
        "Tenants: Newest seen sample age",
        "time() - max(cortex_distributor_latest_seen_sample_timestamp_seconds{$job, user=\"$user\"} > 0)",
    ),
    (
        "Tenants: Distributor requests incoming rate",
        "sum(rate(cortex_distributor_requests_in_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor requests received (accepted) rate",
        "sum(rate(cortex_distributor_received_requests_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor discarded requests rate",
        "sum by (reason) (rate(cortex_discarded_requests_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor samples incoming rate",
        "sum(rate(cortex_distributor_samples_in_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor samples received (accepted) rate",
        "sum(rate(cortex_distributor_received_samples_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor deduplicated samples rate",
        "sum(rate(cortex_distributor_deduped_samples_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor non-HA samples rate",
        "sum(rate(cortex_distributor_non_ha_samples_received_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor discarded samples rate",
        "sum by (reason) (rate(cortex_discarded_samples_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor exemplars incoming rate",
        "sum(rate(cortex_distributor_exemplars_in_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor exemplars received (accepted) rate",
        "sum(rate(cortex_distributor_received_exemplars_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: Distributor discarded exemplars rate",
        "sum by (reason) (rate(cortex_discarded_exemplars_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Tenants: metadata, incoming and received",
        "sum(rate(cortex_distributor_metadata_in_total{$job, user=\"$user\"}[1m])) + sum(rate(cortex_distributor_received_metadata_total{$job, user=\"$user\"}[1m]))",
    ),
    (
        "Top tenants: by samples rate",
        "topk(10, sum by (user) (rate(cortex_distributor_received_samples_total{$job}[5m])))",
    ),
    (
        "Top tenants: by discarded samples rate",
        "topk(10, sum by (user) (rate(cortex_discarded_samples_total{$job}[5m])))",
    ),
    (
        "Top tenants: by exemplars rate",
        "topk(10, sum by (user) (rate(cortex_distributor_received_exemplars_total{$job}[5m])))",
    ),
    (
        "Overview: Write requests / sec",
        "sum by (route) (rate(cortex_request_duration_seconds_count{$job, $writes}[1m]))",
    ),
    (
        "Networking: Inflight requests (per pod)",
        "avg(cortex_inflight_requests{$job})",
    ),
    (
        "Networking: TCP connections (per pod)",
        "avg(sum by (pod) (cortex_tcp_connections{$job}))",
    ),
    (
        "Networking: TCP connections limit",
        "min(cortex_tcp_connections_limit{$job})",
    ),
    (
        "Config: Runtime config file hashes",
        "count by (sha256) (cortex_runtime_config_hash{$job})",
    ),
    (
        "All dashboards: the namespaces to choose from",
        "count by (namespace) (cortex_build_info)",
    ),
    (
        "Not in the mixin: sample delay",
        "histogram_quantile(0.5, sum by (le) (rate(cortex_distributor_sample_delay_seconds_bucket{$job}[5m])))",
    ),
    (
        "Not in the mixin: samples per request",
        "histogram_quantile(0.5, sum by (le) (rate(cortex_distributor_samples_per_request_bucket{$job, user=\"$user\"}[5m])))",
    ),
];

/// What Mimir's alerts about this path (`operations/mimir-mixin/alerts/alerts.libsonnet`) compare with
/// their thresholds.
const ALERTS: &[(&str, &str)] = &[
    (
        "MimirRequestErrors",
        r#"100 * sum by (cluster, namespace, job, route) (rate(cortex_request_duration_seconds_count{status_code=~"5..", route!~"ready|debug_pprof"}[1m])) / sum by (cluster, namespace, job, route) (rate(cortex_request_duration_seconds_count{route!~"ready|debug_pprof"}[1m]))"#,
    ),
    (
        "MimirRequestLatency",
        r#"cluster_namespace_job_route:cortex_request_duration_seconds:99quantile{route!~"metrics|/frontend.Frontend/Process|ready|/schedulerpb.*"}"#,
    ),
    (
        "MimirDistributorInflightRequestsHigh",
        r#"cortex_distributor_inflight_push_requests / ignoring(limit) cortex_distributor_instance_limits{limit="max_inflight_push_requests"} and ignoring (limit) (cortex_distributor_instance_limits{limit="max_inflight_push_requests"} > 0)"#,
    ),
    (
        "MimirKVStoreFailure",
        r#"sum by (cluster, namespace, pod, status_code, kv_name) (rate(cortex_kv_request_duration_seconds_count[1m]))"#,
    ),
    (
        "MimirBadRuntimeConfig",
        "max by (cluster, namespace, job) (cortex_runtime_config_last_reload_successful)",
    ),
    (
        "MimirInconsistentRuntimeConfig",
        "count without (sha256) (count by (cluster, namespace, job, sha256) (cortex_runtime_config_hash))",
    ),
    (
        "MimirGossipMembersTooLow",
        "min by (cluster, namespace) (memberlist_client_cluster_members_count)",
    ),
];

/// A request of each kind that the panels tell apart, for the tenant.
async fn push_everything(distributor: &Distributor, sink: &Sink) {
    let sender = distributor.sender("t");
    let now = now_ms();
    let mut with_exemplar = ha_series("m", "c", "a");
    with_exemplar.exemplars.push(Exemplar {
        labels: labels(&[("trace_id", "x")]),
        value: 1.0,
        timestamp: now,
    });
    let stored = sender.send(Version::V1, &[with_exemplar.clone()]).await;
    assert_stored(&stored, Version::V1);
    let stored = sender.send(Version::V2, &[with_exemplar.clone()]).await;
    assert_stored(&stored, Version::V2);
    let deduplicated = sender.send(Version::V1, &[ha_series("m", "c", "b")]).await;
    assert_eq!(deduplicated.status, 202);
    let stored = sender.send(Version::V1, &[plain_series("m")]).await;
    assert_stored(&stored, Version::V1);
    let metadata = v1::WriteRequest {
        metadata: vec![v1::MetricMetadata::default()],
        ..to_v1(&[])
    };
    let answer = sender
        .send_protobuf(Version::V1, &metadata.encode_to_vec())
        .await;
    assert_stored(&answer, Version::V1);
    // One cluster too many, with an exemplar; and a body that is none.
    with_exemplar.labels.insert("cluster".into(), "d".into());
    let refused = sender.send(Version::V1, &[with_exemplar]).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        sender.send_protobuf(Version::V1, b"\x0a\xff").await.status,
        400
    );
    let grpc = GrpcClient::new(distributor);
    grpc.push(Some("t"), &[ha_series("m", "c", "a")])
        .await
        .unwrap();
    let status = grpc.push(Some("t"), &[ha_series("m", "c", "b")]).await;
    assert_eq!(status.unwrap_err().code(), tonic::Code::AlreadyExists);
    sink.fail_next(1, &e2e::Fault::status(500));
    assert_eq!(
        sender.send(Version::V1, &[plain_series("m")]).await.status,
        500
    );
}

fn scraper(distributor: &Distributor) -> PrometheusConfig {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    PrometheusConfig {
        targets: vec![distributor.http_address().to_string()],
        job: "mimir/distributor".to_owned(),
        target_labels: [
            ("cluster", "test"),
            ("namespace", "mimir"),
            ("pod", "distributor-0"),
        ]
        .iter()
        .map(owned)
        .collect(),
        rules: RULES.iter().map(owned).collect(),
        ..PrometheusConfig::receiver(PrometheusVersion::V3)
    }
}

/// The query of a panel for this test.
fn rendered(query: &str) -> String {
    query
        .replace("$job", JOB)
        .replace("$writes", WRITES)
        .replace("$user", "t")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_alert_about_writes_has_data() {
    let sink = Sink::start().await;
    let more = json!({
        "limits": {"ha_max_clusters": 1},
        "runtime_config": {"file": "runtime.yaml", "period": "1s"},
    });
    let mut distributor = Distributor::launch("distributor-0", &ha_config(&sink, &more));
    distributor.write_file("runtime.yaml", "overrides: {}\n");
    distributor.wait_ready().await;
    push_everything(&distributor, &sink).await;
    let prometheus = Prometheus::start("scraper", &scraper(&distributor)).await;
    let queries = PANELS.iter().chain(ALERTS);
    for (panel, query) in queries {
        let query = rendered(query);
        wait_for(panel, LONG, || async {
            push_everything(&distributor, &sink).await;
            match promtool::query(&prometheus, &query).await? {
                rows if rows.is_empty() => Err(format!("no data: {query}")),
                rows => match rows.iter().all(|row| row.contains("=> NaN")) {
                    true => Err(format!("no number: {query}: {rows:?}")),
                    false => Ok(()),
                },
            }
        })
        .await;
    }
    // By status, as the colours of the panel have it: nothing that is no error looks like one.
    let statuses = prometheus
        .query(r#"count by (status_code) (cortex_request_duration_seconds_count{route="/distributor.Distributor/Push"})"#)
        .await
        .unwrap();
    let mut codes: Vec<_> = statuses
        .iter()
        .map(|row| row["metric"]["status_code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["AlreadyExists", "OK"]);
}

/// Names and types that Prometheus's conventions would have otherwise, and Mimir has so; or that have
/// no place in them.
const UNUSUAL: &[&str] = &[
    "cortex_ha_tracker_reelections_total non-counter metrics should not have \"_total\" suffix",
    "memberlist_client_cluster_members_count non-histogram and non-summary metrics should not have \"_count\" suffix",
    "memberlist_client_kv_store_count non-histogram and non-summary metrics should not have \"_count\" suffix",
];

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"ha_max_clusters": 1}});
    let distributor = Distributor::start("lint", &ha_config(&sink, &more)).await;
    push_everything(&distributor, &sink).await;
    let text = e2e::get(
        &distributor.url("/metrics"),
        Some("text/plain;version=0.0.4"),
    )
    .await
    .unwrap();
    let content_type = text.header("Content-Type").unwrap();
    assert!(
        content_type.starts_with("text/plain; version=0.0.4"),
        "{content_type}"
    );
    let found = promtool::check_metrics(&text.body).await.unwrap();
    assert_eq!(found, UNUSUAL);
}
