//! A store below a prefix of another store.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;

use crate::{CasOutcome, Store, StoreError, UpdateFn, WatchEvent, WatchStream};

/// Adds a prefix to every key of a call and removes it from every key of an answer.
pub struct PrefixStore<V> {
    inner: Arc<dyn Store<V>>,
    prefix: String,
}

impl<V: Send + 'static> PrefixStore<V> {
    /// The part of `inner` below `prefix`, such as `ha-tracker/`. An empty prefix is allowed.
    pub fn new(inner: Arc<dyn Store<V>>, prefix: impl Into<String>) -> Self {
        Self {
            inner,
            prefix: prefix.into(),
        }
    }

    fn key(&self, key: &str) -> String {
        [self.prefix.as_str(), key].concat()
    }

    fn strip(&self, events: WatchStream<V>) -> WatchStream<V> {
        let skip = self.prefix.len();
        Box::pin(events.map(move |event| match event {
            WatchEvent::Put(key, value) => WatchEvent::Put(without(skip, key), value),
            WatchEvent::Deleted(key) => WatchEvent::Deleted(without(skip, key)),
            WatchEvent::Undecodable(key, error) => {
                WatchEvent::Undecodable(without(skip, key), error)
            }
            WatchEvent::Synced => WatchEvent::Synced,
        }))
    }
}

fn without(prefix_len: usize, mut key: String) -> String {
    if key.is_char_boundary(prefix_len) {
        key.drain(..prefix_len);
    }
    key
}

#[async_trait]
impl<V: Send + 'static> Store<V> for PrefixStore<V> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let keys = self.inner.list(&self.key(prefix)).await?;
        Ok(keys
            .into_iter()
            .map(|key| without(self.prefix.len(), key))
            .collect())
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.inner.get(&self.key(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(&self.key(key)).await
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        self.inner.cas(&self.key(key), update).await
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        self.strip(self.inner.watch_key(&self.key(key)))
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        self.strip(self.inner.watch_prefix(&self.key(prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CasUpdate, InMemoryStore};

    #[tokio::test]
    async fn keys_are_prefixed_inside_and_bare_outside() {
        let whole = InMemoryStore::<u32>::default();
        let below = PrefixStore::new(Arc::new(whole.clone()), "ha-tracker/");
        below
            .cas("t1/c1", &mut |_| CasUpdate::Put(7))
            .await
            .unwrap();
        whole
            .cas("other/c1", &mut |_| CasUpdate::Put(8))
            .await
            .unwrap();
        assert_eq!(whole.get("ha-tracker/t1/c1").await.unwrap(), Some(7));
        assert_eq!(below.list("").await.unwrap(), ["t1/c1"]);
        let events: Vec<_> = below
            .watch_prefix("")
            .take(2)
            .map(|e| format!("{e:?}"))
            .collect()
            .await;
        assert_eq!(events, ["Put(\"t1/c1\", 7)", "Synced"]);
    }
}
