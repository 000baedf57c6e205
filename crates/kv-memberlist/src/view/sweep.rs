//! A sweep finds entries that no live member publishes, and entries that are published twice.

use std::sync::MutexGuard;

use kv_core::Value;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::slots::{OwnCopy, Slots};

/// The publisher of a copy. If several members publish the same entry, as after a partition, the
/// first in their order keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A member before this one.
    Before,
    /// This member, or one after it.
    Other,
}

/// The result of a sweep.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Entries that no live member publishes.
    pub(crate) orphans: usize,
    /// Entries that this member publishes, and a member before it as well.
    pub(crate) redundant: Vec<OwnCopy>,
}

/// A sweep in progress, see [`super::View::sweep`].
pub(crate) struct Sweep<'a, V> {
    slots: MutexGuard<'a, Slots<V>>,
    adopted: &'a Counter,
    to_publish: &'a Notify,
}

impl<'a, V: Value> Sweep<'a, V> {
    pub(super) fn begin(
        mut slots: MutexGuard<'a, Slots<V>>,
        adopted: &'a Counter,
        to_publish: &'a Notify,
    ) -> Self {
        slots.sweep = slots.sweep.wrapping_add(1);
        Self {
            slots,
            adopted,
            to_publish,
        }
    }

    /// A live member publishes this copy.
    pub(crate) fn held(&mut self, holder: Holder, key: &str, text: &str) {
        let sweep = self.slots.sweep;
        if let Some(slot) = self.slots.by_key.get_mut(key)
            && super::entry::fingerprint(text) == Some(slot.fingerprint)
        {
            slot.held_in = Some(sweep);
            if holder == Holder::Before {
                slot.redundant_in = Some(sweep);
            }
        }
    }

    /// The number of values that no visited live member publishes.
    pub(crate) fn missing(self) -> usize {
        let slots = self.slots.by_key.values();
        slots
            .filter(|slot| slot.is_live && slot.held_in != Some(self.slots.sweep))
            .count()
    }

    /// Ends the sweep. From now on, this member publishes the orphans for which `take` returns true
    /// (it gets the key, and whether the previous sweep found the same orphan). A tombstone written
    /// before `tombstones_since` (unix milliseconds, by its writer's clock) is not taken: its
    /// publisher has not died but removed it in time.
    pub(crate) fn adopt_orphans(
        mut self,
        tombstones_since: i64,
        mut take: impl FnMut(&str, bool) -> bool,
    ) -> Swept {
        let sweep = self.slots.sweep;
        let before = sweep.wrapping_sub(1);
        let mut swept = Swept::default();
        let mut adopted = Vec::new();
        let Slots { by_key, dirty, .. } = &mut *self.slots;
        for (key, slot) in by_key {
            if slot.redundant_in == Some(sweep) && slot.own == Some(slot.fingerprint) {
                swept.redundant.push(OwnCopy {
                    key: key.clone(),
                    fingerprint: slot.fingerprint,
                });
            }
            // An entry that waits to be published is not an orphan.
            if slot.held_in == Some(sweep) || dirty.contains(key) {
                continue;
            }
            if !slot.is_live && slot.entry.updated_ms < tombstones_since {
                continue;
            }
            swept.orphans += 1;
            let again = slot.orphan_in == Some(before);
            slot.orphan_in = Some(sweep);
            if take(key, again) {
                slot.own = Some(slot.fingerprint);
                adopted.push(key.clone());
            }
        }
        if !adopted.is_empty() {
            self.adopted.inc_by(adopted.len() as u64);
            self.slots.dirty.extend(adopted);
            self.to_publish.notify_one();
        }
        swept
    }
}
