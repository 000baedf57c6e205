//! A store that becomes usable later.

use std::time::Duration;

use kv_core::Store;
use kv_multi::{BackfillState, CompareError, MultiConfig, Part};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::support::{FIRST, Multi, SECOND, Side, a_while, mirrored, start_over, took, until};

/// `second` becomes usable when the sender says so.
fn start_later(config: MultiConfig) -> (Multi, oneshot::Sender<()>) {
    let (first, second) = (Side::new(FIRST), Side::new(SECOND));
    let (say, said) = oneshot::channel::<()>();
    let usable = Box::pin(async move { drop(said.await) });
    let part = Part::when(second.store(), usable);
    (start_over(first, second, part, config), say)
}

#[tokio::test(start_paused = true)]
async fn writes_wait_for_it_and_arrive() {
    let (multi, say) = start_later(mirrored());
    multi.first.put("before", 1).await;
    for value in 1..=3 {
        for key in 0..50 {
            multi.put(&format!("key/{key}"), value).await;
        }
    }
    multi.store.delete("key/0").await.unwrap();
    a_while().await;
    assert!(
        multi.second.calls().is_empty(),
        "{:?}",
        multi.second.calls()
    );
    assert_eq!(multi.second.pictures(), 0);
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));
    assert_eq!(multi.pending(), 50);
    assert_eq!(multi.store.status().backfill.state, BackfillState::Running);
    let error = multi.store.compare(Duration::ZERO).await.unwrap_err();
    assert_eq!(error, CompareError::NotReady { store: SECOND });
    assert_eq!(error.to_string(), "second is not ready yet");

    say.send(()).unwrap();
    until("it is complete", async || {
        multi.store.status().backfill.state == BackfillState::Complete
    })
    .await;
    multi.until_mirrored().await;
    for key in 1..50 {
        assert_eq!(multi.second.value(&format!("key/{key}")).await, Some(3));
    }
    assert_eq!(multi.second.value("key/0").await, None);
    assert_eq!(multi.second.value("before").await, Some(1));
    assert_eq!(multi.mirror_writes().1, 0.0);
}

#[tokio::test(start_paused = true)]
async fn mirroring_that_ends_before_it_leaves_nothing_behind() {
    let (multi, say) = start_later(mirrored());
    for key in 0..50 {
        multi.put(&format!("key/{key}"), 1).await;
    }
    let begun = Instant::now();
    multi.set_mirroring(false).await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    // All are told as failed, each once.
    multi.until_mirrored().await;
    assert_eq!(multi.mirror_writes(), (50.0, 50.0));
    assert_eq!(multi.pending(), 0);
    say.send(()).unwrap();
    a_while().await;
    assert!(
        multi.second.calls().is_empty(),
        "{:?}",
        multi.second.calls()
    );

    multi.set_mirroring(true).await;
    until("all arrive", async || multi.second.keys().await == 50).await;
}

#[tokio::test(start_paused = true)]
async fn a_switch_to_it_leaves_no_mirror_writes_stuck() {
    let (multi, say) = start_later(mirrored());
    for key in 0..50 {
        multi.put(&format!("key/{key}"), 1).await;
    }
    multi.switch_to(SECOND).await;
    // The old primary is the secondary now, and can be used.
    multi.put("after", 1).await;
    until("it is mirrored", async || {
        multi.first.value("after").await == Some(1)
    })
    .await;
    // What was on its way to the old secondary is not to come up in the new primary much later.
    say.send(()).unwrap();
    a_while().await;
    assert_eq!(multi.second.keys().await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_it() {
    let (multi, _say) = start_later(mirrored());
    for key in 0..50 {
        multi.put(&format!("key/{key}"), 1).await;
    }
    let begun = Instant::now();
    let store = multi.store.clone();
    multi.handle.shutdown().await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    assert_eq!(store.status().mirror.write_errors_total, 50);
}
