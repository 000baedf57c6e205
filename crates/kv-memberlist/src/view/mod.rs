//! The merged view: the entries of all members in one map.

pub(crate) mod entry;
mod slots;
mod sweep;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kv_core::{
    CasOutcome, CasUpdate, Codec, CodecError, Mergeable, UpdateFn, Value, WatchHub, WatchScope,
    WatchStream, lock,
};
use tokio::sync::Notify;

use self::entry::{BadEntry, Entry, EntryText, MAX_TEXT};
pub(crate) use self::slots::OwnCopy;
use self::slots::{Slot, Slots, Writer, Written};
pub(crate) use self::sweep::{Holder, Sweep, Swept};
use crate::engine::Sender;
use crate::metrics::{Key, Metrics};
use crate::status::EntryInfo;

/// The view of one member. Entries and the events for watchers change under one lock.
pub(crate) struct View<V> {
    /// Lock order: the engine's lock first, then this one. The engine calls [`View::apply`] and the
    /// closures of [`crate::engine::Engine`] under its own lock, so nothing may call the engine
    /// while this is held. A panic while it is held can only come from the update function of a
    /// compare-and-swap, which runs before anything is changed.
    slots: Mutex<Slots<V>>,
    hub: WatchHub<V>,
    codec: Arc<dyn Codec<V>>,
    metrics: Metrics,
    /// Wakes the task that publishes.
    to_publish: Notify,
}

/// News from another member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// What the key holds now.
    pub(crate) now: EntryText,
    /// When it was written, by the writer's clock, unix milliseconds; not all members tell.
    pub(crate) written_ms: Option<i64>,
}

/// Why a compare-and-swap stored nothing.
pub(crate) enum CasRefused {
    Aborted(Box<dyn std::error::Error + Send + Sync>),
    /// The text of the entry would be too large; its size in bytes.
    TooLarge(usize),
    /// The codec cannot represent the value.
    Codec(CodecError),
}

/// A store's raw value, as admin pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    /// What is known of the key.
    pub info: EntryInfo,
    /// The encoded value; empty if deleted.
    pub bytes: Vec<u8>,
}

impl<V: Value> View<V> {
    pub(crate) fn new(codec: Arc<dyn Codec<V>>, metrics: Metrics) -> Self {
        Self {
            slots: Mutex::default(),
            hub: WatchHub::default(),
            codec,
            metrics,
            to_publish: Notify::new(),
        }
    }

