//! The merged view: what all members publish, folded into one map.

pub(crate) mod entry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kv_core::{
    CasOutcome, CasUpdate, Codec, Mergeable, UpdateFn, WatchHub, WatchScope, WatchStream,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::view::entry::{BadEntry, Encoded, Entry, MAX_TEXT};
use crate::{EntryInfo, metrics::Metrics};

/// The view of one member. What it says changes under one lock, together with what watchers are
/// told.
pub(crate) struct View<V> {
    state: Mutex<State<V>>,
    hub: WatchHub<V>,
    codec: Arc<dyn Codec<V>>,
    metrics: Metrics,
    /// Wakes whoever publishes.
    pub(crate) to_publish: Notify,
}

struct State<V> {
    slots: BTreeMap<String, Slot<V>>,
    /// Keys whose entry is to be published.
    dirty: BTreeSet<String>,
    /// Keys whose own copy was superseded, oldest first.
    superseded: VecDeque<(Instant, String)>,
    /// Keys that were deleted, oldest first.
    tombstones: VecDeque<(Instant, String)>,
    live: usize,
    sweep: u32,
}

struct Slot<V> {
    entry: Entry<V>,
    fingerprint: u64,
    /// Fingerprint of the copy that this member publishes, or is about to.
    own: Option<u64>,
    version: u64,
    size: u32,
    changed_at: Instant,
    /// Whether the key has a value.
    is_live: bool,
    /// The last sweep that found a living member publishing this very entry.
    held_in: u32,
    /// The last sweep that found none.
    orphan_in: u32,
    /// The last sweep that found a member before this one publishing it.
    redundant_in: u32,
}

/// Whose write an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    Own,
    Other,
}

/// Why a compare-and-swap stored nothing.
pub(crate) enum CasRefused {
    Aborted(Box<dyn std::error::Error + Send + Sync>),
    /// The text of the entry would have this many bytes.
    TooLarge(usize),
}

/// Who publishes a copy. Of members that publish the same one, as after a partition, the first in
/// their order keeps it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A member before this one.
    Before,
    /// This member, or one after it.
    Other,
}

/// What a sweep found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Entries that no living member publishes.
    pub(crate) orphans: usize,
    /// Entries that this member publishes, and a member before it as well; with their fingerprint.
    pub(crate) redundant: Vec<(String, u64)>,
}

/// A sweep that goes on, see [`View::sweep`].
pub(crate) struct Sweep<'a, V> {
    view: &'a View<V>,
    state: MutexGuard<'a, State<V>>,
}

/// A store's raw value, as admin pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    /// What is known of the key.
    pub info: EntryInfo,
    /// The encoded value; empty if deleted.
    pub bytes: Vec<u8>,
}

