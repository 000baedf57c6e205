//! Comparing the two stores.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use kv_core::{Store, Value, WatchEvent};
use tokio::time::Instant;

use crate::change::covers;
use crate::roles::Route;

/// How long a store may take to show all that it has.
const SNAPSHOT: Duration = Duration::from_secs(10);

/// Differences that a [`Comparison`] names; it counts all.
const NAMED: usize = 100;

/// What is wrong with the secondary's value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The secondary has none.
    Missing,
    /// The primary's is newer.
    Older,
    /// The secondary's is newer: another process has written it, and did not get to mirror it.
    Newer,
    /// The primary has none.
    Extra,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Older, Self::Newer, Self::Extra];

    /// The label in metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Older => "older",
            Self::Newer => "newer",
            Self::Extra => "extra",
        }
    }

    /// Whether the secondary lacks something.
    pub fn is_behind(self) -> bool {
        matches!(self, Self::Missing | Self::Older)
    }
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<V> {
    /// The key.
    pub key: String,
    /// How it differs.
    pub reason: Reason,
    /// The primary's value.
    pub primary: Option<V>,
    /// The secondary's value.
    pub secondary: Option<V>,
}

/// What a comparison of the two stores found. A difference is something that one store had, and the
/// other still lacked a while later ([`MultiConfig::settle`](crate::MultiConfig::settle)).
#[derive(Debug, Clone)]
pub struct Comparison<V> {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Name of the store that was the primary.
    pub primary: &'static str,
    /// Name of the other.
    pub secondary: &'static str,
    /// Keys in the primary.
    pub primary_keys: usize,
    /// Keys in the secondary.
    pub secondary_keys: usize,
    /// Values that could not be decoded, in either store. There the key counts as absent.
    pub undecodable: usize,
    /// At most 100 of the differences, in the order of the keys.
    pub differences: Vec<Difference<V>>,
    counts: [usize; 4],
    /// All keys that the secondary lacks or has older, with the primary's values, in another order in
    /// each process, so that several that copy do not all copy the same.
    pub(crate) behind: Vec<(String, V)>,
    pub(crate) generation: u64,
    pub(crate) ended: Instant,
}

impl<V> Comparison<V> {
    /// Keys that differ in this way.
    pub fn count(&self, reason: Reason) -> usize {
        self.counts[reason as usize]
    }

    /// Keys of which the secondary lacks something: a switch to it now would lose that.
    pub fn behind(&self) -> usize {
        self.behind.len()
    }
}

/// Why the stores could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// A store does not answer.
    #[error("{store} did not show what it has within {} s", SNAPSHOT.as_secs())]
    Silent {
        /// Its name.
        store: &'static str,
    },
    /// A store cannot be used yet.
    #[error("{store} is not ready yet")]
    NotReady {
        /// Its name.
        store: &'static str,
    },
    /// A store's watch ended.
    #[error("{store} is shut down")]
    ShutDown {
        /// Its name.
        store: &'static str,
    },
    /// Primary and secondary changed meanwhile.
    #[error("primary and secondary were switched during the comparison")]
    Switched,
}

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
                None => return false,
            }
        }
    };
    let store = store.name();
    match tokio::time::timeout(SNAPSHOT, all).await {
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
            let reason = match secondary.values.contains_key(&key) {
                true => Reason::Older,
                false => Reason::Missing,
            };
            differences.push((key, reason));
        }
        for key in still(in_secondary, &secondary, &primary) {
            let reason = match primary.values.contains_key(&key) {
                true => Reason::Newer,
                false => Reason::Extra,
            };
            differences.push((key, reason));
        }
    }
    // As they came, which is the random order of a hash map.
    let behind = differences
        .iter()
        .filter(|(_, reason): &&(String, Reason)| reason.is_behind())
        .filter_map(|(key, _)| Some((key.clone(), primary.values.get(key)?.clone())))
        .collect();
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
