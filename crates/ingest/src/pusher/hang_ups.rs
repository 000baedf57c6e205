//! A push can end at every point at which it waits: nothing of it may stay.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use futures::poll;
use ha_tracker::{HaLimits, HaTracker, ReplicaDesc, TrackerConfig};
use http::HeaderMap;
use kv_core::faults::{Faults, FaultyStore};
use kv_core::{InMemoryStore, Store};
use prometheus_client::registry::Registry;
use remote_write::Version;
use settings::SecretUrl;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};

use super::Pusher;
use crate::{
    DownstreamConfig, Downstreams, IngestConfig, InstanceLimits, PushAnswer, PushBody, PushLimits,
    PushRequest,
};

/// Samples that the tenant may send. Its rate is so small that nothing comes back by itself.
const BURST: f64 = 10.0;
/// Samples per second of the instance: so many that all are back when they are next counted.
const INSTANCE_RATE: f64 = 1e6;

/// A downstream that answers when it may.
struct Downstream {
    url: String,
    may_answer: watch::Sender<bool>,
    _serving: JoinHandle<()>,
}

impl Downstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (may_answer, seen) = watch::channel(true);
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut seen = seen.clone();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        seen.wait_for(|may| *may).await.unwrap();
                        // The answer comes in parts as well.
                        for part in ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "do", "ne"] {
                            let _ = stream.write_all(part.as_bytes()).await;
                            yield_now().await;
                        }
                    }
                });
            }
        });
        Self {
            url,
            may_answer,
            _serving: serving,
        }
    }
}

struct Bench {
    pusher: Pusher,
    downstream: Downstream,
    faults: Arc<Faults>,
    /// Places at the downstream while nothing is sent.
    free: u64,
    _tracker: ha_tracker::TrackerHandle,
}

impl Bench {
    async fn start() -> Self {
        let downstream = Downstream::start().await;
        let config = IngestConfig {
            instance_limits: InstanceLimits {
                max_ingestion_rate: INSTANCE_RATE,
                ..InstanceLimits::default()
            },
            ..IngestConfig::default()
        };
        let mut registry = Registry::default();
        let faults = Arc::new(Faults::default());
        let inner: Arc<dyn Store<ReplicaDesc>> = Arc::new(InMemoryStore::default());
        let store = FaultyStore::new(inner, Arc::clone(&faults));
        let (tracker, handle) = HaTracker::start(
            Arc::new(store),
            Arc::new(HaLimits::default()),
            TrackerConfig::default(),
            &mut registry,
        );
        tracker.ready().await;
        let to_downstream = DownstreamConfig {
            name: "downstream".to_owned(),
            url: SecretUrl::new(&downstream.url),
            ..DownstreamConfig::default()
        };
        let downstreams = Downstreams::new(&[to_downstream], &mut registry).unwrap();
        let pusher = Pusher::new(&config, Some(tracker), downstreams, &mut registry);
        Self {
            free: pusher.downstreams.free(),
            pusher,
            downstream,
            faults,
            _tracker: handle,
        }
    }

    /// As a server does it, from the moment that the body is there.
    async fn push(&self, cluster: &str) -> PushAnswer {
        let limits = PushLimits {
            accept_ha_samples: true,
            ingestion_rate: 0.0001,
            ingestion_burst_size: BURST as u64,
            ..PushLimits::default()
        };
        let request = PushRequest {
            tenant: "tenant",
            client: None,
            version: Version::V1,
            limits: &limits,
            is_lossless: false,
            body: PushBody::Snappy(one_sample(cluster).into()),
            headers: HeaderMap::new(),
            held: self.pusher.hold(),
            in_flight: self.pusher.enter().unwrap(),
        };
        self.pusher.push(request).await
    }

    /// What is in use: requests, bytes, the gauge, places at the downstream; and what is left of
    /// both rate limits.
    fn counters(&self) -> ([u64; 4], [f64; 2]) {
        let pusher = &self.pusher;
        let tenant = pusher.tenants.known("tenant").unwrap();
        let used = [
            pusher.requests.current(),
            pusher.memory.held(),
            u64::try_from(pusher.requests.shown()).unwrap(),
            self.free - pusher.downstreams.free(),
        ];
        let left = [&tenant.rate, &pusher.instance_rate].map(|bucket| bucket.left().round());
        (used, left)
    }
}

/// A snappy block of the series `{__replica__="r", cluster=<cluster>}` with one sample.
fn one_sample(cluster: &str) -> Bytes {
    let field = |number: u8, content: &[u8]| {
        [
            &[number << 3 | 2, u8::try_from(content.len()).unwrap()],
            content,
        ]
        .concat()
    };
    let label = |name: &str, value: &str| {
        field(
            1,
            &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat(),
        )
    };
    let sample = field(2, &[0x10, 1]);
    let labels = [label("__replica__", "r"), label("cluster", cluster)].concat();
    let series = field(1, &[labels, sample].concat());
    let mut block = Vec::new();
    remote_write::compress_into(&series, &mut block);
    block.into()
}

/// Runs it until it has waited so many times, and drops it; the answer if it came before.
async fn hang_up_after<T>(waits: usize, request: impl Future<Output = T>) -> Option<T> {
    let mut request = Box::pin(request);
    let mut waited = 0;
    poll_fn(|context| match request.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if waited == waits => Poll::Ready(None),
        Poll::Pending => {
            waited += 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_sender_that_hangs_up_leaves_nothing_behind() {
    let bench = Bench::start().await;
    assert_eq!(bench.push("first").await.status(), 200);
    assert_eq!(bench.counters().0, [0; 4]);

    // While the downstream has it.
    bench.downstream.may_answer.send_replace(false);
    let mut at_downstream = Box::pin(bench.push("first"));
    while bench.counters().0[3] == 0 {
        let _ = poll!(&mut at_downstream);
        yield_now().await;
    }
    assert!(bench.counters().0[1] > 0, "memory is counted");
    assert_eq!(bench.counters().1, [BURST - 2.0, INSTANCE_RATE - 1.0]);
    drop(at_downstream);
    bench.downstream.may_answer.send_replace(true);
    let before = ([0; 4], [BURST - 1.0, INSTANCE_RATE]);
    assert_eq!(bench.counters(), before);

    // While the store is asked for a new cluster.
    bench.faults.hang(true);
    let mut at_store = Box::pin(bench.push("new"));
    assert!(poll!(&mut at_store).is_pending());
    assert_eq!(bench.counters().0[0], 1);
    drop(at_store);
    bench.faults.hang(false);
    assert_eq!(bench.counters(), before);

    // At every point, of which there are at least those two.
    bench.faults.delay(Duration::from_millis(1));
    let mut waits = 0;
    let answer = loop {
        let cluster = format!("c{waits}");
        match hang_up_after(waits, bench.push(&cluster)).await {
            Some(answer) => break answer,
            None => assert_eq!(bench.counters(), before, "after {waits} waits"),
        }
        waits += 1;
    };
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(waits >= 2, "{waits}");
    assert_eq!(bench.counters().1[0], BURST - 2.0);
}