impl<V> View<V>
where
    V: Mergeable + Clone + PartialEq + Send + 'static,
{
    pub(crate) fn new(codec: Arc<dyn Codec<V>>, metrics: Metrics) -> Self {
        Self {
            state: Mutex::new(State {
                slots: BTreeMap::new(),
                dirty: BTreeSet::new(),
                superseded: VecDeque::new(),
                tombstones: VecDeque::new(),
                live: 0,
                sweep: 0,
            }),
            hub: WatchHub::default(),
            codec,
            metrics,
            to_publish: Notify::new(),
        }
    }

    /// A panic elsewhere while the lock was held can only come from a caller's update function,
    /// which runs before anything is changed.
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds in a copy that another member publishes; what it said before if that changed the view.
    pub(crate) fn apply(&self, key: &str, text: &str) -> Result<Option<i64>, BadEntry> {
        let theirs = Entry::decode(text, &*self.codec)?;
        let updated_ms = theirs.updated_ms;
        let mut state = self.lock();
        let changed = match state.slots.get_mut(key) {
            None => {
                let encoded = theirs.encode(&*self.codec);
                self.insert(&mut state, key, theirs, &encoded, Writer::Other);
                true
            }
            Some(slot) => {
                let mut merged = slot.entry.clone();
                let changed = merged.merge(&theirs);
                if changed {
                    let encoded = merged.encode(&*self.codec);
                    self.replace(&mut state, key, merged, &encoded, Writer::Other);
                }
                changed
            }
        };
        Ok(changed.then_some(updated_ms))
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        self.lock().slots.get(key)?.entry.visible().cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<String> {
        let state = self.lock();
        state
            .below(prefix)
            .filter(|(_, slot)| slot.is_live)
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(crate) fn watch(&self, scope: WatchScope) -> WatchStream<V> {
        let state = self.lock();
        let initial: Vec<(String, V)> = state
            .slots
            .iter()
            .filter(|(key, _)| scope.covers(key))
            .filter_map(|(key, slot)| Some((key.clone(), slot.entry.visible()?.clone())))
            .collect();
        // Still under the lock, so that no change falls between the picture and the changes.
        self.hub.subscribe(scope, initial)
    }

    pub(crate) fn cas(
        &self,
        key: &str,
        now_ms: i64,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, CasRefused> {
        let mut state = self.lock();
        let seen = state.slots.get(key).map(|slot| &slot.entry);
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
        let encoded = next.encode(&*self.codec);
        if key.len() + encoded.text.len() > MAX_TEXT {
            return Err(CasRefused::TooLarge(encoded.text.len()));
        }
        if state.slots.contains_key(key) {
            self.replace(&mut state, key, next, &encoded, Writer::Own);
        } else {
            self.insert(&mut state, key, next, &encoded, Writer::Own);
        }
        state.dirty.insert(key.to_owned());
        drop(state);
        self.to_publish.notify_one();
        Ok(outcome)
    }

    fn insert(
        &self,
        state: &mut State<V>,
        key: &str,
        entry: Entry<V>,
        encoded: &Encoded,
        writer: Writer,
    ) {
        let slot = Slot {
            fingerprint: encoded.fingerprint,
            own: (writer == Writer::Own).then_some(encoded.fingerprint),
            version: 1,
            size: size_of_value(encoded),
            changed_at: Instant::now(),
            is_live: entry.visible().is_some(),
            held_in: 0,
            orphan_in: 0,
            redundant_in: 0,
            entry,
        };
        match slot.entry.visible() {
            Some(value) => {
                state.live += 1;
                self.hub.publish(key, Some(value));
            }
            None => state
                .tombstones
                .push_back((slot.changed_at, key.to_owned())),
        }
        state.slots.insert(key.to_owned(), slot);
        self.count(state);
    }

    /// Makes `entry` what the key holds.
    fn replace(
        &self,
        state: &mut State<V>,
        key: &str,
        entry: Entry<V>,
        encoded: &Encoded,
        writer: Writer,
    ) {
        let Some(slot) = state.slots.get_mut(key) else {
            return;
        };
        let (was, is) = (slot.is_live, entry.visible().is_some());
        let visible = slot.entry.visible() != entry.visible();
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
        if visible {
            self.hub.publish(key, slot.entry.visible());
        }
        let now = slot.changed_at;
        if superseded {
            state.superseded.push_back((now, key.to_owned()));
        }
        if was && !is {
            state.live -= 1;
            state.tombstones.push_back((now, key.to_owned()));
        } else if is && !was {
            state.live += 1;
        }
        self.count(state);
    }

    fn count(&self, state: &State<V>) {
        let tombstones = state.slots.len() - state.live;
        self.metrics.keys.set(state.live as i64);
        self.metrics
            .tombstones
            .get_or_create(&crate::metrics::Key {
                key: self.codec.id(),
            })
            .set(tombstones as i64);
    }

    /// The entries that this member is to publish and has not yet, as texts.
    pub(crate) fn take_dirty(&self) -> Vec<(String, String)> {
        let mut state = self.lock();
        let dirty = std::mem::take(&mut state.dirty);
        dirty
            .into_iter()
            .filter_map(|key| {
                let slot = state.slots.get(&key)?;
                // Superseded since: whoever did that publishes the newer one.
                let current = slot.own == Some(slot.fingerprint);
                current.then(|| {
                    let text = slot.entry.encode(&*self.codec).text;
                    (key, text)
                })
            })
            .collect()
    }

    /// All entries that this member publishes: for a gossip task that begins anew.
    pub(crate) fn publish_all_again(&self) {
        let mut state = self.lock();
        let own: Vec<String> = state
            .slots
            .iter()
            .filter(|(_, slot)| slot.own.is_some())
            .map(|(key, _)| key.clone())
            .collect();
        for key in &own {
            if let Some(slot) = state.slots.get_mut(key) {
                slot.own = Some(slot.fingerprint);
            }
        }
        state.dirty.extend(own);
        drop(state);
        self.to_publish.notify_one();
    }

    /// Keys whose own copy was superseded at least `grace` ago, with the fingerprint of what
    /// superseded it; each is answered by [`View::dropped_own`] or [`View::still_superseded`].
    pub(crate) fn long_superseded(&self, grace: Duration) -> Vec<(String, u64)> {
        let mut state = self.lock();
        let mut due = Vec::new();
        for key in take_older(&mut state.superseded, grace) {
            // One that waits to be published comes again when it is superseded.
            if let Some(slot) = state.slots.get(&key)
                && slot.own.is_some_and(|own| own != slot.fingerprint)
                && !state.dirty.contains(&key)
            {
                due.push((key, slot.fingerprint));
            }
        }
        due
    }

    /// This member no longer publishes a copy of these keys; a newer one may wait to be published.
    pub(crate) fn dropped_own(&self, keys: &[String]) {
        let mut state = self.lock();
        let State { slots, dirty, .. } = &mut *state;
        for key in keys {
            if let Some(slot) = slots.get_mut(key)
                && !dirty.contains(key)
            {
                slot.own = None;
            }
        }
        self.metrics.superseded.inc_by(keys.len() as u64);
    }

    /// Those of these keys whose own copy still is the entry with this fingerprint.
    pub(crate) fn still_own(&self, keys: Vec<(String, u64)>) -> Vec<(String, u64)> {
        let state = self.lock();
        let is_own = |(key, fingerprint): &(String, u64)| {
            !state.dirty.contains(key)
                && state.slots.get(key).is_some_and(|slot| {
                    slot.own == Some(*fingerprint) && slot.fingerprint == *fingerprint
                })
        };
        keys.into_iter().filter(is_own).collect()
    }

    /// Asks about these keys again after another grace period.
    pub(crate) fn still_superseded(&self, keys: Vec<String>) {
        let now = Instant::now();
        let mut state = self.lock();
        state
            .superseded
            .extend(keys.into_iter().map(|key| (now, key)));
    }

    /// Forgets tombstones of at least this age; the keys of those that this member publishes.
    pub(crate) fn expire_tombstones(&self, age: Duration) -> Vec<String> {
        let mut state = self.lock();
        let mut own = Vec::new();
        for key in take_older(&mut state.tombstones, age) {
            let Some(slot) = state.slots.get(&key) else {
                continue;
            };
            // One that came back and was deleted again waits further behind.
            if !slot.is_live && slot.changed_at.elapsed() >= age {
                if slot.own.is_some() {
                    own.push(key.clone());
                }
                state.slots.remove(&key);
                state.dirty.remove(&key);
            }
        }
        self.count(&state);
        own
    }

    /// Begins a sweep: mark what living members publish, then see what nobody does. The view is
    /// locked meanwhile.
    pub(crate) fn sweep(&self) -> Sweep<'_, V> {
        let mut state = self.lock();
        state.sweep = state.sweep.wrapping_add(1).max(1);
        Sweep { view: self, state }
    }

    pub(crate) fn infos(&self) -> Vec<EntryInfo> {
        let state = self.lock();
        state
            .slots
            .iter()
            .map(|(key, slot)| slot.info(key, self.codec.id()))
            .collect()
    }

    pub(crate) fn raw(&self, key: &str) -> Option<RawValue> {
        let state = self.lock();
        let slot = state.slots.get(key)?;
        let bytes = slot
            .entry
            .visible()
            .map(|value| self.codec.encode(value))
            .unwrap_or_default();
        Some(RawValue {
            info: slot.info(key, self.codec.id()),
            bytes,
        })
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        self.hub.close();
    }

    /// Key and content of every entry, tombstones included: two views are equal if these are.
    #[cfg(test)]
    pub(crate) fn picture(&self) -> Vec<(String, u64, Option<V>)> {
        let state = self.lock();
        state
            .slots
            .iter()
            .map(|(key, slot)| (key.clone(), slot.entry.epoch, slot.entry.visible().cloned()))
            .collect()
    }
}

impl<V> State<V> {
    fn below(&self, prefix: &str) -> impl Iterator<Item = (&String, &Slot<V>)> {
        let from = (
            std::ops::Bound::Included(prefix),
            std::ops::Bound::Unbounded,
        );
        self.slots
            .range::<str, _>(from)
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}

impl<V> Slot<V> {
    fn info(&self, key: &str, codec: &'static str) -> EntryInfo {
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

impl<V> Sweep<'_, V>
where
    V: Mergeable + Clone + PartialEq + Send + 'static,
{
    /// A living member publishes this copy.
    pub(crate) fn held(&mut self, holder: Holder, key: &str, text: &str) {
        let sweep = self.state.sweep;
        if let Some(slot) = self.state.slots.get_mut(key)
            && entry::fingerprint(text) == Some(slot.fingerprint)
        {
            slot.held_in = sweep;
            if holder == Holder::Before {
                slot.redundant_in = sweep;
            }
        }
    }

    /// How many values no living member that was visited publishes.
    pub(crate) fn missing(self) -> usize {
        let slots = self.state.slots.values();
        slots
            .filter(|slot| slot.is_live && slot.held_in != self.state.sweep)
            .count()
    }

    /// Ends the sweep. Those entries that no living member publishes, and for which `take` says so
    /// (given the key, and whether the sweep before found the same), are published by this member
    /// from now on. A tombstone that was written before `tombstones_since` (unix milliseconds, by its
    /// writer's clock) is not: its publisher has not died, but forgotten it in time.
    pub(crate) fn adopt_orphans(
        mut self,
        tombstones_since: i64,
        mut take: impl FnMut(&str, bool) -> bool,
    ) -> Swept {
        let sweep = self.state.sweep;
        let before = sweep.wrapping_sub(1);
        let mut swept = Swept::default();
        let mut adopted = Vec::new();
        let State { slots, dirty, .. } = &mut *self.state;
        for (key, slot) in slots {
            if slot.redundant_in == sweep && slot.own == Some(slot.fingerprint) {
                swept.redundant.push((key.clone(), slot.fingerprint));
            }
            // What waits to be published is no orphan.
            if slot.held_in == sweep || dirty.contains(key) {
                continue;
            }
            if !slot.is_live && slot.entry.updated_ms < tombstones_since {
                continue;
            }
            swept.orphans += 1;
            let again = slot.orphan_in == before && before != 0;
            slot.orphan_in = sweep;
            if take(key, again) {
                slot.own = Some(slot.fingerprint);
                adopted.push(key.clone());
            }
        }
        if !adopted.is_empty() {
            self.view.metrics.adopted.inc_by(adopted.len() as u64);
            self.state.dirty.extend(adopted);
            self.view.to_publish.notify_one();
        }
        swept
    }
}

/// Takes out the keys that have waited for at least `age`.
fn take_older(queue: &mut VecDeque<(Instant, String)>, age: Duration) -> Vec<String> {
    let is_due = |(since, _): &&(Instant, String)| since.elapsed() >= age;
    let due = queue.iter().take_while(is_due).count();
    queue.drain(..due).map(|(_, key)| key).collect()
}

fn size_of_value(encoded: &Encoded) -> u32 {
    u32::try_from(encoded.size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use kv_core::conformance::{CODEC, Counter};
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;

    use super::*;

    /// A member as gossip sees it: a view, and the last copy of each key that it published.
    struct Member {
        view: View<Counter>,
        published: BTreeMap<String, String>,
    }

    impl Member {
        fn new() -> Self {
            let metrics = Metrics::register(&mut Registry::default());
            Self {
                view: View::new(Arc::new(CODEC), metrics),
                published: BTreeMap::new(),
            }
        }

        fn cas(
            &mut self,
            key: &str,
            now_ms: i64,
            mut update: impl FnMut(Option<&Counter>) -> CasUpdate<Counter> + Send,
        ) {
            let outcome = self.view.cas(key, now_ms, &mut update);
            assert!(outcome.is_ok());
            self.published.extend(self.view.take_dirty());
        }

        fn hears(&self, key: &str, text: &str) {
            assert!(self.view.apply(key, text).is_ok());
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Increment,
        /// A value that the values' own merge holds for older.
        PutOlder,
        Delete,
        /// Another member hears what this one publishes of the key now.
        Deliver(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<(usize, usize, i64, Step)>> {
        let step = prop_oneof![
            3 => Just(Step::Increment),
            1 => Just(Step::PutOlder),
            1 => Just(Step::Delete),
            5 => (0..4usize).prop_map(Step::Deliver),
        ];
        // Members' clocks differ.
        prop::collection::vec((0..4usize, 0..3usize, 0i64..50, step), 1..80)
    }

    fn counter(value: i64, writer: usize) -> Counter {
        Counter {
            value,
            writer: writer.to_string(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Random operations on random members with random delivery end in the same view everywhere.
        #[test]
        fn all_members_end_with_the_same_view(
            steps in steps(),
            order in prop::collection::vec(0..16usize, 48),
        ) {
            let mut members: Vec<Member> = (0..4).map(|_| Member::new()).collect();
            for (member, key, now_ms, step) in steps {
                let key = format!("key-{key}");
                match step {
                    Step::Increment => members[member].cas(&key, now_ms, |current| {
                        CasUpdate::Put(counter(current.map_or(0, |c| c.value) + 1, member))
                    }),
                    Step::PutOlder => members[member].cas(&key, now_ms, |current| {
                        CasUpdate::Put(counter(current.map_or(0, |c| c.value) - 1, member))
                    }),
                    Step::Delete => members[member].cas(&key, now_ms, |_| CasUpdate::Delete),
                    Step::Deliver(to) => {
                        if let Some(text) = members[member].published.get(&key) {
                            members[to].hears(&key, text);
                        }
                    }
                }
            }
            // In some order, with repetitions; then all that was left out.
            let pairs = order.iter().map(|pair| (pair / 4, pair % 4));
            let all = (0..16).map(|pair| (pair / 4, pair % 4));
            for (from, to) in pairs.chain(all) {
                for (key, text) in &members[from].published {
                    members[to].hears(key, text);
                }
            }
            let picture = members[0].view.picture();
            for member in &members[1..] {
                prop_assert_eq!(&member.view.picture(), &picture);
            }
        }
    }

    #[test]
    fn the_writer_reads_what_it_wrote_whatever_it_wrote() {
        let mut member = Member::new();
        for value in [5, 3, 9, -1] {
            member.cas("key", 1, |_| CasUpdate::Put(counter(value, 0)));
            assert_eq!(member.view.get("key"), Some(counter(value, 0)));
        }
        member.cas("key", 1, |_| CasUpdate::Delete);
        assert_eq!(member.view.get("key"), None);
        assert_eq!(member.view.list(""), Vec::<String>::new());
        member.cas("key", 1, |seen| {
            assert_eq!(seen, None);
            CasUpdate::Put(counter(0, 0))
        });
        assert_eq!(member.view.get("key"), Some(counter(0, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn superseded_copies_and_tombstones_are_due_in_time() {
        let (mut ours, mut theirs) = (Member::new(), Member::new());
        ours.cas("key", 1, |_| CasUpdate::Put(counter(1, 0)));
        theirs.hears("key", &ours.published["key"]);
        theirs.cas("key", 2, |_| CasUpdate::Put(counter(2, 1)));
        ours.hears("key", &theirs.published["key"]);
        let grace = Duration::from_secs(10);
        assert!(ours.view.long_superseded(grace).is_empty());
        tokio::time::advance(grace).await;
        let due = ours.view.long_superseded(grace);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].0, "key");
        // Nobody else holds it yet: asked about again.
        ours.view.still_superseded(vec!["key".to_owned()]);
        tokio::time::advance(grace).await;
        assert_eq!(ours.view.long_superseded(grace).len(), 1);
        ours.view.dropped_own(&["key".to_owned()]);

        ours.cas("key", 3, |_| CasUpdate::Delete);
        assert!(ours.view.expire_tombstones(grace).is_empty());
        assert_eq!(ours.view.infos().len(), 1);
        tokio::time::advance(grace).await;
        assert_eq!(ours.view.expire_tombstones(grace), ["key"]);
        assert_eq!(ours.view.infos().len(), 0);
    }

    #[test]
    fn what_nobody_publishes_is_taken_over_at_the_second_sweep() {
        let (mut dead, survivor) = (Member::new(), Member::new());
        dead.cas("key", 1, |_| CasUpdate::Put(counter(1, 0)));
        survivor.hears("key", &dead.published["key"]);
        let sweep = |take: bool| {
            let sweep = survivor.view.sweep();
            sweep.adopt_orphans(0, |_, again| take && again).orphans
        };
        assert_eq!(sweep(true), 1);
        assert!(survivor.view.take_dirty().is_empty());
        assert_eq!(sweep(true), 1);
        let adopted = survivor.view.take_dirty();
        assert_eq!(adopted, [("key".to_owned(), dead.published["key"].clone())]);
        let mut held = survivor.view.sweep();
        held.held(Holder::Other, "key", &adopted[0].1);
        assert_eq!(held.adopt_orphans(0, |_, _| true), Swept::default());
        let mut doubly = survivor.view.sweep();
        doubly.held(Holder::Other, "key", &adopted[0].1);
        doubly.held(Holder::Before, "key", &adopted[0].1);
        let swept = doubly.adopt_orphans(0, |_, _| true);
        assert_eq!((swept.orphans, swept.redundant.len()), (0, 1));
        assert_eq!(survivor.view.sweep().missing(), 1);
    }
}
