//! Comparing the two stores.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use kv_core::{Store, Value, WatchEvent};
use rand::seq::SliceRandom;
use tokio::time::Instant;

use crate::change::covers;
use crate::comparison::{CompareError, Comparison, Difference, NAMED, Reason, SNAPSHOT_TIMEOUT};
use crate::roles::Route;

struct Snapshot<V> {
    values: HashMap<String, V>,
    undecodable: usize,
}

async fn snapshot<V: Send + 'static>(store: &dyn Store<V>) -> Result<Snapshot<V>, CompareError> {
    let mut watch = store.watch_prefix("");
    let mut snapshot = Snapshot {
        values: HashMap::new(),
        undecodable: 0,
    };
    let all = async {
        loop {
            match watch.next().await {
                Some(WatchEvent::Put(key, value)) => {
                    snapshot.values.insert(key, value);
                }
                Some(WatchEvent::Deleted(key)) => {
                    snapshot.values.remove(&key);
                }
                Some(WatchEvent::Undecodable(key, _)) => {
                    snapshot.values.remove(&key);
                    snapshot.undecodable += 1;
                }
                Some(WatchEvent::Synced) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    };
    let store = store.name();
    match tokio::time::timeout(SNAPSHOT_TIMEOUT, all).await {
        Ok(true) => Ok(snapshot),
        Ok(false) => Err(CompareError::ShutDown { store }),
        Err(_) => Err(CompareError::Silent { store }),
    }
}

async fn both<V: Send + 'static>(
    route: &Route<V>,
) -> Result<(Snapshot<V>, Snapshot<V>), CompareError> {
    futures::future::try_join(snapshot(&*route.primary), snapshot(&*route.secondary)).await
}

/// Keys of which `to` lacks something that `from` has.
fn lacking<V: Value>(from: &Snapshot<V>, to: &Snapshot<V>) -> HashMap<String, V> {
    from.values
        .iter()
        .filter(|(key, value)| !covers(to.values.get(*key), value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Compares twice if anything differs, `settle` apart.
pub(crate) async fn compare<V: Value>(
    route: &Route<V>,
    settle: Duration,
    generation: u64,
) -> Result<Arc<Comparison<V>>, CompareError> {
    for (store, usable) in [
        (&route.primary, &route.primary_usable),
        (&route.secondary, &route.secondary_usable),
    ] {
        if !usable.is_cancelled() {
            return Err(CompareError::NotReady {
                store: store.name(),
            });
        }
    }
    let begun = Instant::now();
    let (mut primary, mut secondary) = both(route).await?;
    let in_primary = lacking(&primary, &secondary);
    let in_secondary = lacking(&secondary, &primary);
    let mut differences = Vec::new();
    if !in_primary.is_empty() || !in_secondary.is_empty() {
        tokio::time::sleep(settle).await;
        (primary, secondary) = both(route).await?;
        let still = |was: HashMap<String, V>, has: &Snapshot<V>, lacks: &Snapshot<V>| {
            was.into_iter()
                .filter(|(key, value)| {
                    has.values.contains_key(key) && !covers(lacks.values.get(key), value)
                })
                .map(|(key, _)| key)
                .collect::<Vec<_>>()
        };
        for key in still(in_primary, &primary, &secondary) {
            let reason = if secondary.values.contains_key(&key) {
                Reason::Older
            } else {
                Reason::Missing
            };
            differences.push((key, reason));
        }
        for key in still(in_secondary, &secondary, &primary) {
            let reason = if primary.values.contains_key(&key) {
                Reason::Newer
            } else {
                Reason::Extra
            };
            differences.push((key, reason));
        }
    }
    let mut behind: Vec<(String, V)> = differences
        .iter()
        .filter(|(_, reason)| reason.is_behind())
        .filter_map(|(key, _)| Some((key.clone(), primary.values.get(key)?.clone())))
        .collect();
    behind.shuffle(&mut rand::rng());
    differences.sort_by(|a, b| a.0.cmp(&b.0));
    let mut counts = [0; 4];
    for (_, reason) in &differences {
        counts[*reason as usize] += 1;
    }
    Ok(Arc::new(Comparison {
        at: SystemTime::now(),
        took: begun.elapsed(),
        primary: route.primary.name(),
        secondary: route.secondary.name(),
        primary_keys: primary.values.len(),
        secondary_keys: secondary.values.len(),
        undecodable: primary.undecodable + secondary.undecodable,
        behind,
        differences: differences
            .into_iter()
            .take(NAMED)
            .map(|(key, reason)| Difference {
                primary: primary.values.get(&key).cloned(),
                secondary: secondary.values.get(&key).cloned(),
                key,
                reason,
            })
            .collect(),
        counts,
        generation,
        ended: Instant::now(),
    }))
}