    /// Merges a copy that another member publishes; returns the new state if that changed the view.
    pub(crate) fn apply(
        &self,
        key: &str,
        text: &str,
        from: Sender,
    ) -> Result<Option<Applied>, BadEntry> {
        let mut theirs = Entry::decode(text, &*self.codec)?;
        let written_ms = (theirs.updated_ms != 0).then_some(theirs.updated_ms);
        if written_ms.is_none() {
            theirs.updated_ms = crate::clock::now_ms();
        }
        let mut slots = lock(&self.slots);
        let merged = match slots.get(key) {
            None => theirs,
            Some(slot) => match joined(&slot.entry, &theirs, from) {
                Some(joined) => joined,
                None => return Ok(None),
            },
        };
        let is_live = merged.visible().is_some();
        let text = self.write(&mut slots, key, merged, Writer::Other)?;
        let key = key.to_owned();
        let now = EntryText { key, text, is_live };
        Ok(Some(Applied { now, written_ms }))
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        lock(&self.slots).get(key)?.entry.visible().cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<String> {
        let slots = lock(&self.slots);
        slots
            .below(prefix)
            .filter(|(_, slot)| slot.is_live)
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(crate) fn watch(&self, scope: WatchScope) -> WatchStream<V> {
        let slots = lock(&self.slots);
        let initial: Vec<(String, V)> = slots
            .by_key
            .iter()
            .filter(|(key, _)| scope.covers(key))
            .filter_map(|(key, slot)| Some((key.clone(), slot.entry.visible()?.clone())))
            .collect();
        // Still under the lock, so that no change is missed between the snapshot and the
        // subscription.
        self.hub.subscribe(scope, initial)
    }

    pub(crate) fn cas(
        &self,
        key: &str,
        now_ms: i64,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, CasRefused> {
        let mut slots = lock(&self.slots);
        let seen = slots.get(key).map(|slot| &slot.entry);
        let current = seen.and_then(Entry::visible);
        let (value, outcome) = match update(current) {
            CasUpdate::Keep => return Ok(CasOutcome::Kept(current.cloned())),
            CasUpdate::Abort(source) => return Err(CasRefused::Aborted(source)),
            CasUpdate::Delete if current.is_none() => return Ok(CasOutcome::Deleted),
            CasUpdate::Delete => (None, CasOutcome::Deleted),
            CasUpdate::Put(value) => (Some(value.clone()), CasOutcome::Stored(value)),
        };
        let next = match (seen, value) {
            (Some(seen), value) => seen.followed_by(value, now_ms),
            (None, Some(value)) => Entry::new(value, now_ms),
            (None, None) => return Ok(outcome),
        };
        let encoded = next.encode(&*self.codec).map_err(CasRefused::Codec)?;
        if key.len() + encoded.text.len() > MAX_TEXT {
            return Err(CasRefused::TooLarge(encoded.text.len()));
        }
        self.write_encoded(
            &mut slots,
            Written {
                key,
                entry: next,
                encoded: &encoded,
                writer: Writer::Own,
            },
        );
        slots.dirty.insert(key.to_owned());
        drop(slots);
        self.to_publish.notify_one();
        Ok(outcome)
    }

    fn write(
        &self,
        slots: &mut Slots<V>,
        key: &str,
        entry: Entry<V>,
        writer: Writer,
    ) -> Result<String, CodecError> {
        let encoded = entry.encode(&*self.codec)?;
        let written = Written {
            key,
            entry,
            encoded: &encoded,
            writer,
        };
        self.write_encoded(slots, written);
        Ok(encoded.text)
    }

    /// Stores the entry under its key, and notifies watchers.
    fn write_encoded(&self, slots: &mut Slots<V>, written: Written<'_, V>) {
        let key = written.key;
        if slots.write(written) {
            let value = slots.get(key).and_then(|slot| slot.entry.visible());
            self.hub.publish(key, value);
        }
        self.count(slots);
    }

    fn count(&self, slots: &Slots<V>) {
        self.metrics.keys.set(slots.live() as i64);
        let of_codec = Key {
            key: self.codec.id(),
        };
        drop(self.metrics.tombstones_removed.get_or_create(&of_codec));
        let tombstones = self.metrics.tombstones.get_or_create(&of_codec);
        tombstones.set(slots.tombstones() as i64);
    }

    /// Waits until there is something to publish.
    pub(crate) async fn to_publish(&self) {
        self.to_publish.notified().await;
    }

    /// The entries that this member must publish and has not published yet.
    pub(crate) fn take_dirty(&self) -> Vec<EntryText> {
        lock(&self.slots).take_dirty(&*self.codec)
    }

    /// Marks all entries of this member to be published again, for an engine that restarts empty.
    pub(crate) fn publish_all_again(&self) {
        lock(&self.slots).publish_all_again();
        self.to_publish.notify_one();
    }

    /// All entries are to be published by this member, whether it did so before or not.
    pub(crate) fn publish_everything(&self) {
        lock(&self.slots).publish_everything();
        self.to_publish.notify_one();
    }

    /// Copies of this member that were superseded at least `grace` ago, with the fingerprint of the
    /// newer entry; the caller must call [`View::dropped_own`] or [`View::still_superseded`] for
    /// each.
    pub(crate) fn long_superseded(&self, grace: Duration) -> Vec<OwnCopy> {
        lock(&self.slots).long_superseded(grace)
    }

    /// This member no longer publishes a copy of these keys; a newer one may wait to be published.
    pub(crate) fn dropped_own(&self, keys: &[String]) {
        lock(&self.slots).dropped_own(keys);
        self.metrics.superseded.inc_by(keys.len() as u64);
    }

    /// Those of these copies that this member still publishes and has unchanged.
    pub(crate) fn still_own(&self, copies: Vec<OwnCopy>) -> Vec<OwnCopy> {
        let slots = lock(&self.slots);
        let is_own = |copy: &OwnCopy| slots.is_own(copy);
        copies.into_iter().filter(is_own).collect()
    }

    /// Returns these keys again after another grace period.
    pub(crate) fn still_superseded(&self, keys: Vec<String>) {
        lock(&self.slots).still_superseded(keys);
    }

    /// Removes tombstones of at least this age; returns their keys.
    pub(crate) fn expire_tombstones(&self, age: Duration) -> Vec<String> {
        let mut slots = lock(&self.slots);
        let expired = slots.expire_tombstones(age);
        self.count(&slots);
        let of_codec = Key {
            key: self.codec.id(),
        };
        let removed = self.metrics.tombstones_removed.get_or_create(&of_codec);
        removed.inc_by(expired.len() as u64);
        expired
    }

    /// Begins a sweep: mark the copies of live members, then find entries without a publisher. The
    /// view is locked in the meantime.
    pub(crate) fn sweep(&self) -> Sweep<'_, V> {
        Sweep::begin(lock(&self.slots), &self.metrics.adopted, &self.to_publish)
    }

    pub(crate) fn infos(&self) -> Vec<EntryInfo> {
        let slots = lock(&self.slots);
        slots
            .by_key
            .iter()
            .map(|(key, slot)| slot.info(key, self.codec.id()))
            .collect()
    }

    pub(crate) fn raw(&self, key: &str) -> Option<RawValue> {
        let slots = lock(&self.slots);
        let slot: &Slot<V> = slots.get(key)?;
        let bytes = slot
            .entry
            .visible()
            .and_then(|value| self.codec.encode(value).ok())
            .unwrap_or_default();
        Some(RawValue {
            info: slot.info(key, self.codec.id()),
            bytes,
        })
    }

    /// Changes that watchers have not taken yet.
    pub(crate) fn pending_notifications(&self) -> usize {
        self.hub.pending()
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.hub.close();
    }

    /// Key and content of every entry, tombstones included: two views are equal if these are.
    #[cfg(test)]
    pub(crate) fn content(&self) -> Vec<(String, u64, Option<V>)> {
        let slots = lock(&self.slots);
        let content = |(key, slot): (&String, &Slot<V>)| {
            (key.clone(), slot.entry.epoch, slot.entry.visible().cloned())
        };
        slots.by_key.iter().map(content).collect()
    }
}

/// What becomes of an entry when another one arrives; `None` if nothing does.
fn joined<V: Value>(ours: &Entry<V>, theirs: &Entry<V>, from: Sender) -> Option<Entry<V>> {
    let mut joined = ours.clone();
    let is_news = joined.merge(theirs);
    let loser = if is_news { ours } else { theirs };
    let outbid = match from {
        // A member that merges by another rule may keep what has lost here: the sender, or others that
        // have what this one had.
        Sender::Foreign => joined.outbid(loser),
        Sender::Ours => None,
    };
    outbid.or(is_news.then_some(joined))
}

#[cfg(test)]
mod tests;
