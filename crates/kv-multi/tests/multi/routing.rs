//! What goes to which store, what a multi store refuses to be, what it shows.

use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use kv_core::{CasOutcome, CasUpdate, Store, StoreError};
use kv_multi::{ConfigError, MultiConfig};
use prometheus_client::registry::Registry;

use crate::support::{
    FIRST, Max, SECOND, Side, a_while, event, mirrored, picture, start, start_mirrored,
};

#[tokio::test(start_paused = true)]
async fn without_mirroring_everything_goes_to_the_primary() {
    let multi = start(MultiConfig::default());
    let store: &dyn Store<Max> = &multi.store;
    multi.first.put("a/1", 1).await;
    multi.second.put("a/1", 9).await;
    multi.second.put("a/2", 9).await;

    assert_eq!(store.name(), "multi");
    assert_eq!(store.get("a/1").await.unwrap(), Some(Max(1)));
    assert_eq!(store.list("a/").await.unwrap(), ["a/1"]);
    let mut key = store.watch_key("a/1");
    let mut prefix = store.watch_prefix("a/");
    assert_eq!(picture(&mut key).await, ["Put a/1 1"]);
    assert_eq!(picture(&mut prefix).await, ["Put a/1 1"]);
    multi.put("a/1", 2).await;
    assert_eq!(event(&mut key).await, "Put a/1 2");
    assert_eq!(event(&mut prefix).await, "Put a/1 2");
    store.delete("a/1").await.unwrap();
    assert_eq!(event(&mut key).await, "Deleted a/1");
    assert_eq!(multi.first.value("a/1").await, None);

    a_while().await;
    assert!(
        multi.second.calls().is_empty(),
        "{:?}",
        multi.second.calls()
    );
    assert_eq!(multi.second.pictures(), 0);
    assert_eq!(multi.second.value("a/1").await, Some(9));
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn with_mirroring_reads_and_watches_still_go_to_the_primary() {
    let multi = start_mirrored().await;
    let store: &dyn Store<Max> = &multi.store;
    multi.first.put("a/1", 1).await;
    multi.second.put("a/1", 9).await;

    assert_eq!(store.get("a/1").await.unwrap(), Some(Max(1)));
    assert_eq!(store.list("a/").await.unwrap(), ["a/1"]);
    assert_eq!(picture(&mut store.watch_key("a/1")).await, ["Put a/1 1"]);
    assert_eq!(picture(&mut store.watch_prefix("a/")).await, ["Put a/1 1"]);
    a_while().await;
    assert!(
        multi.second.calls().is_empty(),
        "{:?}",
        multi.second.calls()
    );
}

#[tokio::test(start_paused = true)]
async fn what_stored_or_deleted_is_mirrored_and_nothing_else() {
    let multi = start_mirrored().await;
    let store: &dyn Store<Max> = &multi.store;
    let kept = store.cas("kept", &mut |_| CasUpdate::Keep).await.unwrap();
    assert_eq!(kept, CasOutcome::Kept(None));
    let aborted = store
        .cas("aborted", &mut |_| CasUpdate::Abort("no".into()))
        .await;
    assert!(matches!(aborted, Err(StoreError::Aborted { .. })));
    multi.first.faults.fail(true);
    let failed = store.cas("failed", &mut |_| CasUpdate::Put(Max(1))).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
    multi.first.faults.fail(false);
    a_while().await;
    assert!(
        multi.second.calls().is_empty(),
        "{:?}",
        multi.second.calls()
    );
    assert_eq!(multi.mirror_writes(), (0.0, 0.0));

    multi.put("a", 1).await;
    multi.until_mirrored().await;
    assert_eq!(multi.second.value("a").await, Some(1));
    store.delete("a").await.unwrap();
    multi.until_mirrored().await;
    assert_eq!(multi.second.value("a").await, None);
    multi.put("a", 2).await;
    let deleted = store.cas("a", &mut |_| CasUpdate::Delete).await.unwrap();
    assert_eq!(deleted, CasOutcome::Deleted);
    multi.until_mirrored().await;
    assert_eq!(multi.first.value("a").await, None);
    assert_eq!(multi.second.value("a").await, None);
    let (writes, errors) = multi.mirror_writes();
    assert!((3.0..=4.0).contains(&writes), "{writes}");
    assert_eq!(errors, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_called_again_is_mirrored_by_its_last_call() {
    // A store calls the function again on a conflict; the value that the first call saw no longer
    // counts.
    struct Conflict(Side);
    #[async_trait::async_trait]
    impl Store<Max> for Conflict {
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
            update: &mut kv_core::UpdateFn<'_, Max>,
        ) -> Result<CasOutcome<Max>, StoreError> {
            update(Some(&Max(100)));
            self.0.cas(key, update).await
        }
        fn watch_key(&self, key: &str) -> kv_core::WatchStream<Max> {
            self.0.watch_key(key)
        }
        fn watch_prefix(&self, prefix: &str) -> kv_core::WatchStream<Max> {
            self.0.watch_prefix(prefix)
        }
    }
    let (first, second) = (Side::new(FIRST), Side::new(SECOND));
    first.put("a", 1).await;
    // Newer than what the last call saw, not than what the first did: it must survive.
    second.put("a", 50).await;
    let primary: Arc<dyn Store<Max>> = Arc::new(Conflict(first.clone()));
    let (store, _handle) = kv_multi::start(
        primary,
        second.store(),
        mirrored(),
        "test",
        &mut Registry::default(),
    )
    .unwrap();
    crate::support::put(&store, "a", 2).await;
    a_while().await;
    assert_eq!(first.value("a").await, Some(2));
    assert_eq!(second.value("a").await, Some(50));
    assert_eq!(store.status().mirror.writes_total, 1);
}

#[test]
fn two_stores_of_one_name_and_no_time_are_refused() {
    let refused = |second: &'static str, config: MultiConfig| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (first, second) = (Side::new(FIRST).store(), Side::new(second).store());
        let mut registry = Registry::default();
        kv_multi::start(first, second, config, "test", &mut registry)
            .err()
            .unwrap()
    };
    let same = refused(FIRST, MultiConfig::default());
    assert!(matches!(same, ConfigError::Same(FIRST)));
    assert_eq!(
        same.to_string(),
        "primary and secondary are the same store, first"
    );
    let no_timeout = refused(
        SECOND,
        MultiConfig {
            mirror_timeout: Duration::ZERO,
            ..MultiConfig::default()
        },
    );
    assert!(matches!(no_timeout, ConfigError::NoTimeout));
    assert_eq!(
        no_timeout.to_string(),
        "mirror_timeout must be greater than 0"
    );
}

#[tokio::test(start_paused = true)]
async fn the_metrics_have_dskits_names() {
    let multi = start(MultiConfig::default());
    multi.set_mirroring(true).await;
    multi.put("a", 1).await;
    multi.until_mirrored().await;
    multi.second.faults.fail(true);
    multi.put("a", 2).await;
    multi.until_mirrored().await;
    multi.switch_to(SECOND).await;
    let of_dskit = [
        "cortex_multikv_primary_store",
        "cortex_multikv_mirror_enabled",
        "cortex_multikv_mirror_writes",
        "cortex_multikv_mirror_write_errors",
    ];
    let mut lines: Vec<String> = multi
        .metrics()
        .lines()
        .filter(|line| {
            let name = line
                .trim_start_matches("# HELP ")
                .trim_start_matches("# TYPE ");
            let end = name.find(['{', ' ']).unwrap_or(name.len());
            of_dskit.contains(&name[..end].trim_end_matches("_total"))
        })
        .map(str::to_owned)
        .collect();
    // The series of a family come in no order.
    lines.sort();
    expect![[r##"
        # HELP cortex_multikv_mirror_enabled Whether mirroring to the secondary store is enabled.
        # HELP cortex_multikv_mirror_write_errors Number of failures to write to the secondary store.
        # HELP cortex_multikv_mirror_writes Number of writes to the secondary store.
        # HELP cortex_multikv_primary_store Selected primary KV store: 1 for it, 0 for the other.
        # TYPE cortex_multikv_mirror_enabled gauge
        # TYPE cortex_multikv_mirror_write_errors counter
        # TYPE cortex_multikv_mirror_writes counter
        # TYPE cortex_multikv_primary_store gauge
        cortex_multikv_mirror_enabled{kv_name="test"} 1
        cortex_multikv_mirror_write_errors_total{kv_name="test"} 1
        cortex_multikv_mirror_writes_total{kv_name="test"} 2
        cortex_multikv_primary_store{kv_name="test",store="first"} 0
        cortex_multikv_primary_store{kv_name="test",store="second"} 1"##]].assert_eq(&lines.join("\n"));
}
