//! The [`Store`] trait, its outcomes and its errors.

use std::error::Error;

use async_trait::async_trait;

use crate::{CodecError, WatchStream};

/// Longest key of every backend, bytes. Servers limit their requests in other ways; this is below
/// all of these limits. The in-memory store has no such limit.
pub const MAX_KEY: usize = 16 << 10;

/// A compare-and-swap function: it gets the current value (`None` if the key is absent) and returns
/// the update.
pub type UpdateFn<'a, V> = dyn FnMut(Option<&V>) -> CasUpdate<V> + Send + 'a;

/// The result of a compare-and-swap function.
#[derive(Debug)]
pub enum CasUpdate<V> {
    /// Leave the key as it is; the call succeeds.
    Keep,
    /// Store this value if the key has not changed since it was read.
    Put(V),
    /// Remove the key if it has not changed since it was read.
    Delete,
    /// Leave the key as it is; the call fails with [`StoreError::Aborted`].
    Abort(Box<dyn Error + Send + Sync>),
}

/// The result of a successful compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CasOutcome<V> {
    /// This call stored the value.
    Stored(V),
    /// This call removed the key (or found it absent).
    Deleted,
    /// The function kept the current value; `None` if the key is absent.
    Kept(Option<V>),
}

impl<V> CasOutcome<V> {
    /// What is now stored under the key.
    pub fn into_value(self) -> Option<V> {
        match self {
            CasOutcome::Stored(value) => Some(value),
            CasOutcome::Kept(value) => value,
            CasOutcome::Deleted => None,
        }
    }
}

/// Why a call of a store failed.
///
/// Every variant names the store and the key, so that the text tells an operator what failed.
/// [`StoreError::is_retryable`] says whether a retry can succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached or did not answer in time; the same call may succeed later.
    #[error("{store}: {operation} {key:?}: {source}")]
    Unavailable {
        /// Name of the store, such as `etcd`.
        store: &'static str,
        /// What was tried, such as `CAS`.
        operation: &'static str,
        /// The key or prefix.
        key: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store cannot hold this key; it was refused before anything was sent.
    #[error("{store}: cannot hold the key {key:?}: {reason}")]
    InvalidKey {
        /// Name of the store.
        store: &'static str,
        /// The refused key.
        key: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// The store cannot hold this value: it is too large, or its codec cannot represent it.
    #[error("{store}: cannot hold the value for {key:?}: {source}")]
    InvalidValue {
        /// Name of the store.
        store: &'static str,
        /// The key.
        key: String,
        /// What is wrong with the value.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The stored bytes are not a value of the expected type.
    #[error("{store}: the value of {key:?} cannot be decoded: {source}")]
    Decode {
        /// Name of the store.
        store: &'static str,
        /// The key.
        key: String,
        /// What is wrong with the bytes.
        source: CodecError,
    },
    /// Another writer changed the key at each attempt.
    #[error("{store}: CAS {key:?}: gave up after {attempts} conflicting writes by other writers")]
    Conflict {
        /// Name of the store.
        store: &'static str,
        /// The key.
        key: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The compare-and-swap function returned [`CasUpdate::Abort`].
    #[error("{store}: CAS {key:?} was aborted: {source}")]
    Aborted {
        /// Name of the store.
        store: &'static str,
        /// The key.
        key: String,
        /// The error of the function.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// Name of the store, such as `etcd`.
    pub fn store(&self) -> &'static str {
        match self {
            Self::Unavailable { store, .. }
            | Self::InvalidKey { store, .. }
            | Self::InvalidValue { store, .. }
            | Self::Decode { store, .. }
            | Self::Conflict { store, .. }
            | Self::Aborted { store, .. } => store,
        }
    }

    /// The key or prefix that the call was about.
    pub fn key(&self) -> &str {
        match self {
            Self::Unavailable { key, .. }
            | Self::InvalidKey { key, .. }
            | Self::InvalidValue { key, .. }
            | Self::Decode { key, .. }
            | Self::Conflict { key, .. }
            | Self::Aborted { key, .. } => key,
        }
    }

    /// Whether the same call may succeed later, without a change of key, value or program. After
    /// [`StoreError::Unavailable`] a write may have taken place.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. })
    }
}

/// A key-value store of values of type `V`.
///
/// # Contract
///
/// - **Keys** are arbitrary UTF-8. A store keeps a key byte for byte or refuses it with
///   [`StoreError::InvalidKey`]; it never maps two keys to one.
/// - **CAS** never overwrites a value that its function has not seen. On conflict it reads the key
///   again and calls the function again, with jittered delays and a bounded number of attempts. If
///   the key was deleted in between, the function gets `None`, not the old value. A store whose
///   writers do not wait for each other (gossip) joins values of writes at the same time
///   ([`Mergeable`](crate::Mergeable)) instead of letting one of them fail.
/// - **Watches** begin with the entries that exist at the time of the call and lose nothing when
///   they reconnect; see [`crate::WatchEvent`]. They end only when the store is shut down.
/// - **Deadlines**: every call has one, set by the store; no call hangs forever.
/// - **Cancellation**: all futures and streams are [`Send`], and may be dropped at any time. A write
///   whose future was dropped may or may not take place, at once or a moment later; it does not take
///   place twice, and nothing is left behind in the program: no task, lock or connection. To drop a
///   watch ends it. Between two events it loses nothing: `next` of a stream is cancel safe.
///
/// Everyday calls on top of this are in [`StoreExt`](crate::StoreExt). A backend of your own is
/// simplest as a [`ByteStore`](crate::ByteStore), and is checked by `kv_core::conformance`.
#[async_trait]
pub trait Store<V: Send + 'static>: Send + Sync + 'static {
    /// Short name of the backend, such as `inmemory`; the `type` label of metrics.
    fn name(&self) -> &'static str;

    /// The keys that begin with `prefix`, in no particular order.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// The value of `key`, `None` if it is absent.
    async fn get(&self, key: &str) -> Result<Option<V>, StoreError>;

    /// Removes `key`; removing an absent key succeeds.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Changes `key` as `update` returns, unless it is changed in the meantime. `update` can be
    /// called several times, each time with a newly read value, and must not depend on being called
    /// once.
    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError>;

    /// Events of one key.
    fn watch_key(&self, key: &str) -> WatchStream<V>;

    /// Events of all keys that begin with `prefix`.
    fn watch_prefix(&self, prefix: &str) -> WatchStream<V>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_it_was_and_whether_to_try_again() {
        let (store, key) = ("etcd", "a/b".to_owned());
        let unavailable = StoreError::Unavailable {
            store,
            operation: "CAS",
            key: key.clone(),
            source: "timeout".into(),
        };
        let conflict = StoreError::Conflict {
            store,
            key: key.clone(),
            attempts: 3,
        };
        let invalid = StoreError::InvalidKey {
            store,
            key: key.clone(),
            reason: "too long",
        };
        let value = StoreError::InvalidValue {
            store,
            key: key.clone(),
            source: "too large".into(),
        };
        let aborted = StoreError::Aborted {
            store,
            key,
            source: "no".into(),
        };
        for (error, is_retryable) in [
            (unavailable, true),
            (conflict, true),
            (invalid, false),
            (value, false),
            (aborted, false),
        ] {
            assert_eq!((error.store(), error.key()), ("etcd", "a/b"));
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
        }
    }
}
