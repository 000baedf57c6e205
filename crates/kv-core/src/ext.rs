//! [`StoreExt`]: the calls that everyday code wants, on top of the contract.

use crate::{CasOutcome, CasUpdate, LiveMap, Store, StoreError};

/// Everyday calls of a [`Store`], on top of [`Store::get`], [`Store::delete`] and [`Store::cas`].
///
/// ```
/// use kv_core::{InMemoryStore, Store, StoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = InMemoryStore::<u32>::default();
/// store.put("visits/home", 7).await?;
/// assert_eq!(store.put_if_absent("visits/home", 0).await?, Some(7));
///
/// // Nothing that others write at the same time is lost.
/// let visits = store.update("visits/home", |visits| visits.copied().unwrap_or(0) + 1).await?;
/// assert_eq!(visits, 8);
///
/// // With an error of your own, which leaves the key as it is.
/// let spent = store
///     .try_update("visits/home", |visits| visits.copied().unwrap_or(0).checked_sub(9).ok_or("too few"))
///     .await;
/// assert_eq!(spent.unwrap_err().to_string(), "too few");
///
/// // All entries below a prefix, kept up to date.
/// let visits = store.watch_map("visits/");
/// visits.synced().await?;
/// assert_eq!(visits.get("home").as_deref(), None);
/// assert_eq!(visits.get("visits/home").as_deref(), Some(&8));
/// # Ok(())
/// # }
/// ```
///
/// All futures are [`Send`] and may be dropped at any time, as those of the [`Store`]: a write whose
/// future was dropped may or may not take place. Conflicts with other writers are retried by the
/// store, within the bounds of its contract; [`StoreError::Conflict`] means that these were reached.
pub trait StoreExt<V: Send + 'static>: Store<V> {
    /// Stores `value` under `key`, whatever is there. A value that cannot be decoded is deleted first. If
    /// the new value depends on the old one, use [`StoreExt::update`].
    ///
    /// # Errors
    /// Those of [`Store::cas`].
    fn put(&self, key: &str, value: V) -> impl Future<Output = Result<(), StoreError>> + Send
    where
        V: Clone,
    {
        async move {
            let mut put = move |_: Option<&V>| CasUpdate::Put(value.clone());
            let outcome = match self.cas(key, &mut put).await {
                Err(StoreError::Decode { .. }) => {
                    self.delete(key).await?;
                    self.cas(key, &mut put).await
                }
                outcome => outcome,
            };
            outcome.map(drop)
        }
    }

    /// Stores `value` if `key` is absent. Returns the value that was there already: `None` if `value`
    /// has been stored.
    ///
    /// With gossip, two members that call this at the same time may both store their value, and the
    /// join of both remains.
    ///
    /// # Errors
    /// Those of [`Store::cas`].
    fn put_if_absent(
        &self,
        key: &str,
        value: V,
    ) -> impl Future<Output = Result<Option<V>, StoreError>> + Send
    where
        V: Clone,
    {
        async move {
            let mut put = move |current: Option<&V>| match current {
                Some(_) => CasUpdate::Keep,
                None => CasUpdate::Put(value.clone()),
            };
            match self.cas(key, &mut put).await? {
                CasOutcome::Kept(existing) => Ok(existing),
                CasOutcome::Stored(_) | CasOutcome::Deleted => Ok(None),
            }
        }
    }

    /// Stores what `update` makes of the current value (`None`: the key is absent), and returns it.
    /// `update` is called again with the newer value if another writer was faster, so it must not
    /// depend on being called once.
    ///
    /// # Errors
    /// Those of [`Store::cas`].
    fn update<F>(
        &self,
        key: &str,
        mut update: F,
    ) -> impl Future<Output = Result<V, StoreError>> + Send
    where
        F: FnMut(Option<&V>) -> V + Send,
    {
        async move {
            let mut put = |current: Option<&V>| CasUpdate::Put(update(current));
            stored(self.name(), key, self.cas(key, &mut put).await?)
        }
    }

    /// As [`StoreExt::update`]; an error of `update` leaves the key as it is and is returned as
    /// [`UpdateError::Refused`].
    ///
    /// # Errors
    /// Those of `update` and of [`Store::cas`].
    fn try_update<F, E>(
        &self,
        key: &str,
        mut update: F,
    ) -> impl Future<Output = Result<V, UpdateError<E>>> + Send
    where
        F: FnMut(Option<&V>) -> Result<V, E> + Send,
        E: Send,
    {
        async move {
            let mut refused = None;
            let mut put = |current: Option<&V>| match update(current) {
                Ok(value) => CasUpdate::Put(value),
                Err(error) => {
                    refused = Some(error);
                    CasUpdate::Abort("the update was refused".into())
                }
            };
            let outcome = self.cas(key, &mut put).await;
            match (outcome, refused) {
                (Ok(outcome), _) => Ok(stored(self.name(), key, outcome)?),
                (Err(StoreError::Aborted { .. }), Some(error)) => Err(UpdateError::Refused(error)),
                (Err(error), _) => Err(UpdateError::Store(error)),
            }
        }
    }

    /// The entries below `prefix` as a map that follows the store: see [`LiveMap`]. Its keys are
    /// complete, with the prefix. It holds [`LiveMap::DEFAULT_LIMIT`] keys at most.
    ///
    /// # Panics
    /// If it is not called in a tokio runtime.
    fn watch_map(&self, prefix: &str) -> LiveMap<V>
    where
        V: Sync,
    {
        LiveMap::follow(self.watch_prefix(prefix), LiveMap::<V>::DEFAULT_LIMIT)
    }
}

