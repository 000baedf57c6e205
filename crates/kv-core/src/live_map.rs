//! [`LiveMap`]: the entries below a prefix, kept up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::{WatchEvent, WatchHub, WatchScope, WatchStream, lock};

/// The entries below a prefix of a store, kept up to date by a background task. Made by
/// [`StoreExt::watch_map`](crate::StoreExt::watch_map).
///
/// Reading it costs a lock and no I/O. Clones share the entries; the task ends when the last one is
/// dropped.
///
/// ```
/// use kv_core::{InMemoryStore, StoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = InMemoryStore::default();
/// let flags = store.watch_map("flags/");
/// store.put("flags/dark-mode", true).await?;
/// let all = flags.wait_for(|flags| (flags.len() == 1).then(|| flags.clone())).await?;
/// assert_eq!(*all["flags/dark-mode"], true);
/// # Ok(())
/// # }
/// ```
///
/// # What it shows
///
/// - Nothing until the first picture is complete, when [`LiveMap::synced`] returns: never a part of
///   it.
/// - From then on, what the store reports, in its order for each key. While the store cannot be
///   reached, it shows the last known state; afterwards it catches up, deletions included.
/// - A value that cannot be decoded leaves the key's last good value in the map, as long as the
///   process lives; it is logged, and the key is in [`LiveMap::unreadable`].
/// - Memory: one copy of each value, and the keys. Beyond the limit of keys, the map ends with
///   [`MapEnded::TooManyKeys`] rather than grow, or show a part.
///
/// All futures of it are [`Send`] and cancel safe: a dropped one loses nothing, and can be made
/// again.
pub struct LiveMap<V> {
    shared: Arc<Shared<V>>,
    task: Arc<AbortOnDrop>,
}

/// Why a map no longer follows its store. Its last state can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapEnded {
    /// The store was shut down, or the runtime in which the map was made.
    #[error("the store was shut down")]
    ShutDown,
    /// There are more keys below the prefix than the map may hold.
    #[error("there are more than {limit} keys below the prefix of this map")]
    TooManyKeys {
        /// The limit of the map.
        limit: usize,
    },
}

impl MapEnded {
    /// Whether this map may continue: never. A new one may.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

struct Shared<V> {
    /// Locked before the locks of the hub.
    state: Mutex<State<V>>,
    hub: WatchHub<Arc<V>>,
    progress: watch::Sender<Progress>,
}

struct State<V> {
    /// What readers see; filled when the first picture is complete.
    entries: BTreeMap<String, Arc<V>>,
    unreadable: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    is_synced: bool,
    ended: Option<MapEnded>,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<V> Clone for LiveMap<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            task: Arc::clone(&self.task),
        }
    }
}

impl<V> fmt::Debug for LiveMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveMap")
            .field("keys", &lock(&self.shared.state).entries.len())
            .field("progress", &*self.shared.progress.borrow())
            .finish()
    }
}

impl<V: Send + Sync + 'static> LiveMap<V> {
    /// Keys of a map that is made without a limit of its own.
    pub const DEFAULT_LIMIT: usize = 100_000;

    /// A map that follows `events`, which are those of any watch, with at most `limit` keys.
    ///
    /// # Panics
    /// If it is not called in a tokio runtime.
    pub fn follow(events: WatchStream<V>, limit: usize) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                entries: BTreeMap::new(),
                unreadable: BTreeSet::new(),
            }),
            hub: WatchHub::default(),
            progress: watch::Sender::default(),
        });
        let follower = Follower {
            shared: Arc::clone(&shared),
            limit,
            first: Some(State {
                entries: BTreeMap::new(),
                unreadable: BTreeSet::new(),
            }),
            ended: MapEnded::ShutDown,
        };
        let task = tokio::spawn(follower.run(events)).abort_handle();
        Self {
            shared,
            task: Arc::new(AbortOnDrop(task)),
        }
    }

    /// The value of a key, with the prefix.
    pub fn get(&self, key: &str) -> Option<Arc<V>> {
        lock(&self.shared.state).entries.get(key).cloned()
    }

    /// All entries as they are now. Costs time and memory in proportion to the keys; values are not
    /// copied.
    pub fn entries(&self) -> BTreeMap<String, Arc<V>> {
        lock(&self.shared.state).entries.clone()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        lock(&self.shared.state).entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys whose stored values cannot be decoded now.
    pub fn unreadable(&self) -> BTreeSet<String> {
        lock(&self.shared.state).unreadable.clone()
    }

    /// Whether the map still follows its store, or why it does not.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&self) -> Result<(), MapEnded> {
        self.shared.progress.borrow().ended.map_or(Ok(()), Err)
    }

    /// Waits until everything that was stored when the map was made is in it. There is no deadline:
    /// while the store cannot be reached, this waits. Use [`tokio::time::timeout`] for one: it is
    /// [`Send`], and cancel safe.
    ///
    /// # Errors
    /// The map has ended before.
    pub async fn synced(&self) -> Result<(), MapEnded> {
        self.wait_for(|_| Some(())).await
    }

    /// Waits until `wanted` finds something in the entries, and returns it. It is called when the
    /// first picture is complete and after changes, while the map is locked: it must not block.
    /// [`Send`] if `wanted` and what it finds are, and cancel safe.
    ///
    /// # Errors
    /// The map has ended before.
    pub async fn wait_for<T>(
        &self,
        mut wanted: impl FnMut(&BTreeMap<String, Arc<V>>) -> Option<T>,
    ) -> Result<T, MapEnded> {
        let mut progress = self.shared.progress.subscribe();
        loop {
            let Progress { is_synced, ended } = *progress.borrow_and_update();
            if is_synced && let Some(found) = wanted(&lock(&self.shared.state).entries) {
                return Ok(found);
            }
            if let Some(ended) = ended {
                return Err(ended);
            }
            // The sender is a field of self: it cannot be gone.
            let _ = progress.changed().await;
        }
    }

    /// Entries and changes as a stream: once the first picture is complete, a `Put` for each entry of
    /// that moment, then `Synced`, then changes. It keeps the map alive, and ends when the map does.
    /// A slow reader costs one pending change for each key: it gets the last of several.
    pub fn changes(&self) -> WatchStream<Arc<V>> {
        let map = self.clone();
        let begun = async move {
            if map.synced().await.is_err() {
                return stream::empty().boxed();
            }
            let subscribed = map.subscribe();
            // Moved into the stream, so that it is dropped with it.
            subscribed
                .inspect(move |_| {
                    let _ = &map;
                })
                .boxed()
        };
        stream::once(begun).flatten().boxed()
    }

    fn subscribe(&self) -> WatchStream<Arc<V>> {
        let state = lock(&self.shared.state);
        let entries = state.entries.clone();
        let stream = self
            .shared
            .hub
            .subscribe(WatchScope::Prefix(String::new()), entries);
        // Closed before the subscription: close again, so that this one ends as well.
        if self.check().is_err() {
            self.shared.hub.close();
        }
        stream
    }
}

