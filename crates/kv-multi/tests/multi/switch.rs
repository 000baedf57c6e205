//! Another primary at run time: what is refused, what readers and watchers see.

use kv_core::Store;
use kv_multi::{MultiConfig, Override};
use tokio::time::Instant;

use crate::support::{
    FIRST, Max, SECOND, a_while, event, mirrored, picture, seconds, soon, start, took,
};

fn wanted(primary: Option<&str>, mirror_enabled: Option<bool>) -> Override {
    Override {
        primary: primary.map(str::to_owned),
        mirror_enabled,
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_store_of_the_two_is_refused_and_nothing_changes() {
    let multi = start(MultiConfig::default());
    multi.first.put("a", 1).await;
    let mut watch = multi.store.watch_prefix("a");
    assert_eq!(picture(&mut watch).await, ["Put a 1"]);
    let (status, metrics) = (multi.store.status(), multi.metrics());
    for name in ["multi", "third", "", "First", "first ", "inmemory"] {
        for mirror_enabled in [None, Some(true)] {
            let refused = multi
                .store
                .apply(&wanted(Some(name), mirror_enabled))
                .await
                .unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "{name:?} cannot be the primary: the stores of this process are first and second"
                )
            );
            assert_eq!(multi.store.status(), status);
            assert_eq!(multi.metrics(), metrics);
        }
    }
    multi.put("a", 2).await;
    a_while().await;
    assert_eq!(event(&mut watch).await, "Put a 2");
    assert_eq!(multi.second.keys().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_effect_already_changes_nothing() {
    let multi = start(MultiConfig::default());
    let status = multi.store.status();
    for same in [
        wanted(None, None),
        wanted(Some(FIRST), None),
        wanted(None, Some(false)),
        wanted(Some(FIRST), Some(false)),
    ] {
        assert!(!multi.store.apply(&same).await.unwrap());
    }
    assert_eq!(multi.store.status(), status);
}

#[tokio::test(start_paused = true)]
async fn an_override_that_is_taken_back_leaves_what_is_configured() {
    let multi = start(mirrored());
    for changed in [
        wanted(Some(SECOND), Some(false)),
        wanted(Some(SECOND), None),
        wanted(None, Some(false)),
    ] {
        assert!(multi.store.apply(&changed).await.unwrap());
        let status = multi.store.status();
        let primary = changed.primary.as_deref().unwrap_or(FIRST);
        let primaries = [status.primary, multi.store.primary()];
        assert_eq!(primaries, [primary; 2]);
        assert_ne!(status.secondary, primary);
        let mirror_enabled = changed.mirror_enabled.unwrap_or(true);
        assert_eq!(status.mirror_enabled, mirror_enabled);
        assert_eq!(
            multi.metric("cortex_multikv_mirror_enabled", ""),
            Some(f64::from(u8::from(mirror_enabled)))
        );
        for store in [FIRST, SECOND] {
            assert_eq!(
                multi.metric("cortex_multikv_primary_store", &format!("\"{store}\"")),
                Some(f64::from(u8::from(store == primary)))
            );
        }

        assert!(multi.store.apply(&Override::default()).await.unwrap());
        let status = multi.store.status();
        assert_eq!((status.primary, status.secondary), (FIRST, SECOND));
        assert!(status.mirror_enabled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_gets_what_the_new_primary_has_and_has_not() {
    let multi = start(MultiConfig::default());
    for (key, value) in [("a/both", 1), ("a/only first", 1), ("a/same", 1)] {
        multi.first.put(key, value).await;
    }
    for (key, value) in [("a/both", 2), ("a/only second", 2), ("a/same", 1), ("b", 2)] {
        multi.second.put(key, value).await;
    }
    let mut prefix = multi.store.watch_prefix("a/");
    let mut key = multi.store.watch_key("a/only first");
    let mut idle = multi.store.watch_key("a/both");
    let in_first = ["Put a/both 1", "Put a/only first 1", "Put a/same 1"];
    let in_second = ["Put a/both 2", "Put a/only second 2", "Put a/same 1"];
    assert_eq!(picture(&mut prefix).await, in_first);
    assert_eq!(picture(&mut key).await, ["Put a/only first 1"]);

    multi.switch_to(SECOND).await;
    let after = [&["Deleted a/only first"][..], &in_second].concat();
    assert_eq!(picture(&mut prefix).await, after);
    assert_eq!(picture(&mut key).await, ["Deleted a/only first"]);
    // What the old primary does is no event any more.
    multi.first.put("a/both", 7).await;
    multi.second.put("a/both", 3).await;
    assert_eq!(event(&mut prefix).await, "Put a/both 3");
    assert_eq!(multi.store.get("a/both").await.unwrap(), Some(Max(3)));

    multi.switch_to(FIRST).await;
    multi.first.put("a/only second", 8).await;
    let seen = picture(&mut prefix).await;
    let expected = [
        "Put a/both 7",
        "Put a/only first 1",
        "Put a/only second 8",
        "Put a/same 1",
    ];
    assert_eq!(seen, expected);
    assert_eq!(picture(&mut key).await, ["Put a/only first 1"]);
    // A watcher that was not polled during all of this sees one snapshot.
    assert_eq!(picture(&mut idle).await, ["Put a/both 7"]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_of_a_silent_primary_is_not_left_with_it() {
    let multi = start(MultiConfig::default());
    multi.second.put("a/2", 2).await;
    multi.first.silence(true);
    let mut watch = multi.store.watch_prefix("a/");
    let (seen, ()) = futures::join!(picture(&mut watch), multi.switch_to(SECOND));
    assert_eq!(seen, ["Put a/2 2"]);

    // Nor is it told that all is gone because the next one is silent.
    multi.switch_to(FIRST).await;
    let waited = tokio::time::timeout(seconds(60.0), event(&mut watch)).await;
    assert!(waited.is_err(), "{waited:?}");
    multi.switch_to(SECOND).await;
    assert_eq!(picture(&mut watch).await, ["Put a/2 2"]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_hang_are_made_on_the_new_primary() {
    let multi = start(MultiConfig::default());
    multi.second.put("a", 2).await;
    multi.first.faults.hang(true);
    let reading = tokio::spawn({
        let store = multi.store.clone();
        async move { futures::try_join!(store.get("a"), store.list("")).unwrap() }
    });
    tokio::time::sleep(seconds(60.0)).await;
    assert!(!reading.is_finished());
    let begun = Instant::now();
    multi.switch_to(SECOND).await;
    assert_eq!(
        soon(reading).await.unwrap(),
        (Some(Max(2)), vec!["a".to_owned()])
    );
    // Reads hold up no switch.
    assert!(took(begun, 0.0), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_switch_of_mirroring_only_does_not_disturb_watches_and_reads() {
    let multi = start(MultiConfig::default());
    multi.first.put("a/1", 1).await;
    let mut watch = multi.store.watch_prefix("a/");
    assert_eq!(picture(&mut watch).await, ["Put a/1 1"]);
    multi.first.faults.hang(true);
    let reading = tokio::spawn({
        let store = multi.store.clone();
        async move { store.get("a/1").await.unwrap() }
    });
    for mirror_enabled in [true, false, true] {
        multi.set_mirroring(mirror_enabled).await;
        a_while().await;
    }
    multi.first.faults.hang(false);
    assert_eq!(soon(reading).await.unwrap(), Some(Max(1)));
    multi.put("a/1", 2).await;
    assert_eq!(event(&mut watch).await, "Put a/1 2");
    let asked: Vec<String> = multi.first.calls();
    let asked_by_us = |call: &&String| call.as_str() == "watch_prefix a/";
    assert_eq!(asked.iter().filter(asked_by_us).count(), 1);
    // A switch after one of mirroring still reaches the watch.
    multi.switch_to(SECOND).await;
    assert_eq!(picture(&mut watch).await, ["Put a/1 2"]);
}
