//! What differs between the stores.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kv_core::{Store, StoreError, UpdateFn, WatchStream};
use kv_multi::{CompareError, MultiConfig, Reason};
use tokio::time::Instant;

use crate::support::{
    FIRST, Max, Multi, SECOND, Side, a_while, mirrored, seconds, soon, start, took, until,
};

async fn all_reasons(multi: &Multi) {
    for (key, value) in [("missing", 1), ("newer", 5), ("older", 5), ("same", 5)] {
        multi.first.put(key, value).await;
    }
    for (key, value) in [("extra", 1), ("newer", 9), ("older", 3), ("same", 5)] {
        multi.second.put(key, value).await;
    }
}

fn divergent(multi: &Multi) -> Vec<Option<f64>> {
    let name = "cortex_multikv_divergent_keys";
    Reason::ALL
        .iter()
        .map(|reason| multi.metric(name, &format!("reason=\"{}\"", reason.as_str())))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_difference_has_its_reason() {
    let multi = start(MultiConfig::default());
    all_reasons(&multi).await;
    let begun = Instant::now();
    let comparison = multi.store.compare(Duration::ZERO).await.unwrap();
    // It compares twice.
    assert!(took(begun, 1.0), "{:?}", begun.elapsed());
    assert_eq!(comparison.took, begun.elapsed());
    assert_eq!((comparison.primary, comparison.secondary), (FIRST, SECOND));
    assert_eq!((comparison.primary_keys, comparison.secondary_keys), (4, 4));
    assert_eq!(comparison.undecodable, 0);
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(|difference| {
            let value = |value: &Option<Max>| value.as_ref().map(|value| value.0);
            (
                difference.key.as_str(),
                difference.reason,
                value(&difference.primary),
                value(&difference.secondary),
            )
        })
        .collect();
    assert_eq!(
        differences,
        [
            ("extra", Reason::Extra, None, Some(1)),
            ("missing", Reason::Missing, Some(1), None),
            ("newer", Reason::Newer, Some(5), Some(9)),
            ("older", Reason::Older, Some(5), Some(3)),
        ]
    );
    for reason in Reason::ALL {
        assert_eq!(comparison.count(reason), 1);
    }
    assert_eq!(comparison.behind(), 2);
    // It only reads; and without mirroring, the secondary need not have anything.
    assert!(multi.second.calls().is_empty());
    assert_eq!(divergent(&multi), [None; 4]);
}

#[tokio::test(start_paused = true)]
async fn the_metric_lasts_as_long_as_the_state_that_it_is_about() {
    let multi = start(MultiConfig::default());
    all_reasons(&multi).await;
    multi.second.faults.fail(true);
    let name = "cortex_multikv_last_comparison_timestamp_seconds";
    assert_eq!(multi.metric(name, ""), Some(0.0));
    for switch in [false, true] {
        multi.set_mirroring(true).await;
        until("it is compared", async || divergent(&multi)[0].is_some()).await;
        assert_eq!(divergent(&multi), [Some(1.0); 4]);
        assert!(multi.metric(name, "") > Some(0.0));
        if switch {
            multi.switch_to(SECOND).await;
        } else {
            multi.set_mirroring(false).await;
        }
        assert_eq!(divergent(&multi), [None; 4]);
    }
    // Now the other way around; this secondary can be written.
    multi.second.faults.fail(false);
    until("it is compared", async || divergent(&multi)[0].is_some()).await;
    until("what can be copied is", async || {
        divergent(&multi) == [Some(0.0), Some(0.0), Some(1.0), Some(1.0)]
    })
    .await;
    multi.set_mirroring(false).await;
    a_while().await;
    assert_eq!(divergent(&multi), [None; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_comparison_under_way_says_nothing_about_the_next_state() {
    let multi = start(MultiConfig::default());
    all_reasons(&multi).await;
    let comparing = tokio::spawn({
        let store = multi.store.clone();
        async move { store.compare(Duration::ZERO).await.map(drop) }
    });
    tokio::time::sleep(seconds(0.5)).await;
    multi.switch_to(SECOND).await;
    assert_eq!(soon(comparing).await.unwrap(), Err(CompareError::Switched));
    let comparison = multi.store.compare(Duration::from_secs(100)).await.unwrap();
    assert_eq!((comparison.primary, comparison.secondary), (SECOND, FIRST));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_no_difference() {
    let multi = start(MultiConfig::default());
    for key in ["arrives", "overtaken", "vanishes", "stays away"] {
        multi.first.put(key, 1).await;
    }
    let comparing = tokio::spawn({
        let store = multi.store.clone();
        async move { store.compare(Duration::ZERO).await.unwrap() }
    });
    tokio::time::sleep(seconds(0.5)).await;
    multi.second.put("arrives", 1).await;
    multi.second.put("overtaken", 1).await;
    multi.first.put("overtaken", 2).await;
    multi.first.delete("vanishes").await.unwrap();
    multi.first.put("too new", 1).await;
    let comparison = soon(comparing).await.unwrap();
    let keys: Vec<&str> = comparison
        .differences
        .iter()
        .map(|difference| difference.key.as_str())
        .collect();
    assert_eq!(keys, ["stays away"]);
}

#[tokio::test(start_paused = true)]
async fn stores_that_are_equal_are_looked_at_once() {
    let multi = start(MultiConfig::default());
    let begun = Instant::now();
    let comparison = multi.store.compare(Duration::ZERO).await.unwrap();
    assert_eq!(comparison.behind(), 0);
    assert!(took(begun, 0.0));
    assert_eq!((multi.first.pictures(), multi.second.pictures()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_names_a_hundred_and_counts_all() {
    let multi = start(MultiConfig::default());
    for key in 0..150 {
        multi.first.put(&format!("key/{key:03}"), key).await;
    }
    let comparison = multi.store.compare(Duration::ZERO).await.unwrap();
    assert_eq!(comparison.differences.len(), 100);
    assert_eq!(comparison.differences[99].key, "key/099");
    assert_eq!(comparison.count(Reason::Missing), 150);
    assert_eq!(comparison.behind(), 150);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_young_enough_is_shared() {
    let multi = start(MultiConfig::default());
    all_reasons(&multi).await;
    let compare = |max_age: Duration| {
        let store = multi.store.clone();
        async move { store.compare(max_age).await.unwrap() }
    };
    let age = Duration::from_secs(10);
    let (one, other) = futures::join!(compare(age), compare(age));
    assert!(Arc::ptr_eq(&one, &other));
    tokio::time::sleep(age).await;
    assert!(Arc::ptr_eq(&one, &compare(age).await));
    tokio::time::sleep(seconds(0.01)).await;
    assert!(!Arc::ptr_eq(&one, &compare(age).await));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_shows_nothing_is_an_error() {
    let multi = start(MultiConfig::default());
    for (side, name) in [(&multi.second, SECOND), (&multi.first, FIRST)] {
        side.silence(true);
        let begun = Instant::now();
        let error = multi.store.compare(Duration::ZERO).await.unwrap_err();
        assert_eq!(error, CompareError::Silent { store: name });
        assert_eq!(
            error.to_string(),
            format!("{name} could not be listed within 10 s")
        );
        assert!(took(begun, 10.0), "{:?}", begun.elapsed());
        side.silence(false);
        tokio::time::sleep(seconds(0.01)).await;
    }
    assert!(multi.store.compare(Duration::ZERO).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_silent_store_share_the_error() {
    let multi = start(MultiConfig::default());
    multi.second.silence(true);
    let begun = Instant::now();
    let compare = || multi.store.compare(Duration::from_secs(10));
    let answers = futures::future::join_all((0..20).map(|_| compare())).await;
    for answer in answers {
        assert_eq!(answer.unwrap_err(), CompareError::Silent { store: SECOND });
    }
    assert!(took(begun, 10.0), "{:?}", begun.elapsed());
    // One who asks later gets an answer of his own.
    multi.second.silence(false);
    tokio::time::sleep(seconds(0.01)).await;
    assert!(compare().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_is_compared_when_it_is_back() {
    let multi = start(mirrored());
    multi.second.silence(true);
    multi.first.put("a", 1).await;
    a_while().await;
    assert_eq!(divergent(&multi), [None; 4]);
    assert_eq!(multi.second.keys().await, 0);
    multi.second.silence(false);
    until("it is copied", async || multi.second.keys().await == 1).await;
}

/// A store that was shut down: its watches have ended.
struct Ended(Side);

#[async_trait::async_trait]
impl Store<Max> for Ended {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.list(prefix).await
    }
    async fn get(&self, key: &str) -> Result<Option<Max>, StoreError> {
        self.0.get(key).await
    }
    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key).await
    }
    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, Max>,
    ) -> Result<kv_core::CasOutcome<Max>, StoreError> {
        self.0.cas(key, update).await
    }
    fn watch_key(&self, _key: &str) -> WatchStream<Max> {
        futures::stream::empty().boxed()
    }
    fn watch_prefix(&self, _prefix: &str) -> WatchStream<Max> {
        futures::stream::empty().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_shut_down_is_an_error_and_ends_its_watches() {
    let (first, second) = (Side::new(FIRST), Ended(Side::new(SECOND)));
    let second: Arc<dyn Store<Max>> = Arc::new(second);
    let mut registry = prometheus_client::registry::Registry::default();
    let config = MultiConfig::default();
    let (store, _handle) =
        kv_multi::start(second, first.store(), config, "test", &mut registry).unwrap();
    let error = store.compare(Duration::ZERO).await.unwrap_err();
    assert_eq!(error, CompareError::ShutDown { store: SECOND });
    assert!(store.watch_prefix("").next().await.is_none());
}
