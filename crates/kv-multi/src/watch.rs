//! A watch that continues across switches.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream;
use kv_core::{WatchEvent, WatchStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state::State;

struct Follower<V, S> {
    subscribe: S,
    states: watch::Receiver<State>,
    events: WatchStream<V>,
    /// Cancelled when `events` are not the primary's any more.
    moved: CancellationToken,
    /// Keys that have been delivered to the watcher.
    known: HashSet<String>,
    /// Those that the new primary has not delivered yet, until its snapshot is complete.
    unseen: Option<HashSet<String>>,
    /// To be delivered before anything else.
    gone: Vec<String>,
    synced: bool,
}

/// Events of the current primary: `subscribe` begins a watch of the store that a state reads from.
/// After a switch the watcher receives the new primary's entries, deletions for those that it
/// lacks, and [`WatchEvent::Synced`].
pub(crate) fn follow<V, S>(states: watch::Receiver<State>, subscribe: S) -> WatchStream<V>
where
    V: Send + 'static,
    S: Fn(&State) -> WatchStream<V> + Send + 'static,
{
    let state = states.borrow().clone();
    let follower = Follower {
        events: subscribe(&state),
        moved: state.moved,
        subscribe,
        states,
        known: HashSet::new(),
        unseen: None,
        gone: Vec::new(),
        synced: false,
    };
    Box::pin(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    }))
}

impl<V, S> Follower<V, S>
where
    V: Send + 'static,
    S: Fn(&State) -> WatchStream<V>,
{
    async fn next(&mut self) -> Option<WatchEvent<V>> {
        loop {
            if let Some(key) = self.gone.pop() {
                return Some(WatchEvent::Deleted(key));
            }
            if std::mem::take(&mut self.synced) {
                return Some(WatchEvent::Synced);
            }
            tokio::select! {
                biased;
                () = self.moved.cancelled() => self.resubscribe(),
                event = self.events.next() => {
                    if let Some(event) = self.note(event?) {
                        return Some(event);
                    }
                }
            }
        }
    }

    fn resubscribe(&mut self) {
        let state = self.states.borrow().clone();
        self.events = (self.subscribe)(&state);
        self.moved = state.moved;
        self.synced = false;
        self.unseen = Some(self.known.clone());
    }

    fn note(&mut self, event: WatchEvent<V>) -> Option<WatchEvent<V>> {
        match &event {
            WatchEvent::Put(key, _) | WatchEvent::Undecodable(key, _) => {
                self.known.insert(key.clone());
                if let Some(unseen) = &mut self.unseen {
                    unseen.remove(key);
                }
            }
            WatchEvent::Deleted(key) => {
                self.known.remove(key);
                if let Some(unseen) = &mut self.unseen {
                    unseen.remove(key);
                }
            }
            WatchEvent::Synced => {
                self.synced = true;
                for key in self.unseen.take().unwrap_or_default() {
                    self.known.remove(&key);
                    self.gone.push(key);
                }
                return None;
            }
            _ => {}
        }
        Some(event)
    }
}
