//! Another primary at run time: what becomes of writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kv_core::{CasOutcome, CasUpdate, Store};
use kv_multi::{MultiConfig, MultiStore, Override};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::{
    FIRST, Max, SECOND, a_while, mirrored, seconds, soon, start, start_mirrored, took, until,
};

/// Puts 7 in a task, which says how often the function was called.
fn put_in_task(store: &MultiStore<Max>, key: &'static str) -> (JoinHandle<()>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let task = tokio::spawn({
        let (store, calls) = (store.clone(), Arc::clone(&calls));
        async move {
            let mut update = |_: Option<&Max>| {
                calls.fetch_add(1, Ordering::Relaxed);
                CasUpdate::Put(Max(7))
            };
            let outcome = store.cas(key, &mut update).await.unwrap();
            assert_eq!(outcome, CasOutcome::Stored(Max(7)));
        }
    });
    (task, calls)
}

#[tokio::test(start_paused = true)]
async fn a_write_to_a_primary_that_hangs_is_given_up_and_made_on_the_new_one() {
    let multi = start(MultiConfig::default());
    multi.first.faults.hang(true);
    let (writing, calls) = put_in_task(&multi.store, "a");
    tokio::time::sleep(seconds(60.0)).await;
    assert!(!writing.is_finished());
    let begun = Instant::now();
    multi.switch_to(SECOND).await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    soon(writing).await.unwrap();
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    assert_eq!(multi.second.value("a").await, Some(7));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    multi.first.faults.hang(false);
    a_while().await;
    assert_eq!(multi.first.value("a").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_began_before_mirroring_changed_is_given_up_too() {
    let multi = start(MultiConfig::default());
    multi.first.faults.hang(true);
    let (writing, _) = put_in_task(&multi.store, "a");
    tokio::time::sleep(seconds(1.0)).await;
    multi.set_mirroring(true).await;
    multi.set_mirroring(false).await;
    let begun = Instant::now();
    multi.switch_to(SECOND).await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    soon(writing).await.unwrap();
    assert_eq!(multi.second.value("a").await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn writes_that_begin_during_a_switch_go_to_the_new_primary() {
    let multi = start(MultiConfig::default());
    multi.first.faults.hang(true);
    let (hanging, _) = put_in_task(&multi.store, "hanging");
    tokio::time::sleep(seconds(1.0)).await;
    futures::join!(multi.switch_to(SECOND), async {
        tokio::time::sleep(seconds(1.0)).await;
        // Behind a hanging primary, it waits for the new one, and no longer than the time-out.
        let begun = Instant::now();
        multi.put("new", 1).await;
        assert!(took(begun, 1.0), "{:?}", begun.elapsed());
    });
    soon(hanging).await.unwrap();
    assert_eq!(multi.second.value("new").await, Some(1));
    // Some may have reached the old primary; none was done there.
    assert_eq!(multi.first.keys().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_is_finished_and_mirrored_before_the_switch() {
    let multi = start_mirrored().await;
    multi.first.faults.delay(seconds(1.0));
    multi.second.faults.delay(seconds(1.5));
    let (writing, calls) = put_in_task(&multi.store, "a");
    tokio::time::sleep(seconds(0.1)).await;
    let begun = Instant::now();
    multi.switch_to(SECOND).await;
    assert!(took(begun, 2.4), "{:?}", begun.elapsed());
    assert_eq!(multi.first.value("a").await, Some(7));
    assert_eq!(multi.second.value("a").await, Some(7));
    soon(writing).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(multi.mirror_writes(), (1.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_pending_is_mirrored_before_the_switch() {
    let multi = start_mirrored().await;
    multi.second.faults.delay(seconds(0.9));
    for value in 1..=3 {
        for key in 0..16 {
            multi.put(&format!("key/{key}"), value).await;
        }
        tokio::time::sleep(seconds(0.01)).await;
    }
    assert_eq!(multi.pending(), 16);
    multi.switch_to(SECOND).await;
    multi.second.faults.delay(seconds(0.0));
    assert_eq!(multi.pending(), 0);
    for key in 0..16 {
        let value = multi.store.get(&format!("key/{key}")).await.unwrap();
        assert_eq!(value, Some(Max(3)));
    }
    assert_eq!(multi.mirror_writes(), (32.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_mirrored_does_not_hold_up_the_switch() {
    let multi = start_mirrored().await;
    multi.second.faults.hang(true);
    for key in 0..50 {
        multi.put(&format!("key/{key}"), 1).await;
    }
    tokio::time::sleep(seconds(0.5)).await;
    let begun = Instant::now();
    multi.switch_to(SECOND).await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    // Each is reported once, and none of them is still in progress.
    multi.until_mirrored().await;
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    assert_eq!(multi.mirror_writes(), (50.0, 50.0));
    assert_eq!(multi.pending(), 0);
    multi.second.faults.hang(false);
    multi.put("after", 1).await;
    multi.until_mirrored().await;
    assert_eq!(multi.first.value("after").await, Some(1));
    a_while().await;
    assert_eq!(multi.second.keys().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_that_a_switch_ends_is_no_failure_of_mirroring() {
    let multi = start(mirrored());
    for key in 0..50 {
        multi.first.put(&format!("key/{key}"), 1).await;
    }
    multi.second.faults.hang(true);
    until("it copies", async || multi.pending() == 50).await;
    multi.switch_to(SECOND).await;
    multi.until_mirrored().await;
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));
    assert_eq!(multi.store.status().mirror.last_error, None);
    assert_eq!(multi.store.status().backfill.failed_keys_total, 50);
    assert_eq!(
        multi.metric("cortex_multikv_backfill_pending_keys", ""),
        Some(0.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_switch_of_mirroring_only_gives_up_no_write() {
    let multi = start(MultiConfig::default());
    multi.first.faults.hang(true);
    let (writing, calls) = put_in_task(&multi.store, "a");
    tokio::time::sleep(seconds(1.0)).await;
    multi.set_mirroring(true).await;
    a_while().await;
    assert!(!writing.is_finished());
    multi.first.faults.hang(false);
    soon(writing).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(multi.first.calls(), ["cas a"]);
    // It began without mirroring and ended with it.
    multi.until_mirrored().await;
    assert_eq!(multi.second.value("a").await, Some(7));
    assert_eq!(multi.mirror_writes(), (1.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_switch_of_mirroring_only_delays_no_write() {
    let multi = start_mirrored().await;
    multi.second.faults.hang(true);
    multi.put("a", 1).await;
    let begun = Instant::now();
    futures::join!(multi.set_mirroring(false), async {
        tokio::time::sleep(seconds(0.5)).await;
        multi.put("b", 1).await;
        assert!(took(begun, 0.5), "{:?}", begun.elapsed());
    });
    assert!(took(begun, 2.0), "{:?}", begun.elapsed());
    assert_eq!(multi.mirror_writes(), (1.0, 1.0));
    // Written while mirroring was off.
    multi.second.faults.hang(false);
    a_while().await;
    assert_eq!(multi.second.keys().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_finished_though_nobody_waits_for_it() {
    let multi = start_mirrored().await;
    multi.second.faults.delay(seconds(1.0));
    multi.put("a", 1).await;
    let waited = tokio::time::timeout(seconds(0.1), multi.switch_to(SECOND)).await;
    assert!(waited.is_err());
    assert_eq!(multi.store.primary(), FIRST);
    until("it is switched", async || multi.store.primary() == SECOND).await;
    assert_eq!(multi.second.value("a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn the_last_of_several_switches_is_in_effect() {
    let multi = start_mirrored().await;
    multi.second.faults.delay(seconds(1.0));
    multi.put("a", 1).await;
    let second = Override {
        primary: Some(SECOND.to_owned()),
        ..Override::default()
    };
    let (one, other) = futures::join!(multi.store.apply(&second), async {
        tokio::time::sleep(seconds(0.1)).await;
        multi.store.apply(&Override::default()).await
    });
    assert!(one.unwrap() && other.unwrap());
    assert_eq!(multi.store.primary(), FIRST);
}

/// With pending writes mirrored before each switch, ten writers that count lose nothing.
#[tokio::test(start_paused = true)]
async fn no_write_is_lost_while_two_switch_back_and_forth() {
    let multi = start_mirrored().await;
    multi.first.faults.delay(seconds(0.007));
    multi.second.faults.delay(seconds(0.011));
    let switching: Vec<_> = [(SECOND, 0.05), (FIRST, 0.03)]
        .map(|(name, pause)| {
            let store = multi.store.clone();
            tokio::spawn(async move {
                let mut changed = 0;
                for _ in 0..100 {
                    tokio::time::sleep(seconds(pause)).await;
                    let wanted = Override {
                        primary: Some(name.to_owned()),
                        ..Override::default()
                    };
                    changed += u32::from(store.apply(&wanted).await.unwrap());
                }
                changed
            })
        })
        .into();
    let writing = (0..10u64).map(|writer| {
        let store = multi.store.clone();
        async move {
            for round in 0..200u64 {
                let key = format!("count/{}", (writer + round) % 3);
                let mut count = |current: Option<&Max>| {
                    CasUpdate::Put(Max(current.map_or(0, |current| current.0) + 1))
                };
                store.cas(&key, &mut count).await.unwrap();
            }
        }
    });
    futures::future::join_all(writing).await;
    for task in switching {
        let changed = task.await.unwrap();
        assert!(changed >= 20, "{changed}");
    }
    multi.until_mirrored().await;
    for side in [&multi.first, &multi.second] {
        let mut sum = 0;
        for key in 0..3 {
            sum += side.value(&format!("count/{key}")).await.unwrap();
        }
        assert_eq!(sum, 2000);
    }
    assert_eq!(multi.mirror_writes().1, 0.0);
}