impl<V: Send + 'static, S: Store<V> + ?Sized> StoreExt<V> for S {}

/// The value of a compare-and-swap that puts.
fn stored<V>(store: &'static str, key: &str, outcome: CasOutcome<V>) -> Result<V, StoreError> {
    outcome.into_value().ok_or_else(|| StoreError::Unavailable {
        store,
        operation: "CAS",
        key: key.to_owned(),
        source: "the store breaks its contract: it was given a value, and stored none".into(),
    })
}

/// Why [`StoreExt::try_update`] stored nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The function refused the update.
    #[error("{0}")]
    Refused(E),
}

impl<E> UpdateError<E> {
    /// Whether the same call may succeed later: as [`StoreError::is_retryable`]. What the function
    /// refuses is not tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Refused(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::InMemoryStore;
    use crate::faults::{Faults, FaultyStore};

    fn is_send<T: Send>(future: T) -> T {
        future
    }

    #[tokio::test(start_paused = true)]
    async fn everyday_calls_work_on_any_store() {
        let faults = Arc::<Faults>::default();
        let inner = Arc::new(InMemoryStore::<u32>::default());
        let store: Arc<dyn Store<u32>> = Arc::new(FaultyStore::new(inner, Arc::clone(&faults)));
        assert_eq!(is_send(store.put_if_absent("a", 1)).await.unwrap(), None);
        assert_eq!(store.put_if_absent("a", 2).await.unwrap(), Some(1));
        is_send(store.put("a", 5)).await.unwrap();
        let more = |a: Option<&u32>| a.copied().unwrap_or(0) + 1;
        assert_eq!(is_send(store.update("a", more)).await.unwrap(), 6);
        assert_eq!(store.update("b", more).await.unwrap(), 1);

        let less = |a: Option<&u32>| a.copied().unwrap_or(0).checked_sub(1).ok_or("none left");
        assert_eq!(is_send(store.try_update("b", less)).await.unwrap(), 0);
        let refused = store.try_update("b", less).await.unwrap_err();
        assert!(
            matches!(refused, UpdateError::Refused("none left")),
            "{refused}"
        );
        assert!(!refused.is_retryable());
        assert_eq!(store.get("b").await.unwrap(), Some(0));

        faults.fail(true);
        let failed = store.try_update("b", less).await.unwrap_err();
        assert!(matches!(failed, UpdateError::Store(_)), "{failed}");
        assert!(failed.is_retryable());
        assert!(store.put("b", 1).await.unwrap_err().is_retryable());
    }
}
