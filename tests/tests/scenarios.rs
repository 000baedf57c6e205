//! What senders and the downstream see when all goes well: deduplication, forwarding, failover.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::time::{Duration, SystemTime};

use common::{
    BOTH, assert_stored, assert_text, assert_written, elected, ha_config, ha_series, ha_series_at,
    metrics, now_ms, per_sample_config, plain_series, stripped, wait_metric,
};
use e2e::{
    Distributor, Exemplar, MetricMetadata, SHORT, STALE_NAN_BITS, Series, Sink, Version, labels,
    v1, v2, wait_for,
};
use serde_json::json;

/// Two samples, two histograms and an exemplar of an HA pair.
fn rich_series(name: &str, cluster: &str, replica: &str) -> Series {
    let mut series = ha_series(name, cluster, replica);
    let mut stale = series.samples[0];
    stale.timestamp = -1;
    stale.bits = STALE_NAN_BITS;
    series.samples.push(stale);
    let histogram = |timestamp| v2::Histogram {
        count: Some(v2::histogram::Count::CountInt(3)),
        sum: 4.5,
        schema: -4,
        zero_threshold: 1e-9,
        zero_count: Some(v2::histogram::ZeroCount::ZeroCountInt(1)),
        positive_spans: vec![v2::BucketSpan {
            offset: -3,
            length: 2,
        }],
        positive_deltas: vec![1, -1],
        timestamp,
        ..v2::Histogram::default()
    };
    series.histograms = vec![histogram(1), histogram(2)];
    series.exemplars = vec![Exemplar {
        labels: labels(&[("trace_id", "abc"), ("__replica__", "in an exemplar")]),
        value: 7.0,
        timestamp: 3,
    }];
    series
}

#[tokio::test]
async fn the_first_replica_is_elected_and_the_other_is_told_so() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("elect", &ha_config(&sink, &json!({}))).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let sender = distributor.sender(&tenant);
        let first = rich_series("m", "c", "a");
        let answer = sender.send(version, std::slice::from_ref(&first)).await;
        assert_stored(&answer, version);
        assert_written(&answer, version, [2, 2, 1]);
        let received = sink.take();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].series, [stripped(&first)]);
        assert_eq!(received[0].series[0].labels["cluster"], "c");
        assert_eq!(received[0].tenant.as_ref(), Some(&tenant));
        assert_eq!(received[0].version, version);

        let second = rich_series("m", "c", "b");
        let answer = sender.send(version, &[second]).await;
        let parts = [
            "deduplicated",
            r#"replica "b""#,
            r#"cluster "c""#,
            r#""a" is"#,
        ];
        assert_text(&answer, 202, &parts);
        // Zeros would make Prometheus log an error and count failed samples.
        assert_written(&answer, version, [2, 2, 1]);
        assert!(sink.take().is_empty());

        let row = elected(&distributor, &tenant, "c").await.unwrap();
        assert_eq!(row["replica"], "a");
        let metrics = metrics(&distributor).await;
        let of = |name: &str| metrics.sum(name, &[("user", &tenant)]);
        // Histograms count as samples, as in Mimir.
        assert_eq!(of("cortex_distributor_deduped_samples_total"), 4.0);
        assert_eq!(of("cortex_distributor_samples_in_total"), 8.0);
        assert_eq!(of("cortex_distributor_received_samples_total"), 4.0);
        assert_eq!(of("cortex_distributor_received_requests_total"), 1.0);
        assert_eq!(of("cortex_distributor_non_ha_samples_received_total"), 0.0);
        let labels = [("user", tenant.as_str()), ("version", number(version))];
        let requests = metrics.get("cortex_distributor_requests_in_total", &labels);
        assert_eq!(requests, Some(2.0));
    }
    let metrics = metrics(&distributor).await;
    for status in ["200", "204", "202"] {
        let labels = [("route", "api_v1_push"), ("status_code", status)];
        assert!(metrics.sum("cortex_request_duration_seconds_count", &labels) > 0.0);
    }
    let name = sink.address().to_string();
    for status in ["200", "204"] {
        let labels = [("name", name.as_str()), ("status_code", status)];
        let count = "cortex_distributor_downstream_request_duration_seconds_count";
        assert_eq!(metrics.get(count, &labels), Some(1.0));
    }
}

