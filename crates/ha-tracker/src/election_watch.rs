//! Following the elections of a tracker: the state, then every change, in order.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, ElectionChange, ElectionState};
use crate::ready::Ready;

/// An event of a watch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ElectionEvent {
    /// All elections; clusters that are not in it have none (any more). Comes first, and after
    /// [`ElectionEvent::Lagged`].
    State(Arc<ElectionState>),
    /// A replica was elected, or a cluster was removed.
    Changed(Arc<ElectionChange>),
    /// The watcher was too slow, and this many changes were skipped. The state follows.
    Lagged(u64),
}

/// Follows the elections of a tracker; see [`HaTracker::watch`](crate::HaTracker::watch).
pub struct ElectionWatch {
    cache: Arc<Cache>,
    ready: Arc<Ready>,
    shutdown: CancellationToken,
    changes: broadcast::Receiver<Arc<ElectionChange>>,
    /// The last change that was in the state.
    known: u64,
    needs_state: bool,
}

impl ElectionWatch {
    /// Follows changes from now on. Waits for `ready`, and ends at `shutdown`.
    pub(crate) fn new(cache: Arc<Cache>, ready: Arc<Ready>, shutdown: CancellationToken) -> Self {
        Self {
            changes: cache.subscribe(),
            cache,
            ready,
            shutdown,
            known: 0,
            needs_state: true,
        }
    }

    /// The next event; `None` when the tracker shuts down. Waits for
    /// [`HaTracker::ready`](crate::HaTracker::ready) first. [`Send`], and cancel safe.
    pub async fn next(&mut self) -> Option<ElectionEvent> {
        let shutdown = self.shutdown.clone();
        shutdown.run_until_cancelled(self.event()).await.flatten()
    }

    async fn event(&mut self) -> Option<ElectionEvent> {
        if self.needs_state {
            self.ready.wait().await;
            let state = self.cache.election_state();
            self.known = state.sequence;
            self.needs_state = false;
            return Some(ElectionEvent::State(state));
        }
        loop {
            match self.changes.recv().await {
                // It was already in the state.
                Ok(change) if change.sequence <= self.known => {}
                Ok(change) => return Some(ElectionEvent::Changed(change)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    self.needs_state = true;
                    return Some(ElectionEvent::Lagged(missed));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
