//! Conditions that are logged once at their beginning and once at their end: outages of the store,
//! clocks that differ.

#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_tracker::ReplicaDesc;
use kv_core::{CasUpdate, Store};
use support::{Fleet, Verdict, limits};
use tracing::subscriber::DefaultGuard;

/// The log of this thread, on which the trackers run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines_with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_has_one_line_at_each_end() {
    let (log, _guard) = Log::begin();
    let fleet = Fleet::start(1, limits()).await;
    fleet.send(0, "c", "r1").await;
    for step in 0..200 {
        // A store that answers only from time to time is failing all the time.
        fleet.faults.fail(step < 100 && step % 10 < 8);
        fleet.advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.send(0, "c", "r1").await, Verdict::Accepted);
    }
    let began = log.lines_with("store is failing");
    assert_eq!(began.len(), 1, "{began:?}");
    assert!(began[0].contains("switched off by the test"), "{began:?}");
    let ended = log.lines_with("store answers again");
    assert_eq!(ended.len(), 1, "{ended:?}");
    let warnings = log.lines_with("WARN");
    assert_eq!(warnings.len(), 1, "nothing is said twice: {warnings:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_ahead_is_told_of_once_and_shown_until_it_is_right() {
    let (log, _guard) = Log::begin();
    let fleet = &Fleet::start(1, limits()).await;
    let tracker = &fleet.trackers[0];
    let write = |ahead_ms: i64| {
        let at = fleet.now_ms() + ahead_ms;
        let desc = ReplicaDesc {
            replica: "r1".into(),
            received_at: at,
            elected_at: at,
            ..ReplicaDesc::default()
        };
        async move {
            let store = &fleet.store;
            let put = &mut |_: Option<&ReplicaDesc>| CasUpdate::Put(desc.clone());
            store.cas("t/c", put).await.unwrap();
            fleet.advance(Duration::from_secs(10)).await;
        }
    };
    let gauge = || {
        let metrics = fleet.metrics(0);
        let name = "cortex_ha_tracker_clock_skew_seconds ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().parse::<f64>().unwrap()
    };
    write(4_900).await;
    assert_eq!(tracker.clock_skew(), None);
    let since_ms = fleet.now_ms();
    for _ in 0..20 {
        write(60_000).await;
    }
    let skew = tracker.clock_skew().unwrap();
    assert_eq!((skew.since_ms, skew.ahead_ms), (since_ms, 60_000));
    assert_eq!((&*skew.tenant, &*skew.cluster), ("t", "c"));
    assert!((gauge() - 60.0).abs() < 1e-6);
    // It is set back by parts.
    for _ in 0..70 {
        write(20_000).await;
    }
    assert_eq!(tracker.clock_skew().unwrap().ahead_ms, 20_000);
    for _ in 0..70 {
        write(0).await;
    }
    assert_eq!(tracker.clock_skew(), None);
    assert!(gauge().abs() < 1e-6);
    let told = log.lines_with("is ahead of this one's, or");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("seconds=60"), "{told:?}");
    assert_eq!(log.lines_with("any more").len(), 1);
}
