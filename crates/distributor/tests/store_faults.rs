//! A whole distributor whose store fails or is slow: known clusters are served from the cache,
//! unknown ones are to be sent again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step fails the test"
)]

use std::sync::Arc;
use std::time::Duration;

use distributor::{Running, check_store, start_with_store};
use distributor_config::Invocation;
use kv_core::InMemoryStore;
use kv_core::faults::{Faults, FaultyStore};
use remote_write::proto::v1::{Label, Sample, TimeSeries, WriteRequest};

struct Setup {
    running: Running,
    faults: Arc<Faults>,
    client: reqwest::Client,
}

impl Setup {
    async fn start(more_flags: &[&str]) -> Self {
        let flags = [
            "-server.http-listen-address=127.0.0.1",
            "-server.http-listen-port=0",
            "-server.grpc-listen-address=127.0.0.1",
            "-server.grpc-listen-port=0",
            "-distributor.ha-tracker.enable",
            "-distributor.ha-tracker.enable-for-all-users",
            // One request holds several clusters.
            "-distributor.ha-tracker.per-sample-dedupe",
        ];
        let flags = flags.iter().chain(more_flags).map(Into::into);
        let loaded = match distributor_config::load(flags, [], &check_store).unwrap() {
            Invocation::Run(loaded) => loaded,
            other => panic!("{other:?}"),
        };
        let faults = Arc::<Faults>::default();
        let store = FaultyStore::new(Arc::new(InMemoryStore::default()), Arc::clone(&faults));
        let running = start_with_store(loaded.config, Arc::new(store))
            .await
            .unwrap();
        running.ready().await;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            running,
            faults,
            client,
        }
    }

    /// Status, `Retry-After`, text.
    async fn push(&self, pairs: &[(&str, &str)]) -> (u16, Option<String>, String) {
        let series = pairs
            .iter()
            .map(|(cluster, replica)| TimeSeries {
                labels: [
                    ("__name__", "up"),
                    ("__replica__", *replica),
                    ("cluster", *cluster),
                ]
                .map(|(name, value)| Label {
                    name: name.into(),
                    value: value.into(),
                })
                .into(),
                samples: vec![Sample {
                    value: 1.0,
                    timestamp: 1_700_000_000_000,
                }],
                ..Default::default()
            })
            .collect();
        let request = WriteRequest {
            timeseries: series,
            ..Default::default()
        };
        let mut body = Vec::new();
        remote_write::compress_into(&prost::Message::encode_to_vec(&request), &mut body);
        let url = format!("http://{}/api/v1/push", self.running.http_address);
        let response = self
            .client
            .post(url)
            .header("X-Scope-OrgID", "t")
            .body(body)
            .send()
            .await
            .unwrap();
        let retry_after = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        (
            response.status().as_u16(),
            retry_after,
            response.text().await.unwrap(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn known_clusters_are_served_while_the_store_fails_and_unknown_ones_retried() {
    let setup = Setup::start(&[]).await;
    assert_eq!(setup.push(&[("known", "r1")]).await.0, 200);
    setup.faults.fail(true);
    assert_eq!(setup.push(&[("known", "r1")]).await.0, 200);
    assert_eq!(setup.push(&[("known", "r2")]).await.0, 202);
    let (status, retry_after, text) = setup.push(&[("unknown", "r1")]).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
    assert!(
        text.contains("ha-tracker/t/unknown") && text.contains("retry later"),
        "{text}"
    );
    // One unknown cluster holds back its whole request: nothing of it may be acknowledged.
    assert_eq!(
        setup.push(&[("known", "r1"), ("unknown", "r1")]).await.0,
        503
    );
    setup.faults.fail(false);
    assert_eq!(
        setup.push(&[("known", "r1"), ("unknown", "r1")]).await.0,
        200
    );
    setup.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_slower_than_the_time_out_is_a_retry_and_slows_known_clusters_by_nothing() {
    let setup = Setup::start(&["-distributor.remote-timeout=300ms"]).await;
    assert_eq!(setup.push(&[("known", "r1")]).await.0, 200);
    // Longer than any test may take: a request that waited for it would not be answered.
    setup.faults.delay(Duration::from_secs(3600));
    for _ in 0..20 {
        assert_eq!(setup.push(&[("known", "r1")]).await.0, 200);
    }
    let (status, retry_after, text) = setup.push(&[("unknown", "r1")]).await;
    assert_eq!((status, retry_after.as_deref()), (503, Some("1")), "{text}");
    assert!(text.contains("in time"), "{text}");
    tokio::time::timeout(Duration::from_secs(10), setup.running.shutdown())
        .await
        .unwrap();
}
