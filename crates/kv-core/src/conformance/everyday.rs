//! What is built on every store: everyday calls, and a map that follows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::backend::{Counter, counter};
use super::{DELIVERY, picture};
use crate::{LiveMap, MapEnded, Store, StoreExt};

pub(super) async fn everyday_calls(store: &dyn Store<Counter>) {
    let key = "everyday/key";
    let absent = store.put_if_absent(key, counter(1)).await.unwrap();
    assert_eq!(absent, None, "{key:?} was absent");
    let there = store.put_if_absent(key, counter(2)).await.unwrap();
    assert_eq!(there, Some(counter(1)), "what was there stays");
    // Smaller than what it replaces: a put wins over what is there, whatever a merge prefers.
    store.put(key, counter(0)).await.unwrap();
    let updated = store
        .update(key, |current| {
            counter(current.map_or(-100, |now| now.value) + 1)
        })
        .await
        .unwrap();
    assert_eq!(updated, counter(1));
    let refused = store.try_update(key, |_| Err("refused")).await.unwrap_err();
    assert_eq!(refused.to_string(), "refused");
    assert_eq!(store.get(key).await.unwrap(), Some(counter(1)));
}

pub(super) async fn a_live_map_follows(store: &dyn Store<Counter>) {
    for key in ["map/a", "map/b", "elsewhere/a"] {
        store.put(key, counter(1)).await.unwrap();
    }
    let map = store.watch_map("map/");
    map_is(&map, &picture([("map/a", 1), ("map/b", 1)])).await;
    store.put("map/c", counter(2)).await.unwrap();
    store.put("map/b", counter(3)).await.unwrap();
    store.delete("map/a").await.unwrap();
    map_is(&map, &picture([("map/b", 3), ("map/c", 2)])).await;
    assert_eq!(map.get("map/b").as_deref(), Some(&counter(3)));
    assert_eq!(map.check(), Ok(()));
}

/// Waits until these are the entries of the map.
pub(super) async fn map_is(map: &LiveMap<Counter>, wanted: &BTreeMap<String, i64>) {
    let same = |entries: &BTreeMap<String, Arc<Counter>>| {
        let have = entries.iter().map(|(key, value)| (key, value.value));
        have.eq(wanted.iter().map(|(key, value)| (key, *value)))
            .then_some(())
    };
    let became: Result<Result<(), MapEnded>, _> =
        tokio::time::timeout(DELIVERY, map.wait_for(same)).await;
    match became {
        Ok(Ok(())) => {}
        Ok(Err(ended)) => panic!("the map ended: {ended}"),
        Err(_) => panic!("the map is {:?}, not {wanted:?}", map.entries()),
    }
}
