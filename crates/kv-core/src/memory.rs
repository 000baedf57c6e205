//! A store for one process and for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::{
    CasOutcome, CasUpdate, Store, StoreError, UpdateFn, WatchHub, WatchScope, WatchStream, lock,
};

const NAME: &str = "inmemory";

/// Keeps values in this process's memory. Clones share their content; instances made by
/// [`InMemoryStore::default`] are independent.
#[derive(Debug)]
pub struct InMemoryStore<V> {
    inner: Arc<Inner<V>>,
}

#[derive(Debug)]
struct Inner<V> {
    /// Held while changes are published: locked before the locks of the hub.
    values: Mutex<BTreeMap<String, V>>,
    hub: WatchHub<V>,
}

impl<V> Clone for InMemoryStore<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<V> Default for InMemoryStore<V> {
    fn default() -> Self {
        let inner = Inner {
            values: Mutex::new(BTreeMap::new()),
            hub: WatchHub::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl<V: Clone + Send + 'static> InMemoryStore<V> {
    fn watch(&self, scope: WatchScope) -> WatchStream<V> {
        let values = lock(&self.inner.values);
        let initial: Vec<(String, V)> = values
            .iter()
            .filter(|(key, _)| scope.covers(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        // Still under the lock, so that no change is missed between the snapshot and the
        // subscription.
        self.inner.hub.subscribe(scope, initial)
    }
}

#[async_trait]
impl<V: Clone + Send + Sync + 'static> Store<V> for InMemoryStore<V> {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let values = lock(&self.inner.values);
        let from = values.range::<str, _>((
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        ));
        Ok(from
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .cloned()
            .collect())
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        Ok(lock(&self.inner.values).get(key).cloned())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let mut values = lock(&self.inner.values);
        if values.remove(key).is_some() {
            self.inner.hub.publish(key, None);
        }
        Ok(())
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        let mut values = lock(&self.inner.values);
        let current = values.get(key);
        match update(current) {
            CasUpdate::Keep => Ok(CasOutcome::Kept(current.cloned())),
            CasUpdate::Abort(source) => Err(StoreError::Aborted {
                store: NAME,
                key: key.to_owned(),
                source,
            }),
            CasUpdate::Delete => {
                if values.remove(key).is_some() {
                    self.inner.hub.publish(key, None);
                }
                Ok(CasOutcome::Deleted)
            }
            CasUpdate::Put(value) => {
                values.insert(key.to_owned(), value.clone());
                self.inner.hub.publish(key, Some(&value));
                Ok(CasOutcome::Stored(value))
            }
        }
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        self.watch(WatchScope::Key(key.to_owned()))
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        self.watch(WatchScope::Prefix(prefix.to_owned()))
    }
}
