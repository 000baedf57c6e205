//! What a request is: which of its series are accepted, by the first one's labels or by each one's
//! own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;

mod cases;

use std::collections::BTreeMap;

use cases::{Answer, CASES, Case, NOTHING, Outcome};
use common::{ha_config, metrics, now_ms, wait_metric};
use e2e::{Distributor, GrpcClient, HaTracker, SHORT, Series, Sink, Version, v1, wait_for};
use prost::Message as _;
use serde_json::json;
use tonic::Code;

const PUSH: &str = "/distributor.Distributor/Push";

/// How a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Http(Version),
    Grpc,
}

const ALL: [Over; 3] = [Over::Http(Version::V1), Over::Http(Version::V2), Over::Grpc];

fn series(number: usize, pair: &str) -> Series {
    let name = format!("m{number}");
    let (cluster, replica) = pair.split_once('/').unwrap();
    let labels = [
        ("__name__", name.as_str()),
        ("__replica__", replica),
        ("cluster", cluster),
    ];
    let given: Vec<_> = labels
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    Series::floats(&given, &[(now_ms(), 1.0)])
}

fn pair_of(series: &Series) -> String {
    let label = |name| series.labels.get(name).map_or("", String::as_str);
    format!("{}/{}", label("cluster"), label("__replica__"))
}

async fn send(distributor: &Distributor, over: Over, tenant: &str, case: &Case) -> Answer {
    let series: Vec<_> = case
        .sent
        .iter()
        .enumerate()
        .map(|(i, pair)| series(i, pair))
        .collect();
    let mut request = e2e::to_v1(&series);
    if case.metadata {
        request.metadata.push(v1::MetricMetadata {
            metric_family_name: "m0".to_owned(),
            help: "Help.".to_owned(),
            ..Default::default()
        });
    }
    let sender = distributor.sender(tenant);
    let status = match over {
        Over::Http(Version::V1) => sender.send_v1(&request).await.status,
        Over::Http(Version::V2) => sender.send(Version::V2, &series).await.status,
        Over::Grpc => {
            let grpc = GrpcClient::new(distributor);
            let pushed = grpc
                .push_bytes(PUSH, Some(tenant), request.encode_to_vec())
                .await;
            match pushed.map_err(|status| status.code()) {
                Ok(()) => 200,
                Err(Code::AlreadyExists) => 202,
                Err(code) => {
                    let refused = matches!(code, Code::InvalidArgument | Code::FailedPrecondition);
                    assert!(refused, "{}: {code:?}", case.name);
                    400
                }
            }
        }
    };
    match status {
        200 | 204 => Answer::Stored,
        202 => Answer::Deduplicated,
        400 => Answer::Refused,
        other => panic!("{}: {other}", case.name),
    }
}

/// What a tenant's metrics say, without what is 0.
async fn counted(distributor: &Distributor, tenant: &str) -> BTreeMap<&'static str, f64> {
    let metrics = metrics(distributor).await;
    let of = |name: &str, more: &[(&str, &str)]| {
        metrics.sum(name, &[&[("user", tenant)], more].concat())
    };
    let too_many = [("reason", "too_many_ha_clusters")];
    let counted = [
        ("in", of("cortex_distributor_samples_in_total", &[])),
        (
            "received",
            of("cortex_distributor_received_samples_total", &[]),
        ),
        (
            "non-HA",
            of("cortex_distributor_non_ha_samples_received_total", &[]),
        ),
        (
            "deduplicated",
            of("cortex_distributor_deduped_samples_total", &[]),
        ),
        ("too many", of("cortex_discarded_samples_total", &too_many)),
        ("mixed", of("cortex_distributor_mixed_requests_total", &[])),
    ];
    counted
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .collect()
}

