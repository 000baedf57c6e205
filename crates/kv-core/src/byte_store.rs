//! Turns a store of bytes with versions into a [`Store`] of values: the part that all backends with
//! a server have in common.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{
    CasOutcome, CasUpdate, Codec, MAX_KEY, RetryPolicy, Store, StoreError, UpdateFn, WatchEvent,
    WatchScope, WatchStream, lock,
};

/// Why one attempt of a call failed.
#[derive(Debug)]
pub struct Failure {
    source: Box<dyn Error + Send + Sync>,
    kind: FailureKind,
}

#[derive(Debug, Clone, Copy)]
enum FailureKind {
    Transient,
    Permanent,
    InvalidKey(&'static str),
    InvalidValue,
}

impl Failure {
    /// It had no effect, and another attempt may succeed; for example, there was no connection or
    /// no leader.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: source.into(),
            kind: FailureKind::Transient,
        }
    }

    /// Another attempt would fail too, or would not be safe because this one may have taken effect.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: source.into(),
            kind: FailureKind::Permanent,
        }
    }

    /// The server refuses the value, which is too large, for example; it had no effect.
    pub fn invalid_value(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: source.into(),
            kind: FailureKind::InvalidValue,
        }
    }

    /// The server refuses the key, by this rule.
    pub fn invalid_key(reason: &'static str) -> Self {
        Self {
            source: reason.into(),
            kind: FailureKind::InvalidKey(reason),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// A server's key-value API, with one attempt per call: [`TypedStore`] adds codec, retries,
/// deadlines and errors.
///
/// [`TypedStore`] drops futures of these calls at any await, when their deadline expires or its
/// caller drops them: nothing may be left behind then, and a write happens completely or not at all.
#[async_trait]
pub trait ByteStore: Send + Sync + 'static {
    /// What a conditional write compares.
    type Version: Copy + Send + Sync;

    /// Short name of the backend, as [`Store::name`].
    fn name(&self) -> &'static str;

    /// The rule by which the server cannot store this key, if there is one. Keys that are empty or
    /// longer than [`MAX_KEY`] are refused before.
    fn refuses(&self, key: &str) -> Option<&'static str>;

    /// The newest value of a key and its version.
    async fn read(&self, key: &str) -> Result<Option<(Vec<u8>, Self::Version)>, Failure>;

    /// Writes a value, or removes it for `None`, if the key still has this version (`None`: if it
    /// is still absent). Returns whether it did.
    async fn write(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        version: Option<Self::Version>,
    ) -> Result<bool, Failure>;

    /// Removes a key, whatever its version; may be repeated safely.
    async fn remove(&self, key: &str) -> Result<(), Failure>;

    /// The keys below a prefix.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure>;

    /// Events with the stored bytes, never [`WatchEvent::Undecodable`]: see [`WatchEvent`] for their
    /// order. The stream reconnects by itself.
    fn watch(&self, scope: WatchScope) -> BoxStream<'static, WatchEvent<Vec<u8>>>;
}

/// A [`Store`] over a [`ByteStore`].
pub struct TypedStore<V, B> {
    bytes: B,
    codec: Arc<dyn Codec<V>>,
    policy: RetryPolicy,
}

/// State of a running call, for the error if its deadline expires.
#[derive(Default)]
struct Tries(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    conflicts: u32,
    failures: u32,
    last_failure: Option<String>,
}

impl Tries {
    /// The failures so far, this one included.
    fn count_failure(&self, failure: &Failure) -> u32 {
        let mut counts = lock(&self.0);
        counts.failures += 1;
        counts.last_failure = Some(failure.to_string());
        counts.failures
    }

    /// The conflicts so far, this one included.
    fn count_conflict(&self) -> u32 {
        let mut counts = lock(&self.0);
        counts.conflicts += 1;
        counts.conflicts
    }

    /// Attempts that did not succeed.
    fn spent(&self) -> u32 {
        let counts = lock(&self.0);
        counts.conflicts + counts.failures
    }

    fn timed_out(&self, deadline: Duration) -> String {
        match &lock(&self.0).last_failure {
            None => format!("no answer within {deadline:?}"),
            Some(failure) => format!("no success within {deadline:?}; last failure: {failure}"),
        }
    }
}

impl<V: 'static, B: ByteStore> TypedStore<V, B> {
    /// Values of `codec` in `bytes`.
    pub fn new(bytes: B, codec: impl Codec<V>, policy: RetryPolicy) -> Self {
        Self {
            bytes,
            codec: Arc::new(codec),
            policy,
        }
    }

    fn check(&self, key: &str) -> Result<(), StoreError> {
        if key.is_empty() {
            return Err(self.invalid(key, "it is empty"));
        }
        self.check_prefix(key)
    }

    fn check_prefix(&self, prefix: &str) -> Result<(), StoreError> {
        if prefix.len() > MAX_KEY {
            return Err(self.invalid(prefix, "it is longer than 16 KiB"));
        }
        match self.bytes.refuses(prefix) {
            Some(reason) => Err(self.invalid(prefix, reason)),
            None => Ok(()),
        }
    }

    fn invalid(&self, key: &str, reason: &'static str) -> StoreError {
        StoreError::InvalidKey {
            store: self.bytes.name(),
            key: key.to_owned(),
            reason,
        }
    }

    fn invalid_value(
        &self,
        key: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::InvalidValue {
            store: self.bytes.name(),
            key: key.to_owned(),
            source: source.into(),
        }
    }

    fn unavailable(
        &self,
        operation: &'static str,
        key: &str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Unavailable {
            store: self.bytes.name(),
            operation,
            key: key.to_owned(),
            source: source.into(),
        }
    }

    fn decode(&self, key: &str, bytes: &[u8]) -> Result<V, StoreError> {
        self.codec
            .decode(bytes)
            .map_err(|source| StoreError::Decode {
                store: self.bytes.name(),
                key: key.to_owned(),
                source,
            })
    }

    /// Runs `call`, which keeps its `tries` up to date, under the deadline of the policy.
    async fn bounded<T>(
        &self,
        operation: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
        tries: &Tries,
    ) -> Result<T, StoreError> {
        let deadline = self.policy.deadline;
        match tokio::time::timeout(deadline, call).await {
            Ok(result) => result,
            Err(_) => Err(self.unavailable(operation, key, tries.timed_out(deadline))),
        }
    }

    /// After a failed attempt: pauses, or ends the call.
    async fn after_failure(
        &self,
        operation: &'static str,
        key: &str,
        tries: &Tries,
        failure: Failure,
    ) -> Result<(), StoreError> {
        let failures = tries.count_failure(&failure);
        match failure.kind {
            FailureKind::InvalidKey(reason) => return Err(self.invalid(key, reason)),
            FailureKind::InvalidValue => return Err(self.invalid_value(key, failure.source)),
            FailureKind::Transient if tries.spent() < self.policy.attempts => {}
            _ => return Err(self.unavailable(operation, key, failure.source)),
        }
        tokio::time::sleep(self.policy.failure.pause(failures)).await;
        Ok(())
    }

    /// Makes attempts until one succeeds or the policy ends the call.
    async fn again<T, A>(
        &self,
        operation: &'static str,
        key: &str,
        tries: &Tries,
        attempt: impl Fn() -> A,
    ) -> Result<T, StoreError>
    where
        A: Future<Output = Result<T, Failure>>,
    {
        loop {
            match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.after_failure(operation, key, tries, failure).await?,
            }
        }
    }
}

