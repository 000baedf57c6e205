//! Copying what the secondary lacks.

use kv_core::Store;
use kv_multi::{BackfillState, MultiConfig};
use tokio::time::Instant;

use crate::support::{Multi, a_while, mirrored, seconds, start, until};

fn copied(multi: &Multi) -> f64 {
    let copied = multi.metric("cortex_multikv_backfill_copied_keys_total", "");
    copied.unwrap()
}

fn pending(multi: &Multi) -> f64 {
    let pending = multi.metric("cortex_multikv_backfill_pending_keys", "");
    pending.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_mirroring_is_copied_at_a_bounded_rate() {
    let multi = start(MultiConfig {
        backfill_rate: 100,
        ..MultiConfig::default()
    });
    for key in 0..1000 {
        multi.first.put(&format!("key/{key}"), key).await;
    }
    a_while().await;
    assert_eq!(multi.store.status().backfill.state, BackfillState::Off);
    assert_eq!(multi.second.keys().await, 0);

    multi.set_mirroring(true).await;
    assert_eq!(multi.store.status().backfill.state, BackfillState::Running);
    until("the backfill begins", async || pending(&multi) > 0.0).await;
    let begun = Instant::now();
    assert_eq!(pending(&multi), 1000.0);
    let mut left = 1000.0;
    until("the keys are copied", async || {
        let copied = multi.second.keys().await;
        // 64 are handed over at a time.
        let allowed = 64.0 + begun.elapsed().as_secs_f64() * 100.0;
        assert!(copied as f64 <= allowed, "{copied} of {allowed}");
        assert!(pending(&multi) <= left);
        left = pending(&multi);
        assert_eq!(multi.store.status().backfill.pending_keys as f64, left);
        copied == 1000
    })
    .await;
    assert!(begun.elapsed() >= seconds(9.3), "{:?}", begun.elapsed());
    assert!(left < 100.0, "{left}");
    assert_eq!(multi.store.status().backfill.state, BackfillState::Running);
    multi.until_complete().await;
    assert!(begun.elapsed() >= seconds(10.0), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < seconds(15.0), "{:?}", begun.elapsed());
    assert_eq!((pending(&multi), copied(&multi)), (0.0, 1000.0));
    for key in 0..1000 {
        assert_eq!(multi.second.value(&format!("key/{key}")).await, Some(key));
    }
    // No client writes.
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));
    a_while().await;
    assert_eq!(multi.second.calls().len(), 1000);

    multi.set_mirroring(false).await;
    assert_eq!(multi.store.status().backfill.state, BackfillState::Off);
}

#[tokio::test(start_paused = true)]
async fn mirroring_from_the_start_copies_too() {
    let multi = start(mirrored());
    multi.first.put("a", 1).await;
    multi.until_complete().await;
    assert_eq!(multi.second.value("a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_newer_or_only_in_the_secondary_stays() {
    let multi = start(MultiConfig::default());
    for (key, in_first, in_second) in [
        ("older", Some(5), Some(3)),
        ("newer", Some(5), Some(9)),
        ("missing", Some(5), None),
        ("extra", None, Some(7)),
    ] {
        if let Some(value) = in_first {
            multi.first.put(key, value).await;
        }
        if let Some(value) = in_second {
            multi.second.put(key, value).await;
        }
    }
    multi.set_mirroring(true).await;
    multi.until_complete().await;
    a_while().await;
    assert_eq!(multi.second.value("older").await, Some(5));
    assert_eq!(multi.second.value("newer").await, Some(9));
    assert_eq!(multi.second.value("missing").await, Some(5));
    assert_eq!(multi.second.value("extra").await, Some(7));
    assert_eq!(multi.first.value("newer").await, Some(5));
    assert_eq!(multi.first.value("extra").await, None);
    assert_eq!(copied(&multi), 2.0);
}

#[tokio::test(start_paused = true)]
async fn what_becomes_newer_after_the_comparison_is_not_overwritten() {
    let multi = start(MultiConfig::default());
    multi.first.put("a", 1).await;
    multi.second.faults.delay(seconds(1.0));
    multi.set_mirroring(true).await;
    until("the copy is in progress", async || {
        !multi.second.calls().is_empty()
    })
    .await;
    multi.second.put("a", 2).await;
    multi.until_complete().await;
    assert_eq!(multi.second.value("a").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_but_not_without_a_pause() {
    let multi = start(MultiConfig::default());
    for key in 0..100 {
        multi.first.put(&format!("key/{key}"), key).await;
    }
    multi.second.faults.fail(true);
    multi.set_mirroring(true).await;
    a_while().await;
    let status = multi.store.status();
    assert_eq!(status.backfill.state, BackfillState::Running);
    assert_eq!(status.backfill.copied_keys_total, 0);
    let failed = status.backfill.failed_keys_total;
    // A comparison takes a second, then comes a pause of ten.
    assert!((400..=700).contains(&failed), "{failed}");
    assert_eq!(
        multi.metric("cortex_multikv_backfill_failed_keys_total", ""),
        Some(failed as f64)
    );
    // They are no mirror writes, and no failures of such.
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));
    assert_eq!(status.mirror.last_error, None);

    multi.second.faults.fail(false);
    multi.until_complete().await;
    assert_eq!(multi.second.keys().await, 100);
    assert_eq!(copied(&multi), 100.0);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_written_or_deleted_meanwhile_ends_as_in_the_primary() {
    let multi = start(MultiConfig::default());
    for key in ["deleted", "written"] {
        multi.first.put(key, 5).await;
    }
    multi.second.faults.delay(seconds(1.0));
    multi.set_mirroring(true).await;
    until("the copies are in progress", async || {
        multi.second.calls().len() == 2
    })
    .await;
    multi.store.delete("deleted").await.unwrap();
    multi.put("written", 4).await;
    multi.until_complete().await;
    assert_eq!(multi.second.value("deleted").await, None);
    assert_eq!(multi.second.value("written").await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn writes_that_never_pause_do_not_hold_it_up() {
    let multi = start(MultiConfig::default());
    for key in 0..200 {
        multi.first.put(&format!("key/{key}"), key).await;
    }
    multi.second.faults.delay(seconds(0.2));
    let writing = tokio::spawn({
        let store = multi.store.clone();
        async move {
            for value in 0.. {
                for key in 0..20 {
                    crate::support::put(&store, &format!("busy/{key}"), value).await;
                }
                tokio::time::sleep(seconds(0.05)).await;
            }
        }
    });
    multi.set_mirroring(true).await;
    let begun = Instant::now();
    multi.until_complete().await;
    assert!(begun.elapsed() < seconds(60.0), "{:?}", begun.elapsed());
    assert_eq!(multi.second.keys().await, 220);
    writing.abort();
}