fn number(version: Version) -> &'static str {
    match version {
        Version::V1 => "1.0",
        Version::V2 => "2.0",
    }
}

#[tokio::test]
async fn tenants_with_clusters_of_the_same_name_elect_separately() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("tenants", &ha_config(&sink, &json!({}))).await;
    for (tenant, replica, status) in [
        ("x", "a", 200),
        ("y", "b", 200),
        ("x", "b", 202),
        ("y", "a", 202),
    ] {
        let series = [ha_series("m", "c", replica)];
        let answer = distributor.sender(tenant).send(Version::V1, &series).await;
        assert_eq!(answer.status, status, "{tenant} {replica}: {answer:?}");
    }
    let received = sink.requests();
    let tenants: Vec<_> = received.iter().map(|r| r.tenant.as_deref()).collect();
    assert_eq!(tenants, [Some("x"), Some("y")]);
    for (tenant, replica) in [("x", "a"), ("y", "b")] {
        let row = elected(&distributor, tenant, "c").await.unwrap();
        assert_eq!(row["replica"], replica);
    }
}

#[tokio::test]
async fn of_a_mixed_request_the_right_part_goes_on() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("mixed", &per_sample_config(&sink, &json!({}))).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let sender = distributor.sender(&tenant);
        let answer = sender.send(version, &[ha_series("m", "c1", "a")]).await;
        assert_stored(&answer, version);
        sink.take();

        let request = [
            ha_series("m1", "c1", "b"),
            plain_series("m2"),
            rich_series("m3", "c2", "b"),
            ha_series("m4", "c1", "a"),
            ha_series("m5", "c1", "b"),
            ha_series("m6", "c2", "b"),
        ];
        let answer = sender.send(version, &request).await;
        assert_stored(&answer, version);
        // What the downstream wrote, and what was deduplicated: all that was sent.
        assert_written(&answer, version, [7, 2, 1]);
        let received = sink.take();
        assert_eq!(received.len(), 1);
        assert_eq!(
            received[0].series,
            [1, 2, 3, 5].map(|i| stripped(&request[i]))
        );
        let metrics = metrics(&distributor).await;
        let name = "cortex_distributor_deduped_samples_total";
        let of = |cluster| metrics.get(name, &[("user", &tenant), ("cluster", cluster)]);
        assert_eq!((of("c1"), of("c2")), (Some(2.0), Some(0.0)));
        let name = "cortex_distributor_non_ha_samples_received_total";
        assert_eq!(metrics.get(name, &[("user", &tenant)]), Some(1.0));
        let row = elected(&distributor, &tenant, "c2").await.unwrap();
        assert_eq!(row["replica"], "b");
    }
}

#[tokio::test]
async fn of_several_replicas_in_one_request_one_is_elected() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("replicas", &per_sample_config(&sink, &json!({}))).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let sender = distributor.sender(&tenant);
        let replicas = ["a", "b", "c", "b", "a", "d"];
        let request: Vec<Series> = (0..)
            .zip(replicas)
            .map(|(i, replica)| ha_series(&format!("m{i}"), "c", replica))
            .collect();
        // Of a cluster unknown until now, and once it is known.
        for _ in 0..2 {
            let answer = sender.send(version, &request).await;
            assert_stored(&answer, version);
            assert_written(&answer, version, [6, 0, 0]);
            let row = elected(&distributor, &tenant, "c").await.unwrap();
            let of_elected = |series: &&Series| row["replica"] == series.labels["__replica__"];
            let expected: Vec<_> = request.iter().filter(of_elected).map(stripped).collect();
            assert!(!expected.is_empty());
            assert_eq!(sink.take().remove(0).series, expected);
        }
    }
}