/// The task of a map.
struct Follower<V> {
    shared: Arc<Shared<V>>,
    limit: usize,
    /// The first picture, until it is complete.
    first: Option<State<V>>,
    ended: MapEnded,
}

impl<V: Send + Sync + 'static> Follower<V> {
    async fn run(mut self, mut events: WatchStream<V>) {
        while let Some(event) = events.next().await {
            if let Err(ended) = self.apply(event) {
                tracing::error!(error = %ended, "a map no longer follows its store");
                self.ended = ended;
                return;
            }
        }
    }

    fn apply(&mut self, event: WatchEvent<V>) -> Result<(), MapEnded> {
        let (limit, shared) = (self.limit, Arc::clone(&self.shared));
        let mut state = lock(&shared.state);
        let target = self.first.as_mut().unwrap_or(&mut state);
        let is_full = |state: &State<V>, key: &str| {
            !state.entries.contains_key(key)
                && !state.unreadable.contains(key)
                && state.entries.len() + state.unreadable.len() >= limit
        };
        match event {
            WatchEvent::Put(key, _) | WatchEvent::Undecodable(key, _) if is_full(target, &key) => {
                return Err(MapEnded::TooManyKeys { limit });
            }
            WatchEvent::Put(key, value) => {
                let value = Arc::new(value);
                target.unreadable.remove(&key);
                target.entries.insert(key.clone(), Arc::clone(&value));
                if self.first.is_none() {
                    shared.hub.publish(&key, Some(&value));
                }
            }
            WatchEvent::Deleted(key) => {
                target.unreadable.remove(&key);
                if target.entries.remove(&key).is_some() && self.first.is_none() {
                    shared.hub.publish(&key, None);
                }
            }
            WatchEvent::Undecodable(key, error) => {
                tracing::error!(key, %error, "a value cannot be decoded; the last good one stays");
                target.unreadable.insert(key);
            }
            WatchEvent::Synced => {
                if let Some(first) = self.first.take() {
                    *state = first;
                }
            }
        }
        drop(state);
        if self.first.is_none() {
            shared
                .progress
                .send_modify(|progress| progress.is_synced = true);
        }
        Ok(())
    }
}