impl<V: Send + 'static, B: ByteStore> TypedStore<V, B> {
    async fn swap(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
        tries: &Tries,
    ) -> Result<CasOutcome<V>, StoreError> {
        loop {
            let stored = self
                .again("CAS", key, tries, || self.bytes.read(key))
                .await?;
            let version = stored.as_ref().map(|(_, version)| *version);
            let (bytes, outcome) = {
                let current = match &stored {
                    Some((bytes, _)) => Some(self.decode(key, bytes)?),
                    None => None,
                };
                match update(current.as_ref()) {
                    CasUpdate::Keep => return Ok(CasOutcome::Kept(current)),
                    CasUpdate::Abort(source) => {
                        return Err(StoreError::Aborted {
                            store: self.bytes.name(),
                            key: key.to_owned(),
                            source,
                        });
                    }
                    CasUpdate::Delete if version.is_none() => return Ok(CasOutcome::Deleted),
                    CasUpdate::Delete => (None, CasOutcome::Deleted),
                    CasUpdate::Put(value) => {
                        let bytes = self.codec.encode(&value);
                        let bytes = bytes.map_err(|error| self.invalid_value(key, error))?;
                        (Some(bytes), CasOutcome::Stored(value))
                    }
                }
            };
            match self.bytes.write(key, bytes, version).await {
                Ok(true) => return Ok(outcome),
                Ok(false) => {
                    let conflicts = tries.count_conflict();
                    if tries.spent() >= self.policy.attempts {
                        return Err(StoreError::Conflict {
                            store: self.bytes.name(),
                            key: key.to_owned(),
                            attempts: tries.spent(),
                        });
                    }
                    tokio::time::sleep(self.policy.conflict.pause(conflicts)).await;
                }
                Err(failure) => self.after_failure("CAS", key, tries, failure).await?,
            }
        }
    }

    fn watch(&self, scope: WatchScope) -> WatchStream<V> {
        let (text, checked) = match &scope {
            WatchScope::Key(key) => (key, self.check(key)),
            WatchScope::Prefix(prefix) => (prefix, self.check_prefix(prefix)),
        };
        if let Err(error) = checked {
            tracing::error!(key = text, %error, "watch on an invalid key: this store cannot hold it");
            let synced = stream::once(async { WatchEvent::Synced });
            return Box::pin(synced.chain(stream::pending()));
        }
        let codec = Arc::clone(&self.codec);
        Box::pin(self.bytes.watch(scope).map(move |event| match event {
            WatchEvent::Put(key, bytes) => match codec.decode(&bytes) {
                Ok(value) => WatchEvent::Put(key, value),
                Err(error) => WatchEvent::Undecodable(key, error),
            },
            WatchEvent::Deleted(key) => WatchEvent::Deleted(key),
            WatchEvent::Undecodable(key, error) => WatchEvent::Undecodable(key, error),
            WatchEvent::Synced => WatchEvent::Synced,
        }))
    }
}

#[async_trait]
impl<V: Send + 'static, B: ByteStore> Store<V> for TypedStore<V, B> {
    fn name(&self) -> &'static str {
        self.bytes.name()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.check_prefix(prefix)?;
        let tries = Tries::default();
        let call = self.again("List", prefix, &tries, || self.bytes.list(prefix));
        self.bounded("List", prefix, call, &tries).await
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.check(key)?;
        let tries = Tries::default();
        let call = self.again("GET", key, &tries, || self.bytes.read(key));
        match self.bounded("GET", key, call, &tries).await? {
            Some((bytes, _)) => self.decode(key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.check(key)?;
        let tries = Tries::default();
        let call = self.again("Delete", key, &tries, || self.bytes.remove(key));
        self.bounded("Delete", key, call, &tries).await
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        self.check(key)?;
        let tries = Tries::default();
        self.bounded("CAS", key, self.swap(key, update, &tries), &tries)
            .await
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        self.watch(WatchScope::Key(key.to_owned()))
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        self.watch(WatchScope::Prefix(prefix.to_owned()))
    }
}