/// The tenant's clusters.
async fn clusters(distributor: &Distributor, tenant: &str) -> Vec<String> {
    let page: HaTracker = distributor.page("/distributor/ha_tracker").await.unwrap();
    let of_tenant = page.elected.into_iter().filter(|row| row.tenant == tenant);
    let mut clusters: Vec<_> = of_tenant.map(|row| row.cluster).collect();
    clusters.sort();
    clusters
}

async fn check(
    distributor: &Distributor,
    sink: &Sink,
    over: Over,
    case: &Case,
    expected: &Outcome,
) {
    let tenant = format!("{}-{over:?}", case.name).replace(|c: char| !c.is_alphanumeric(), "-");
    let what = format!("{} over {over:?} ({})", case.name, case.source);
    let sender = distributor.sender(&tenant);
    for elected in case.known {
        let answer = sender.send(Version::V1, &[series(0, elected)]).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
    }
    sink.take();
    let answer = send(distributor, over, &tenant, case).await;
    assert_eq!(answer, expected.answer, "{what}");
    let stored: Vec<_> = sink.series().iter().map(pair_of).collect();
    assert_eq!(stored, expected.stored, "{what}");
    assert_eq!(
        sink.metadata().len(),
        usize::from(expected.metadata),
        "{what}"
    );
    let known = case
        .known
        .iter()
        .map(|pair| pair.split_once('/').unwrap().0);
    let mut all: Vec<_> = known.chain(expected.elected.iter().copied()).collect();
    all.sort_unstable();
    assert_eq!(clusters(distributor, &tenant).await, all, "{what}");
    let before = case.known.len() as f64;
    let counts = [
        ("in", before + case.sent.len() as f64),
        ("received", before + expected.stored.len() as f64),
        ("non-HA", expected.non_ha),
        ("deduplicated", expected.deduplicated),
        ("too many", expected.too_many),
        ("mixed", expected.mixed),
    ];
    let expected: BTreeMap<_, _> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0.0)
        .collect();
    // A page with the metrics of so many tenants is rendered once a second at most.
    wait_for(&what, SHORT, || async {
        let after = counted(distributor, &tenant).await;
        (after == expected)
            .then_some(())
            .ok_or_else(|| format!("{after:?}, not {expected:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_series_decides_as_in_mimir_or_each_for_itself() {
    let sink = Sink::start().await;
    for per_sample in [false, true] {
        let limits = json!({"limits": {
            "ha_max_clusters": 3,
            "ha_tracker_per_sample_dedupe": per_sample,
        }});
        let distributor = Distributor::start("rules", &ha_config(&sink, &limits)).await;
        for case in CASES {
            let expected = if per_sample { &case.each } else { &case.first };
            for over in ALL {
                // 2.0 has metadata in the series.
                if !(case.metadata && over == Over::Http(Version::V2)) {
                    check(&distributor, &sink, over, case, expected).await;
                }
            }
        }
    }
}

/// The request of the issue that the default was changed for.
#[tokio::test]
async fn clusters_of_kubernetes_exporters_are_no_ha_clusters() {
    let sink = Sink::start().await;
    let distributor = Distributor::start("kubernetes", &ha_config(&sink, &json!({}))).await;
    let own = (0..150).map(|number| format!("c{number}/a"));
    let request: Vec<_> = std::iter::once("prod/a".to_owned())
        .chain(own)
        .enumerate()
        .map(|(number, pair)| series(number, &pair))
        .collect();
    let sender = distributor.sender("k8s");
    for _ in 0..3 {
        let answer = sender.send(Version::V1, &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(sink.take().remove(0).series.len(), 151);
    }
    assert_eq!(clusters(&distributor, "k8s").await, ["prod"]);
    let mixed = "cortex_distributor_mixed_requests_total";
    wait_metric(&distributor, mixed, &[("user", "k8s")], 3.0).await;
    // One line, however many requests.
    let lines = wait_for("a line", SHORT, || async {
        let log = distributor.process.log();
        let of = |line: &&str| line.contains("decides for series with other HA labels");
        let lines: Vec<_> = log.lines().filter(of).map(str::to_owned).collect();
        if lines.is_empty() {
            Err(log)
        } else {
            Ok(lines)
        }
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "level=warn",
        "tenant=k8s",
        "prod",
        "c0",
        "an application has the cluster label itself",
        "limits.ha_tracker_per_sample_dedupe",
    ] {
        assert!(lines[0].contains(part), "{part:?} is missing in {lines:?}");
    }
}

#[tokio::test]
async fn a_tenant_whose_gateway_merges_replicas_has_the_switch_of_its_own() {
    let sink = Sink::start().await;
    let folder = tempfile::tempdir().unwrap();
    let overrides = folder.path().join("overrides.yaml");
    let merged = "overrides: {merged: {ha_tracker_per_sample_dedupe: true}}\n";
    std::fs::write(&overrides, merged).unwrap();
    let config = ha_config(&sink, &json!({"runtime_config": {"file": overrides}}));
    let distributor = Distributor::start("tenants", &config).await;
    let request = ["prod/a", "prod/b"];
    let request: Vec<_> = request
        .iter()
        .enumerate()
        .map(|(i, pair)| series(i, pair))
        .collect();
    for (tenant, stored, mixed) in [("merged", 1, 0.0), ("usual", 2, 1.0)] {
        let answer = distributor.sender(tenant).send(Version::V1, &request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(sink.take().remove(0).series.len(), stored, "{tenant}");
        let counted = metrics(&distributor).await;
        let name = "cortex_distributor_mixed_requests_total";
        assert_eq!(counted.get(name, &[("user", tenant)]), Some(mixed));
    }
    let line = [
        "tenant=usual",
        "they come from several replicas, which a gateway may have merged",
    ];
    wait_for("a line that says what to set", SHORT, || async {
        let log = distributor.process.log();
        let is_there = log
            .lines()
            .any(|one| line.iter().all(|part| one.contains(part)));
        is_there.then_some(()).ok_or(log)
    })
    .await;
}

/// Mimir's tracker that is off accepts every replica (`ha_tracker_nop.go`), and `removeReplica` holds.
#[tokio::test]
async fn with_the_tracker_off_the_replica_label_goes_all_the_same() {
    let sink = Sink::start().await;
    for per_sample in [false, true] {
        let more = json!({
            "distributor": {"ha_tracker": {"enable_ha_tracker": false}},
            "limits": {"ha_tracker_per_sample_dedupe": per_sample},
        });
        let distributor = Distributor::start("off", &ha_config(&sink, &more)).await;
        for over in ALL {
            for (sent, first, each) in [
                (
                    &["prod/a", "prod/a"][..],
                    &["prod/", "prod/"][..],
                    &["prod/", "prod/"][..],
                ),
                (&["prod/b"], &["prod/"], &["prod/"]),
                (
                    &["prod/b", "/a", "etcd/a"],
                    &["prod/", "/", "etcd/"],
                    &["prod/", "/a", "etcd/"],
                ),
                (&["/", "prod/a"], &["/", "prod/a"], &["/", "prod/"]),
            ] {
                let case = Case {
                    name: "off",
                    source: "",
                    known: &[],
                    sent,
                    metadata: false,
                    first: NOTHING,
                    each: NOTHING,
                };
                let answer = send(&distributor, over, "t", &case).await;
                assert_eq!(answer, Answer::Stored, "{sent:?} over {over:?}");
                let stored: Vec<_> = sink.series().iter().map(pair_of).collect();
                let expected = if per_sample { each } else { first };
                assert_eq!(stored, expected, "{sent:?} over {over:?}");
                sink.take();
            }
        }
        let metrics = metrics(&distributor).await;
        let mixed = "cortex_distributor_mixed_requests_total";
        assert_eq!(metrics.sum(mixed, &[("user", "t")]), 0.0);
    }
}