/// Also if the task is aborted, by the end of the runtime: nothing waits for ever.
impl<V> Drop for Follower<V> {
    fn drop(&mut self) {
        let ended = Some(self.ended);
        self.shared
            .progress
            .send_modify(|progress| progress.ended = ended);
        // Under the lock: a stream that is subscribed at the same time sees the end or is closed.
        let _state = lock(&self.shared.state);
        self.shared.hub.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::{CodecError, InMemoryStore, StoreExt};

    type Sender = mpsc::UnboundedSender<WatchEvent<u32>>;

    /// A map whose events the test sends.
    fn driven(limit: usize) -> (LiveMap<u32>, Sender) {
        let (send, mut receive) = mpsc::unbounded_channel();
        let events = stream::poll_fn(move |context| receive.poll_recv(context));
        (LiveMap::follow(events.boxed(), limit), send)
    }

    fn put(key: &str, value: u32) -> WatchEvent<u32> {
        WatchEvent::Put(key.to_owned(), value)
    }

    fn shown(map: &LiveMap<u32>) -> Vec<(String, u32)> {
        let entries = map.entries().into_iter();
        entries.map(|(key, value)| (key, *value)).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, u32); N]) -> Vec<(String, u32)> {
        let owned = |(key, value): (&str, u32)| (key.to_owned(), value);
        pairs.map(owned).to_vec()
    }

    /// Waits until the map is this.
    async fn becomes<const N: usize>(map: &LiveMap<u32>, wanted: [(&str, u32); N]) {
        let wanted = pairs(wanted);
        map.wait_for(|_| Some(())).await.unwrap();
        let found = map.wait_for(|entries| {
            let have = entries.iter().map(|(key, value)| (key.clone(), **value));
            have.eq(wanted.iter().cloned()).then_some(())
        });
        found.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_shows_nothing_before_everything_and_then_follows() {
        let (map, send) = driven(10);
        send.send(put("a", 1)).unwrap();
        send.send(put("b", 1)).unwrap();
        let wait = tokio::time::timeout(Duration::from_secs(60), map.synced());
        wait.await.unwrap_err();
        assert!(map.is_empty());
        send.send(WatchEvent::Synced).unwrap();
        map.synced().await.unwrap();
        assert_eq!(shown(&map), pairs([("a", 1), ("b", 1)]));

        // A gap: the store tells the difference.
        send.send(put("c", 2)).unwrap();
        send.send(WatchEvent::Deleted("a".to_owned())).unwrap();
        send.send(WatchEvent::Synced).unwrap();
        becomes(&map, [("b", 1), ("c", 2)]).await;
        assert_eq!((map.get("a"), map.get("c").as_deref()), (None, Some(&2)));

        drop(send);
        let ended = map.wait_for(|_| None::<()>).await;
        assert_eq!(ended, Err(MapEnded::ShutDown));
        assert_eq!(map.check(), Err(MapEnded::ShutDown));
        assert_eq!(map.len(), 2, "the last state stays");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreadable_value_leaves_the_last_good_one() {
        let (map, send) = driven(10);
        let bad = |key: &str| WatchEvent::Undecodable(key.to_owned(), CodecError::other("no"));
        for event in [put("a", 1), bad("b"), WatchEvent::Synced, bad("a")] {
            send.send(event).unwrap();
        }
        send.send(put("c", 1)).unwrap();
        becomes(&map, [("a", 1), ("c", 1)]).await;
        assert_eq!(map.unreadable(), ["a", "b"].map(str::to_owned).into());
        send.send(put("a", 2)).unwrap();
        send.send(WatchEvent::Deleted("b".to_owned())).unwrap();
        send.send(put("c", 2)).unwrap();
        becomes(&map, [("a", 2), ("c", 2)]).await;
        assert!(map.unreadable().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn more_keys_than_allowed_end_it() {
        let (map, send) = driven(2);
        for event in [put("a", 1), put("b", 1), WatchEvent::Synced, put("a", 2)] {
            send.send(event).unwrap();
        }
        becomes(&map, [("a", 2), ("b", 1)]).await;
        send.send(WatchEvent::Deleted("b".to_owned())).unwrap();
        send.send(put("c", 1)).unwrap();
        becomes(&map, [("a", 2), ("c", 1)]).await;
        send.send(put("d", 1)).unwrap();
        let ended = map.wait_for(|_| None::<()>).await.unwrap_err();
        assert_eq!(ended, MapEnded::TooManyKeys { limit: 2 });
        assert!(!ended.is_retryable());
        assert!(send.is_closed(), "it no longer reads");
        assert_eq!(shown(&map), pairs([("a", 2), ("c", 1)]));
        assert_eq!(map.changes().count().await, 3, "two entries and Synced");
    }

    #[tokio::test]
    async fn changes_begin_with_everything_and_a_slow_reader_gets_the_last() {
        let store = InMemoryStore::<u32>::default();
        store.put("flags/a", 1).await.unwrap();
        let map = store.watch_map("flags/");
        let mut changes = map.changes();
        let mut next = async || format!("{:?}", changes.next().await.unwrap());
        assert_eq!(next().await, "Put(\"flags/a\", 1)");
        assert_eq!(next().await, "Synced");
        for value in 0..1000 {
            store.put("flags/a", value).await.unwrap();
        }
        let last = |entries: &BTreeMap<String, Arc<u32>>| {
            (entries.get("flags/a").map(|v| **v) == Some(999)).then_some(())
        };
        map.wait_for(last).await.unwrap();
        assert_eq!(next().await, "Put(\"flags/a\", 999)");
    }

    #[tokio::test]
    async fn its_task_ends_with_the_last_handle() {
        let (map, send) = driven(10);
        let (clone, changes) = (map.clone(), map.changes());
        drop(map);
        drop(clone);
        assert!(!send.is_closed(), "a stream keeps it");
        drop(changes);
        send.closed().await;
    }
}
