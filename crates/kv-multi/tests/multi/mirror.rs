//! A secondary that fails, hangs or is slow.

use kv_core::Store;
use tokio::time::Instant;

use crate::support::{Max, a_while, seconds, start_mirrored, took, until};

#[tokio::test(start_paused = true)]
async fn a_secondary_that_hangs_delays_nobody_and_is_counted() {
    let multi = start_mirrored().await;
    multi.second.faults.hang(true);
    let begun = Instant::now();
    multi.put("a", 1).await;
    assert!(took(begun, 0.0), "{:?}", begun.elapsed());
    assert_eq!(multi.pending(), 1);
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));
    assert_eq!(multi.store.status().mirror.last_error, None);

    until("the failure is counted", async || {
        multi.mirror_writes() == (1.0, 1.0)
    })
    .await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    assert_eq!(multi.pending(), 0);
    let error = multi.store.status().mirror.last_error.unwrap();
    assert_eq!(error.key, "a");
    assert_eq!(error.error, "second: no answer within mirror_timeout (2s)");
    assert_eq!(multi.second.value("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn many_writes_of_one_key_are_one_pending_change() {
    let multi = start_mirrored().await;
    multi.second.faults.hang(true);
    let begun = Instant::now();
    for value in 1..=1000 {
        multi.put("a", value).await;
        assert_eq!(multi.pending(), 1);
        tokio::time::sleep(seconds(0.001)).await;
    }
    // All within the first attempt.
    assert!(begun.elapsed() < seconds(1.9), "{:?}", begun.elapsed());
    until("two attempts failed", async || {
        multi.mirror_writes() == (2.0, 2.0)
    })
    .await;
    assert_eq!(multi.second.calls(), ["cas a", "cas a"]);
    assert_eq!(multi.pending(), 0);

    // There are no further writes. The comparison finds the difference.
    multi.second.faults.hang(false);
    until("the last value arrives", async || {
        multi.second.value("a").await == Some(1000)
    })
    .await;
    a_while().await;
    assert_eq!(
        multi
            .first
            .calls()
            .iter()
            .filter(|call| *call == "cas a")
            .count(),
        1000
    );
    assert_eq!(multi.mirror_writes(), (2.0, 2.0));
    let status = multi.store.status().backfill;
    assert_eq!((status.copied_keys_total, status.failed_keys_total), (1, 0));
    assert_eq!(
        multi.metric("cortex_multikv_divergent_keys", "missing"),
        Some(0.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_secondary_gets_the_last_value_of_each_key() {
    let multi = start_mirrored().await;
    multi.second.faults.delay(seconds(1.0));
    let begun = Instant::now();
    for value in 1..=3 {
        for key in 0..16 {
            multi.put(&format!("key/{key}"), value).await;
        }
        tokio::time::sleep(seconds(0.01)).await;
    }
    assert!(begun.elapsed() < seconds(0.5), "{:?}", begun.elapsed());
    assert_eq!(multi.pending(), 16);
    multi.until_mirrored().await;
    // The first value of each, and then the last: all keys at the same time.
    assert!(begun.elapsed() < seconds(2.5), "{:?}", begun.elapsed());
    assert_eq!(multi.second.calls().len(), 32);
    for key in 0..16 {
        assert_eq!(multi.second.value(&format!("key/{key}")).await, Some(3));
    }
    assert_eq!(multi.mirror_writes(), (32.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_time_out_is_a_failure() {
    let multi = start_mirrored().await;
    multi.second.faults.delay(seconds(1.9));
    multi.put("a", 1).await;
    multi.until_mirrored().await;
    assert_eq!(multi.mirror_writes(), (1.0, 0.0));
    multi.second.faults.delay(seconds(2.1));
    multi.put("a", 2).await;
    multi.until_mirrored().await;
    assert_eq!(multi.mirror_writes(), (2.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_fails_is_told_and_made_up_for() {
    let multi = start_mirrored().await;
    multi.second.faults.fail(true);
    multi.put("a", 1).await;
    multi.put("b", 1).await;
    multi.until_mirrored().await;
    assert_eq!(multi.mirror_writes(), (2.0, 2.0));
    let error = multi.store.status().mirror.last_error.unwrap();
    assert!(
        error.error.contains("switched off by the test"),
        "{error:?}"
    );

    a_while().await;
    assert_eq!(multi.second.keys().await, 0);
    multi.second.faults.fail(false);
    until("both arrive", async || multi.second.keys().await == 2).await;
    // What the backfill tries is not counted as mirrored.
    assert_eq!(multi.mirror_writes(), (2.0, 2.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_newer_in_the_secondary_survives() {
    let multi = start_mirrored().await;
    multi.put("a", 1).await;
    multi.put("b", 1).await;
    multi.until_mirrored().await;
    multi.second.put("a", 9).await;
    multi.second.put("b", 9).await;
    multi.put("a", 2).await;
    multi.store.delete("b").await.unwrap();
    a_while().await;
    assert_eq!(multi.second.value("a").await, Some(9));
    assert_eq!(multi.second.value("b").await, Some(9));
    assert_eq!(multi.first.value("a").await, Some(2));
    assert_eq!(multi.first.value("b").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_was_overwritten_knowingly_is_overwritten_in_the_secondary() {
    let multi = start_mirrored().await;
    let store: &dyn Store<Max> = &multi.store;
    multi.put("a", 9).await;
    multi.put("b", 9).await;
    multi.until_mirrored().await;
    multi.second.faults.delay(seconds(1.0));
    // Smaller than before, in one step and by a deletion; all of it waits as one change.
    multi.put("a", 3).await;
    multi.put("a", 2).await;
    store.delete("b").await.unwrap();
    multi.put("b", 1).await;
    multi.until_mirrored().await;
    assert_eq!(multi.second.value("a").await, Some(2));
    assert_eq!(multi.second.value("b").await, Some(1));
}
