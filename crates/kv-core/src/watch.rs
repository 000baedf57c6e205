//! Watch events, and the queue between a store and its watchers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use futures::stream::{self, BoxStream};
use tokio::sync::Notify;

use crate::{CodecError, lock};

/// One change that a watcher sees.
///
/// A watch first delivers a `Put` for each key that exists, then `Synced`. From then on the watcher
/// knows everything, and each later event keeps it up to date. After a reconnect a store delivers
/// what changed in the meantime (deletions included), then `Synced` again. Several changes of one
/// key may arrive as the last of them.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchEvent<V> {
    /// The key now has this value.
    Put(String, V),
    /// The key is gone.
    Deleted(String),
    /// The key has a value that cannot be decoded; its last good value is no longer stored.
    Undecodable(String, CodecError),
    /// Everything that was stored when the watch began, or was resumed, has been delivered.
    Synced,
}

/// An endless sequence of [`WatchEvent`]s; it ends when the store is shut down.
pub type WatchStream<V> = BoxStream<'static, WatchEvent<V>>;

/// The keys of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchScope {
    /// Exactly this key.
    Key(String),
    /// All keys that begin with this.
    Prefix(String),
}

impl fmt::Display for WatchScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchScope::Key(key) => write!(f, "key {}", key.escape_debug()),
            WatchScope::Prefix(prefix) if prefix.is_empty() => f.write_str("all keys"),
            WatchScope::Prefix(prefix) => write!(f, "keys below {}", prefix.escape_debug()),
        }
    }
}

impl WatchScope {
    /// Whether the key is in scope.
    pub fn covers(&self, key: &str) -> bool {
        match self {
            WatchScope::Key(wanted) => wanted == key,
            WatchScope::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// Delivers changes to any number of watchers.
///
/// Each watcher has a queue with at most one pending change per key, the newest: a slow watcher
/// costs memory in proportion to the keys, not to the changes, and never stalls the store.
#[derive(Debug)]
pub struct WatchHub<V> {
    /// Lock order: any lock that the caller holds while it subscribes or publishes, then this one.
    /// It is released before a watcher's queue is locked.
    watchers: Mutex<Vec<Weak<Watcher<V>>>>,
}

#[derive(Debug)]
struct Watcher<V> {
    scope: WatchScope,
    queue: Mutex<Queue<V>>,
    changed: Notify,
}

#[derive(Debug)]
struct Queue<V> {
    /// Keys with a pending change, oldest first; `None` stands for [`WatchEvent::Synced`].
    order: std::collections::VecDeque<Option<String>>,
    pending: HashMap<String, Option<V>>,
    closed: bool,
}

impl<V> Default for WatchHub<V> {
    fn default() -> Self {
        Self {
            watchers: Mutex::new(Vec::new()),
        }
    }
}

impl<V: Clone + Send + 'static> WatchHub<V> {
    /// A stream that begins with `initial`. To lose nothing, the caller reads `initial` and
    /// subscribes under the lock under which it also publishes.
    pub fn subscribe(
        &self,
        scope: WatchScope,
        initial: impl IntoIterator<Item = (String, V)>,
    ) -> WatchStream<V> {
        let pending: HashMap<String, Option<V>> = initial
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        let order = pending.keys().cloned().map(Some).chain([None]).collect();
        let watcher = Arc::new(Watcher {
            scope,
            queue: Mutex::new(Queue {
                order,
                pending,
                closed: false,
            }),
            changed: Notify::new(),
        });
        let mut watchers = lock(&self.watchers);
        watchers.retain(|known| known.strong_count() > 0);
        watchers.push(Arc::downgrade(&watcher));
        Box::pin(stream::unfold(watcher, |watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        }))
    }

    /// Delivers a change of `key` to the watchers whose scope includes it; `None` means deleted.
    pub fn publish(&self, key: &str, value: Option<&V>) {
        for watcher in self.live() {
            if watcher.scope.covers(key) {
                watcher.push(key, value.cloned());
            }
        }
    }
}

impl<V> WatchHub<V> {
    /// Changes that watchers have not taken yet, those of each watcher counted.
    pub fn pending(&self) -> usize {
        let pending = |watcher: &Arc<Watcher<V>>| lock(&watcher.queue).pending.len();
        self.live().iter().map(pending).sum()
    }

    /// Ends all streams, after their pending events.
    pub fn close(&self) {
        for watcher in self.live() {
            lock(&watcher.queue).closed = true;
            watcher.changed.notify_one();
        }
    }

    fn live(&self) -> Vec<Arc<Watcher<V>>> {
        lock(&self.watchers)
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl<V> Watcher<V> {
    fn push(&self, key: &str, value: Option<V>) {
        let mut queue = lock(&self.queue);
        if queue.pending.insert(key.to_owned(), value).is_none() {
            queue.order.push_back(Some(key.to_owned()));
        }
        drop(queue);
        self.changed.notify_one();
    }

    async fn next(&self) -> Option<WatchEvent<V>> {
        loop {
            {
                let mut queue = lock(&self.queue);
                match queue.order.pop_front() {
                    Some(None) => return Some(WatchEvent::Synced),
                    Some(Some(key)) => {
                        return match queue.pending.remove(&key).flatten() {
                            Some(value) => Some(WatchEvent::Put(key, value)),
                            None => Some(WatchEvent::Deleted(key)),
                        };
                    }
                    None if queue.closed => return None,
                    None => {}
                }
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[test]
    fn a_scope_is_said_in_words() {
        let below = |prefix: &str| WatchScope::Prefix(prefix.to_owned()).to_string();
        assert_eq!(below("collectors/"), "keys below collectors/");
        assert_eq!(below(""), "all keys");
        assert_eq!(WatchScope::Key("a\n".to_owned()).to_string(), "key a\\n");
    }

    #[tokio::test]
    async fn a_slow_watcher_sees_the_last_value_once() {
        let hub = WatchHub::<u32>::default();
        let mut watch = hub.subscribe(WatchScope::Prefix("a/".into()), []);
        for value in 0..1000 {
            hub.publish("a/1", Some(&value));
        }
        hub.publish("b/1", Some(&1));
        assert_eq!(hub.pending(), 1);
        hub.close();
        let seen: Vec<String> = watch
            .by_ref()
            .map(|event| format!("{event:?}"))
            .collect::<Vec<_>>()
            .await;
        assert_eq!(seen, ["Synced", "Put(\"a/1\", 999)"]);
        assert_eq!(hub.pending(), 0);
    }

    #[tokio::test]
    async fn a_dropped_stream_is_forgotten() {
        let hub = WatchHub::<u32>::default();
        for _ in 0..100 {
            drop(hub.subscribe(WatchScope::Key("a".into()), []));
        }
        assert!(lock(&hub.watchers).len() <= 1);
    }
}
