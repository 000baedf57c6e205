//! What the log says of a watch that is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use common::{Watched, put, store_at};
use peers::{Etcd, LONG, Proxy, wait_for};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// On one thread, which is the one whose log is kept.
#[tokio::test]
async fn an_outage_is_told_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    let _kept = tracing::subscriber::set_default(subscriber);

    let etcd = Etcd::start("etcd").await;
    let proxy = Proxy::start(etcd.address()).await;
    let store = store_at([proxy.address()]);
    let mut watched = Watched::begin(&store, "w/").await;
    put(&store, "w/a", 1).await;
    watched.next().await;
    assert_eq!(log.lines(), Vec::<String>::new());

    proxy.refuse(true);
    proxy.cut();
    tokio::select! {
        event = watched.next() => panic!("{event:?}"),
        () = wait_for("some attempts", LONG, || async {
            let refused = proxy.refused();
            (refused > 3).then_some(()).ok_or(format!("{refused} refused"))
        }) => {}
    }
    proxy.refuse(false);
    watched.until_synced().await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let told = |line: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    };
    let address = proxy.address().to_string();
    told(
        &lines[0],
        &[
            "WARN",
            "etcd: the watch was interrupted",
            "scope=keys below w/",
            &address,
        ],
    );
    told(
        &lines[1],
        &["INFO", "etcd: the watch goes on", "scope=keys below w/"],
    );
}
