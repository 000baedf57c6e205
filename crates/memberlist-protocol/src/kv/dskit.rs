//! The rules of dskit's members: a codec for each kind of value, and deletions of keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::codec::{BadValue, Codec, Origin};
use super::pair::KeyValuePair;
use super::store::{
    Change, Entry, Incoming, Merged, Rejection, Rules, Store, StoreLimits, Stored, Told,
};

/// How long dskit's members remember what was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// A deleted key, so that members that have it hear of it: dskit's `obsolete_entries_timeout`.
    pub keys: Duration,
    /// Deleted parts of a value: dskit's `left_ingesters_timeout`.
    pub parts: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keys: Duration::from_secs(30),
            parts: Duration::from_secs(300),
        }
    }
}

/// dskit's rules. A key that was deleted is not revived: it goes with the sweep, and may come then.
pub struct Dskit {
    codecs: HashMap<Arc<str>, Arc<dyn Codec>>,
    retention: Retention,
}

/// Why a write from here was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The key has changed since it was read: read it and try again, at most some ten times.
    #[error("the key has changed meanwhile")]
    Changed,
    /// The value does not win over the one that is stored: dskit tries again after a second.
    #[error("the merge has changed nothing")]
    Unchanged,
    /// The write cannot be made.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

/// What a merge makes of an entry.
struct Next {
    value: Bytes,
    change: Bytes,
    contents: Vec<String>,
}

impl Next {
    /// The merge of a value into a stored one; `None` if it changes nothing.
    fn of(
        codec: &dyn Codec,
        stored: &Bytes,
        incoming: &Bytes,
        origin: Origin,
    ) -> Result<Option<Self>, BadValue> {
        let Some(merged) = codec.merge(stored, incoming, origin)? else {
            return Ok(None);
        };
        let contents = codec.contents(&merged.change)?;
        let next = Self {
            value: merged.value,
            change: merged.change,
            contents,
        };
        Ok(Some(next).filter(|next| !next.contents.is_empty()))
    }

    /// A value of which all is new.
    fn whole(codec: &dyn Codec, value: &Bytes) -> Result<Self, BadValue> {
        Ok(Self {
            contents: codec.contents(value)?,
            value: value.clone(),
            change: value.clone(),
        })
    }

    /// Without the parts that were deleted long ago.
    fn swept(mut self, codec: &dyn Codec, before_ms: i64) -> Result<Self, BadValue> {
        if let Some(swept) = codec.sweep(&self.value, before_ms) {
            self.value = swept;
        }
        if let Some(swept) = codec.sweep(&self.change, before_ms) {
            self.contents = codec.contents(&swept)?;
            self.change = swept;
        }
        Ok(self)
    }

    /// With the rest of the pair. What has changed may be nothing but old deleted parts: those are
    /// not sent.
    fn merged(self, mut pair: KeyValuePair) -> Merged {
        pair.value = self.change;
        let told = (!self.contents.is_empty()).then(|| Told {
            bytes: pair.to_bytes(),
            contents: self.contents,
        });
        pair.value = self.value;
        Merged {
            stored: Stored {
                bytes: pair.to_bytes(),
                deleted: pair.deleted,
                update_time_ms: pair.update_time_ms,
            },
            told,
        }
    }
}

impl Dskit {
    /// No codecs.
    pub fn new(retention: Retention) -> Self {
        Self {
            codecs: HashMap::new(),
            retention,
        }
    }

    /// Parts that were deleted before are swept.
    fn parts_before(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(millis(self.retention.parts))
    }

    /// A key that is not known. One that was deleted is not taken: it may have been swept here.
    fn insert(
        &self,
        codec: &dyn Codec,
        mut pair: KeyValuePair,
        now_ms: i64,
    ) -> Result<Option<Merged>, Rejection> {
        if pair.deleted {
            return Ok(None);
        }
        // What cannot be read must not get in: it could never be merged.
        let next = Next::whole(codec, &pair.value)
            .and_then(|next| next.swept(codec, self.parts_before(now_ms)))
            .map_err(|problem| Rejection::BadValue {
                key: pair.key.clone(),
                problem,
            })?;
        pair.update_time_ms = 0;
        let merged = next.merged(pair);
        Ok(merged.told.is_some().then_some(merged))
    }
}