#[tokio::test]
async fn series_without_both_labels_pass_untouched() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("non-ha", &ha_config(&sink, &json!({}))).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let at = [(now_ms(), 1.0)];
        let request = [
            plain_series("neither"),
            Series::floats(&[("__name__", "one"), ("cluster", "c")], &at),
            Series::floats(&[("__name__", "other"), ("__replica__", "a")], &at),
        ];
        let answer = distributor.sender(&tenant).send(version, &request).await;
        assert_stored(&answer, version);
        assert_eq!(sink.take().remove(0).series, request);
        let metrics = metrics(&distributor).await;
        let name = "cortex_distributor_non_ha_samples_received_total";
        assert_eq!(metrics.get(name, &[("user", &tenant)]), Some(3.0));
        assert_eq!(elected(&distributor, &tenant, "c").await, None);
    }
}

#[tokio::test]
async fn overrides_give_a_tenant_other_labels_or_no_deduplication() {
    let sink = Sink::start().await;
    let folder = tempfile::tempdir().unwrap();
    let overrides = folder.path().join("overrides.yaml");
    std::fs::write(
        &overrides,
        "overrides:\n  other: {ha_cluster_label: pair, ha_replica_label: half}\n  \
         off: {accept_ha_samples: false}\n",
    )
    .unwrap();
    let config = ha_config(&sink, &json!({"runtime_config": {"file": overrides}}));
    let distributor = Distributor::start("overrides", &config).await;
    for version in BOTH {
        let cluster = format!("{version:?}");
        let own = |half: &str| {
            let labels = [
                ("__name__", "m"),
                ("__replica__", "kept"),
                ("cluster", "kept"),
                ("half", half),
                ("pair", &cluster),
            ];
            Series::floats(&labels, &[(1, 1.0)])
        };
        let sender = distributor.sender("other");
        assert_stored(&sender.send(version, &[own("a")]).await, version);
        let mut expected = own("a");
        expected.labels.remove("half");
        assert_eq!(sink.take().remove(0).series, [expected]);
        let answer = sender.send(version, &[own("b")]).await;
        assert_text(
            &answer,
            202,
            &[r#"replica "b""#, &format!("cluster {cluster:?}")],
        );

        let off = distributor.sender("off");
        for replica in ["a", "b"] {
            let series = [rich_series("m", "c", replica)];
            let answer = off.send(version, &series).await;
            assert_stored(&answer, version);
            assert_eq!(sink.take().remove(0).series, series);
        }
    }
    assert_eq!(elected(&distributor, "off", "c").await, None);
}

#[tokio::test]
async fn a_cluster_too_many_is_refused_and_the_rest_is_stored() {
    let sink = Sink::start().await;
    let config = per_sample_config(&sink, &json!({"limits": {"ha_max_clusters": 1}}));
    let distributor = Distributor::start("clusters", &config).await;
    for version in BOTH {
        let tenant = format!("{version:?}");
        let sender = distributor.sender(&tenant);
        assert_stored(
            &sender.send(version, &[ha_series("m", "c1", "a")]).await,
            version,
        );
        sink.take();

        let request = [
            rich_series("m1", "c2", "a"),
            ha_series("m2", "c1", "a"),
            ha_series("m3", "c1", "b"),
            plain_series("m4"),
        ];
        let answer = sender.send(version, &request).await;
        let parts = [
            "limit of 1 HA clusters",
            "limits.ha_max_clusters",
            r#""c2""#,
        ];
        assert_text(&answer, 400, &parts);
        assert_written(&answer, version, [3, 0, 0]);
        assert_eq!(
            sink.take().remove(0).series,
            [1, 3].map(|i| stripped(&request[i]))
        );

        let answer = sender.send(version, &request[..1]).await;
        assert_text(&answer, 400, &parts);
        assert_written(&answer, version, [0, 0, 0]);
        assert!(sink.take().is_empty());

        let metrics = metrics(&distributor).await;
        let labels = [
            ("user", tenant.as_str()),
            ("reason", "too_many_ha_clusters"),
        ];
        let discarded = metrics.get("cortex_discarded_samples_total", &labels);
        assert_eq!(discarded, Some(8.0));
        assert_eq!(elected(&distributor, &tenant, "c2").await, None);
        // The known cluster works on.
        assert_stored(
            &sender.send(version, &[ha_series("m", "c1", "a")]).await,
            version,
        );
        sink.take();
    }
}

#[tokio::test]
async fn metadata_of_every_replica_goes_on_and_nothing_is_a_success() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("metadata", &ha_config(&sink, &json!({}))).await;
    let sender = distributor.sender("t");
    let metadata = v1::MetricMetadata {
        r#type: 1,
        metric_family_name: "m".to_owned(),
        help: "Help.".to_owned(),
        unit: "s".to_owned(),
    };
    let request = v1::WriteRequest {
        timeseries: Vec::new(),
        metadata: vec![metadata],
    };
    for _ in ["a", "b"] {
        assert_stored(&sender.send_v1(&request).await, Version::V1);
    }
    let expected = MetricMetadata {
        name: "m".to_owned(),
        kind: 1,
        help: "Help.".to_owned(),
        unit: "s".to_owned(),
    };
    assert_eq!(sink.metadata(), [expected.clone(), expected.clone()]);
    sink.take();

    let mut series = ha_series("m", "c", "a");
    series.metadata = Some(expected);
    assert_stored(
        &sender.send(Version::V2, &[series.clone()]).await,
        Version::V2,
    );
    assert_eq!(sink.take().remove(0).series, [stripped(&series)]);

    for version in BOTH {
        let answer = sender.send_protobuf(version, &[]).await;
        assert_stored(&answer, version);
        assert_written(&answer, version, [0, 0, 0]);
        assert!(sink.refused().is_empty());
    }
}

