//! The state of each key, and queues of keys. Pure: no lock, no watchers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use kv_core::{Codec, Value};
use tokio::time::Instant;

use super::entry::{Encoded, Entry, EntryText};
use crate::status::EntryInfo;

/// All keys.
pub(super) struct Slots<V> {
    pub(super) by_key: BTreeMap<String, Slot<V>>,
    /// Keys whose entry must be published.
    pub(super) dirty: BTreeSet<String>,
    /// Keys whose own copy was superseded, oldest first.
    superseded: VecDeque<Waiting>,
    /// Keys that were deleted, oldest first.
    tombstones: VecDeque<Waiting>,
    live: usize,
    /// Number of the current sweep, or of the last one; 0 before the first.
    pub(super) sweep: u32,
}

/// A key that waits, and since when.
struct Waiting {
    since: Instant,
    key: String,
}

/// The state of one key.
pub(super) struct Slot<V> {
    pub(super) entry: Entry<V>,
    pub(super) fingerprint: u64,
    /// Fingerprint of the copy that this member publishes, or is about to.
    pub(super) own: Option<u64>,
    version: u64,
    size: u32,
    changed_at: Instant,
    /// Whether the key has a value.
    pub(super) is_live: bool,
    /// The last sweep that found a live member publishing exactly this entry; `None` before that.
    pub(super) held_in: Option<u32>,
    /// The last sweep that found no such member.
    pub(super) orphan_in: Option<u32>,
    /// The last sweep that found a member before this one publishing it.
    pub(super) redundant_in: Option<u32>,
}

/// The origin of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Own,
    Other,
}

/// A new entry of a key.
pub(super) struct Written<'a, V> {
    pub(super) key: &'a str,
    pub(super) entry: Entry<V>,
    pub(super) encoded: &'a Encoded,
    pub(super) writer: Writer,
}

/// A copy that this member publishes, or the entry that has superseded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnCopy {
    pub(crate) key: String,
    /// Of the entry, see [`super::entry::fingerprint`].
    pub(crate) fingerprint: u64,
}

impl<V> Default for Slots<V> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            dirty: BTreeSet::new(),
            superseded: VecDeque::new(),
            tombstones: VecDeque::new(),
            live: 0,
            sweep: 0,
        }
    }
}

impl<V: Value> Slots<V> {
    pub(super) fn get(&self, key: &str) -> Option<&Slot<V>> {
        self.by_key.get(key)
    }

    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = (&String, &Slot<V>)> {
        self.by_key
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// Keys that have a value.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Keys that are remembered as deleted.
    pub(super) fn tombstones(&self) -> usize {
        self.by_key.len() - self.live
    }

    /// Stores this entry under its key; returns whether that changed the key's value.
    pub(super) fn write(&mut self, written: Written<'_, V>) -> bool {
        if self.by_key.contains_key(written.key) {
            self.replace(written)
        } else {
            self.insert(written)
        }
    }

    fn insert(&mut self, written: Written<'_, V>) -> bool {
        let Written {
            key,
            entry,
            encoded,
            writer,
        } = written;
        let slot = Slot {
            fingerprint: encoded.fingerprint,
            own: (writer == Writer::Own).then_some(encoded.fingerprint),
            version: 1,
            size: size_of_value(encoded),
            changed_at: Instant::now(),
            is_live: entry.visible().is_some(),
            held_in: None,
            orphan_in: None,
            redundant_in: None,
            entry,
        };
        let is_live = slot.is_live;
        if is_live {
            self.live += 1;
        } else {
            self.tombstones.push_back(Waiting {
                since: slot.changed_at,
                key: key.to_owned(),
            });
        }
        self.by_key.insert(key.to_owned(), slot);
        is_live
    }

    fn replace(&mut self, written: Written<'_, V>) -> bool {
        let Written {
            key,
            entry,
            encoded,
            writer,
        } = written;
        let Some(slot) = self.by_key.get_mut(key) else {
            return false;
        };
        let (was, is) = (slot.is_live, entry.visible().is_some());
        let changed = slot.entry.visible() != entry.visible();
        let superseded = writer == Writer::Other && slot.own == Some(slot.fingerprint);
        slot.fingerprint = encoded.fingerprint;
        slot.size = size_of_value(encoded);
        slot.version += 1;
        slot.changed_at = Instant::now();
        slot.entry = entry;
        slot.is_live = is;
        if writer == Writer::Own {
            slot.own = Some(encoded.fingerprint);
        }
        let waiting = || Waiting {
            since: slot.changed_at,
            key: key.to_owned(),
        };
        if superseded {
            self.superseded.push_back(waiting());
        }
        if was && !is {
            self.live -= 1;
            self.tombstones.push_back(waiting());
        } else if is && !was {
            self.live += 1;
        }
        changed
    }

    /// The entries that this member must publish and has not published yet.
    pub(super) fn take_dirty(&mut self, codec: &dyn Codec<V>) -> Vec<EntryText> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .filter_map(|key| {
                let slot = self.by_key.get(&key)?;
                // Superseded in the meantime: another member publishes the newer entry.
                if slot.own != Some(slot.fingerprint) {
                    return None;
                }
                // It was encoded when it was written, so it can be again.
                let text = slot.entry.encode(codec).ok()?.text;
                Some(EntryText {
                    key,
                    text,
                    is_live: slot.is_live,
                })
            })
            .collect()
    }