impl Rules for Dskit {
    /// The value by its codec; a deletion if it is newer, and of a known key.
    fn merge(
        &mut self,
        stored: Option<&Entry>,
        incoming: Incoming,
        now_ms: i64,
    ) -> Result<Option<Merged>, Rejection> {
        let Incoming { pair, origin, .. } = incoming;
        let Some(codec) = self.codecs.get(&*pair.codec).map(Arc::clone) else {
            return Err(Rejection::UnknownCodec(pair.codec));
        };
        let Some(stored) = stored.map(Entry::pair) else {
            return self.insert(&*codec, pair, now_ms);
        };
        if stored.codec != pair.codec {
            return Err(Rejection::OtherCodec {
                key: pair.key,
                theirs: pair.codec,
                ours: stored.codec,
            });
        }
        let bad = |problem| Rejection::BadValue {
            key: pair.key.clone(),
            problem,
        };
        let changed = Next::of(&*codec, &stored.value, &pair.value, origin).map_err(bad)?;
        let becomes_deleted = pair.deleted && pair.update_time_ms > stored.update_time_ms;
        if changed.is_none() && (!becomes_deleted || stored.deleted) {
            return Ok(None);
        }
        // A deletion alone is sent with all of the value.
        let next = match changed {
            Some(next) => next,
            None => Next::whole(&*codec, &stored.value).map_err(bad)?,
        };
        let next = next
            .swept(&*codec, self.parts_before(now_ms))
            .map_err(bad)?;
        let mut now = stored;
        if becomes_deleted && !next.contents.is_empty() {
            now.deleted = true;
            now.update_time_ms = pair.update_time_ms;
        }
        Ok(Some(next.merged(now)))
    }
}

impl Store<Dskit> {
    /// An empty store with dskit's rules.
    pub fn of_dskit(retention: Retention, limits: StoreLimits) -> Self {
        Self::new(Dskit::new(retention), limits)
    }

    /// Keeps values of this codec from now on. Register all before joining: pairs of others are passed
    /// over and not relayed.
    pub fn register(&mut self, name: &str, codec: Arc<dyn Codec>) {
        self.rules.codecs.insert(name.into(), codec);
    }

    /// Writes a value that was made from the one of `version`, 0 if there was none.
    ///
    /// # Errors
    /// When the key has changed since, the merge changes nothing, or the write cannot be made.
    pub fn write(
        &mut self,
        key: &str,
        codec: &str,
        value: Bytes,
        version: u64,
        now_ms: i64,
    ) -> Result<Change, WriteError> {
        let stored = self.get(key).map_or(0, Entry::version);
        if version != stored && version > 0 {
            return Err(WriteError::Changed);
        }
        let origin = if version > 0 {
            Origin::Local
        } else {
            Origin::Member
        };
        let pair = KeyValuePair {
            key: key.to_owned(),
            value,
            codec: codec.to_owned(),
            ..KeyValuePair::default()
        };
        self.merge(local(pair, origin), now_ms)?
            .ok_or(WriteError::Unchanged)
    }

    /// Deletes a key; `None` when it is not there or deleted already.
    ///
    /// # Errors
    /// When its value cannot be read.
    pub fn delete(&mut self, key: &str, now_ms: i64) -> Result<Option<Change>, Rejection> {
        let Some(entry) = self.get(key).filter(|entry| !entry.is_deleted()) else {
            return Ok(None);
        };
        let pair = KeyValuePair {
            deleted: true,
            update_time_ms: now_ms,
            ..entry.pair()
        };
        self.merge(local(pair, Origin::Member), now_ms)
    }

    /// Removes the keys that were deleted long ago, and returns them. Other members do the same by
    /// themselves: nothing is sent.
    pub fn sweep(&mut self, now_ms: i64) -> Vec<String> {
        let before = now_ms.saturating_sub(millis(self.rules.retention.keys));
        let is_old = |entry: &Entry| entry.is_deleted() && entry.update_time_ms() < before;
        let old = self.list("").filter(|(_, entry)| is_old(entry));
        let old: Vec<String> = old.map(|(key, _)| key.to_owned()).collect();
        for key in &old {
            self.forget(key);
        }
        old
    }
}

fn local(pair: KeyValuePair, origin: Origin) -> Incoming {
    Incoming {
        bytes: Bytes::new(),
        pair,
        origin,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