#[tokio::test]
async fn without_multitenancy_there_is_one_tenant() {
    let sink = Sink::start().await;
    for (name, more, tenant) in [
        (
            "single",
            json!({"multitenancy_enabled": false}),
            "anonymous",
        ),
        (
            "named",
            json!({"multitenancy_enabled": false, "no_auth_tenant": "team"}),
            "team",
        ),
    ] {
        let distributor = Distributor::start(name, &ha_config(&sink, &more)).await;
        let without_tenant = e2e::Sender::new(&distributor.push_url());
        let answer = without_tenant
            .send(Version::V1, &[ha_series("m", "c", "a")])
            .await;
        assert_stored(&answer, Version::V1);
        // The header means nothing then.
        let answer = distributor
            .sender("t")
            .send(Version::V1, &[ha_series("m", "c", "b")])
            .await;
        assert_text(&answer, 202, &[r#""a""#]);
        assert_eq!(sink.take().remove(0).tenant.as_deref(), Some(tenant));
        assert!(elected(&distributor, tenant, "c").await.is_some());
    }
}

fn page_time(row: &serde_json::Value, field: &str) -> SystemTime {
    humantime::parse_rfc3339(row[field].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_silent_replica_is_replaced_and_does_not_come_back() {
    let sink = Sink::start().await;
    let limits = json!({"limits": {
        "ha_tracker_update_timeout": "1s",
        "ha_tracker_update_timeout_jitter_max": "0s",
        "ha_tracker_failover_timeout": "2500ms",
    }});
    let distributor = Distributor::start("failover", &ha_config(&sink, &limits)).await;
    let (distributor, sender) = (&distributor, distributor.sender("t"));
    let send = async |replica: &str| {
        let series = [ha_series_at("m", "c", replica, now_ms())];
        sender.send(Version::V1, &series).await.status
    };
    let row = async || elected(distributor, "t", "c").await.unwrap();
    assert_eq!(send("a").await, 200);
    let first = row().await;
    // Until the store has heard of `a` again, as it does all the time.
    wait_for("an update of the elected replica", SHORT, || async {
        assert_eq!((send("a").await, send("b").await), (200, 202));
        let now = row().await;
        assert_eq!(now["lastElectionTime"], first["lastElectionTime"]);
        if page_time(&now, "electedAt") > page_time(&first, "electedAt") {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;

    let mut last_of_a = row().await;
    while send("b").await == 202 {
        let now = row().await;
        if now["replica"] == "a" {
            last_of_a = now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let silent = page_time(&last_of_a, "electedAt").elapsed().unwrap();
        assert!(silent < SHORT, "no failover: {last_of_a}");
    }
    let after = row().await;
    assert_eq!(after["replica"], "b");
    let silent = page_time(&after, "lastElectionTime")
        .duration_since(page_time(&last_of_a, "electedAt"))
        .unwrap();
    assert!(silent >= Duration::from_millis(2500), "after {silent:?}");

    // Longer than another failover would take.
    let returned = SystemTime::now();
    while returned.elapsed().unwrap() < Duration::from_secs(4) {
        assert_eq!((send("a").await, send("b").await), (202, 200));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let now = row().await;
    assert_eq!(now["lastElectionTime"], after["lastElectionTime"]);
    assert!(page_time(&now, "electedAt") > page_time(&after, "electedAt"));
    let metrics = metrics(distributor).await;
    let of = |name| metrics.get(name, &[("user", "t"), ("cluster", "c")]);
    assert_eq!(of("cortex_ha_tracker_reelections_total"), Some(1.0));
    // The first election counts here.
    let changes = of("cortex_ha_tracker_elected_replica_changes_total");
    assert_eq!(changes, Some(2.0));
    assert!(of("cortex_ha_tracker_kv_store_cas_total").unwrap() >= 3.0);
    assert!(sink.samples()[&labels(&[("__name__", "m"), ("cluster", "c")])].len() > 20);
}

#[tokio::test]
async fn limits_change_while_it_runs_and_a_broken_file_changes_nothing() {
    let sink = Sink::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("overrides.yaml");
    let write = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
    };
    write("overrides:\n  t: {accept_ha_samples: false}\n");
    let runtime = json!({"runtime_config": {"file": path, "period": "50ms"}});
    let distributor = Distributor::start("reload", &ha_config(&sink, &runtime)).await;
    let sender = distributor.sender("t");
    for replica in ["a", "b"] {
        let answer = sender
            .send(Version::V1, &[ha_series("m", "c", replica)])
            .await;
        assert_stored(&answer, Version::V1);
    }
    let good = "cortex_runtime_config_last_reload_successful";
    wait_metric(&distributor, good, &[], 1.0).await;

    write("overrides:\n  t: {accept_ha_samples: true, ha_max_clusters: 1}\n");
    wait_for("an election", SHORT, || async {
        let answer = sender.send(Version::V1, &[ha_series("m", "c", "a")]).await;
        assert_stored(&answer, Version::V1);
        elected(&distributor, "t", "c")
            .await
            .ok_or_else(|| "none".to_owned())
    })
    .await;
    let answer = sender.send(Version::V1, &[ha_series("m", "c", "b")]).await;
    assert_text(&answer, 202, &[r#""a" is"#]);

    write("overrides:\n  t: {accept_ha_samples: true, ha_max_clusters: many}\n");
    wait_metric(&distributor, good, &[], 0.0).await;
    let answer = sender.send(Version::V1, &[ha_series("m", "c", "b")]).await;
    assert_text(&answer, 202, &[r#""a" is"#]);
    let answer = sender.send(Version::V1, &[ha_series("m", "c2", "a")]).await;
    assert_text(&answer, 400, &["limit of 1 HA clusters"]);
    let log = distributor.process.log();
    assert!(log.contains("overrides.t.ha_max_clusters"), "{log}");
    let page = distributor.get("/runtime_config").await.unwrap();
    assert!(page.body.contains("ha_max_clusters: 1"), "{}", page.body);

    write("overrides:\n  t: {accept_ha_samples: true, ha_max_clusters: 2}\n");
    wait_metric(&distributor, good, &[], 1.0).await;
    let answer = sender.send(Version::V1, &[ha_series("m", "c2", "a")]).await;
    assert_stored(&answer, Version::V1);
}