    /// Marks all own copies to be published again.
    pub(super) fn publish_all_again(&mut self) {
        for (key, slot) in &mut self.by_key {
            if slot.own.is_some() {
                slot.own = Some(slot.fingerprint);
                self.dirty.insert(key.clone());
            }
        }
    }

    /// Marks all entries to be published by this member.
    pub(super) fn publish_everything(&mut self) {
        for (key, slot) in &mut self.by_key {
            slot.own = Some(slot.fingerprint);
            self.dirty.insert(key.clone());
        }
    }

    /// Removes and returns the own copies that were superseded at least `grace` ago.
    pub(super) fn long_superseded(&mut self, grace: Duration) -> Vec<OwnCopy> {
        let mut due = Vec::new();
        for key in take_older(&mut self.superseded, grace) {
            // One that waits to be published comes again when it is superseded.
            if let Some(slot) = self.by_key.get(&key)
                && slot.own.is_some_and(|own| own != slot.fingerprint)
                && !self.dirty.contains(&key)
            {
                let fingerprint = slot.fingerprint;
                due.push(OwnCopy { key, fingerprint });
            }
        }
        due
    }

    pub(super) fn dropped_own(&mut self, keys: &[String]) {
        for key in keys {
            if let Some(slot) = self.by_key.get_mut(key)
                && !self.dirty.contains(key)
            {
                slot.own = None;
            }
        }
    }

    /// Whether the own copy of the key still is this one.
    pub(super) fn is_own(&self, copy: &OwnCopy) -> bool {
        !self.dirty.contains(&copy.key)
            && self.by_key.get(&copy.key).is_some_and(|slot| {
                slot.own == Some(copy.fingerprint) && slot.fingerprint == copy.fingerprint
            })
    }

    pub(super) fn still_superseded(&mut self, keys: Vec<String>) {
        let since = Instant::now();
        self.superseded
            .extend(keys.into_iter().map(|key| Waiting { since, key }));
    }

    /// Forgets tombstones of at least this age; their keys.
    pub(super) fn expire_tombstones(&mut self, age: Duration) -> Vec<String> {
        let mut expired = take_older(&mut self.tombstones, age);
        expired.retain(|key| {
            // One that came back and was deleted again waits further behind.
            let is_old = self
                .by_key
                .get(key)
                .is_some_and(|slot| !slot.is_live && slot.changed_at.elapsed() >= age);
            if is_old {
                self.by_key.remove(key);
                self.dirty.remove(key);
            }
            is_old
        });
        expired
    }
}

impl<V> Slot<V> {
    pub(super) fn info(&self, key: &str, codec: &'static str) -> EntryInfo {
        EntryInfo {
            key: key.to_owned(),
            codec,
            version: self.version,
            size: if self.is_live { self.size as usize } else { 0 },
            updated_ms: self.entry.updated_ms,
            deleted: !self.is_live,
        }
    }
}

/// Removes and returns the keys that have waited for at least `age`.
fn take_older(queue: &mut VecDeque<Waiting>, age: Duration) -> Vec<String> {
    let is_due = |waiting: &&Waiting| waiting.since.elapsed() >= age;
    let due = queue.iter().take_while(is_due).count();
    queue.drain(..due).map(|waiting| waiting.key).collect()
}

fn size_of_value(encoded: &Encoded) -> u32 {
    u32::try_from(encoded.size).unwrap_or(u32::MAX)
}
