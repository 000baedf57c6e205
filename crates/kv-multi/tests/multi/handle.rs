//! The end, wanted or not.

use std::time::Duration;

use kv_multi::{MultiConfig, Part};
use tokio::time::Instant;

use crate::support::{FIRST, SECOND, Side, seconds, start_mirrored, start_over, took};

#[tokio::test(start_paused = true)]
async fn the_end_mirrors_what_is_pending() {
    let multi = start_mirrored().await;
    multi.second.faults.delay(seconds(0.9));
    for key in 0..32 {
        multi.put(&format!("key/{key}"), 1).await;
    }
    assert_eq!(multi.pending(), 32);
    let second = multi.second.clone();
    multi.handle.shutdown().await;
    assert_eq!(second.keys().await, 32);
    assert_eq!(multi.store.status().mirror.write_errors_total, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_secondary_that_hangs_no_longer_than_the_time_out() {
    let multi = start_mirrored().await;
    multi.second.faults.hang(true);
    for key in 0..100 {
        multi.put(&format!("key/{key}"), 1).await;
    }
    // Attempts are at different stages when the end begins.
    tokio::time::sleep(seconds(1.0)).await;
    let begun = Instant::now();
    multi.handle.shutdown().await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    let mirror = multi.store.status().mirror;
    assert_eq!((mirror.writes_total, mirror.write_errors_total), (100, 100));
    assert_eq!(mirror.pending_keys, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_comes_at_once_if_nothing_is_pending() {
    let multi = start_mirrored().await;
    multi.put("a", 1).await;
    multi.until_mirrored().await;
    let begun = Instant::now();
    multi.handle.shutdown().await;
    assert!(took(begun, 0.0), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_mirroring_is_told() {
    let mut multi = start_mirrored().await;
    let early = tokio::time::timeout(Duration::from_secs(60), multi.handle.failed()).await;
    assert!(early.is_err(), "{early:?}");
    multi.second.panic();
    multi.put("a", 1).await;
    let told = multi.handle.failed().await.to_string();
    assert!(
        told.starts_with("a task of the multi store panicked: "),
        "{told}"
    );
    assert!(told.contains("a panics"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_what_a_store_waits_for_is_told() {
    let (first, second) = (Side::new(FIRST), Side::new(SECOND));
    let part = Part::when(second.store(), Box::pin(async { panic!("never joined") }));
    let mut multi = start_over(first, second, part, MultiConfig::default());
    let told = multi.handle.failed().await.to_string();
    assert!(told.contains("never joined"), "{told}");
}
