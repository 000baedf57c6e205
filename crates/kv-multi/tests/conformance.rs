//! The conformance suite over a real etcd and real gossip, while the primary is switched back and
//! forth.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kv_core::Store;
use kv_core::conformance::{Backend, CODEC, Counter, a_watch_survives, run, storm};
use kv_etcd::EtcdConfig;
use kv_memberlist::{Memberlist, MemberlistConfig};
use kv_multi::{MultiConfig, MultiHandle, MultiStore, Override, Part};
use peers::{Etcd, LONG};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

struct Both {
    etcd: Etcd,
    store: MultiStore<Counter>,
    handle: MultiHandle<Counter>,
    gossip: Memberlist,
}

#[async_trait]
impl Backend for Both {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(self.store.clone())
    }
}

async fn etcd_and_gossip(name: &str) -> Both {
    let etcd = Etcd::start(name).await;
    let config = EtcdConfig::new([etcd.endpoint()]);
    let client: Arc<dyn Store<Counter>> = Arc::new(kv_etcd::open(&config, None, CODEC).unwrap());
    let config = MemberlistConfig {
        bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        bind_port: 0,
        ..MemberlistConfig::default()
    };
    let mut registry = Registry::default();
    let (member, gossip) = kv_memberlist::start(config, CODEC, &mut registry)
        .await
        .unwrap();
    let member = Part::when(Arc::new(member), Box::pin(gossip.ready()));
    let config = MultiConfig {
        mirror_enabled: true,
        ..MultiConfig::default()
    };
    let (store, handle) = kv_multi::start(client, member, config, "test", &mut registry).unwrap();
    tokio::time::timeout(Duration::from_secs(30), gossip.ready())
        .await
        .unwrap();
    Both {
        etcd,
        store,
        handle,
        gossip,
    }
}

impl Both {
    /// Switches the primary every `interval`, until stopped.
    fn switch_every(&self, interval: Duration) -> Switching {
        let store = self.store.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let times = Arc::new(AtomicU32::new(0));
        let task = tokio::spawn({
            let times = Arc::clone(&times);
            async move {
                for primary in ["memberlist", "etcd"].into_iter().cycle() {
                    tokio::select! {
                        () = tokio::time::sleep(interval) => {}
                        _ = &mut stopped => return,
                    }
                    let wanted = Override {
                        primary: Some(primary.to_owned()),
                        ..Override::default()
                    };
                    assert!(store.apply(&wanted).await.unwrap());
                    assert_eq!(store.primary(), primary);
                    times.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Switching { times, stop, task }
    }

    /// The suite and a storm, again and again until the primary was switched this often.
    async fn conforms(&self, switching: Switching, times: u32) {
        let begun = tokio::time::Instant::now();
        loop {
            run(self).await;
            storm(self, "storm/switched", 16, 100).await;
            if switching.times.load(Ordering::Relaxed) >= times {
                break;
            }
            assert!(begun.elapsed() < LONG, "nothing switches");
            // The suite wants keys of which it knows what they hold.
            for key in self.store.list("").await.unwrap() {
                self.store.delete(&key).await.unwrap();
            }
        }
        switching.stop.send(()).unwrap();
        switching.task.await.unwrap();
    }

    async fn ends_equal(self) {
        let status = self.store.status();
        assert_eq!(status.mirror.write_errors_total, 0, "{status:?}");
        // Some keys are gone from both; whatever is left is in both.
        let comparison = self.store.compare(Duration::ZERO).await.unwrap();
        assert!(comparison.differences.is_empty(), "{comparison:?}");
        assert!(comparison.primary_keys > 0);
        self.handle.shutdown().await;
        self.gossip.leave().await;
        drop(self.etcd);
    }
}

struct Switching {
    /// How often so far.
    times: Arc<AtomicU32>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_while_the_primary_is_switched_every_second() {
    let both = etcd_and_gossip("multi-suite").await;
    let switching = both.switch_every(Duration::from_secs(1));
    both.conforms(switching, 4).await;
    both.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_while_the_primary_is_switched_all_the_time() {
    let both = etcd_and_gossip("multi-suite-fast").await;
    let switching = both.switch_every(Duration::from_millis(20));
    both.conforms(switching, 20).await;
    both.ends_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_switches() {
    let both = etcd_and_gossip("multi-watch").await;
    let store = both.open().await;
    let mut primaries = ["memberlist", "etcd"].into_iter().cycle();
    a_watch_survives(Arc::clone(&store), &*store, "watched/", 10, async || {
        let wanted = Override {
            primary: primaries.next().map(str::to_owned),
            ..Override::default()
        };
        assert!(both.store.apply(&wanted).await.unwrap());
    })
    .await;
    drop(store);
    both.ends_equal().await;
}
