//! Telling others of elections: the state, then every change, in order.
//!
//! Changes go through one ring, which all watchers share, and a state is made anew only when
//! something has changed since the last one was made: memory does not grow with the number of
//! watchers, and a slow one costs nothing but its own lag.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::ReplicaDesc;
use crate::tracker::HaTracker;

/// Changes that a watcher may be behind; then it gets the state again. An election is rare.
const RING: usize = 1024;

/// The election of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterElection {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// What is stored. Its `received_at` is as of when the state was made, or the election.
    pub desc: ReplicaDesc,
}

/// All elections at one moment.
#[derive(Debug, Default)]
pub struct ElectionState {
    /// By tenant and cluster.
    pub elections: Vec<ClusterElection>,
    /// The last change that is in it.
    pub(crate) sequence: u64,
}

/// One change.
#[derive(Debug)]
pub struct ElectionChange {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// What is stored now; `None` if the cluster was forgotten.
    pub desc: Option<ReplicaDesc>,
    pub(crate) sequence: u64,
}

/// What a watcher is told.
#[derive(Debug, Clone)]
pub enum ElectionEvent {
    /// All elections: what is not in it, is not elected (any more). Comes first, and after
    /// [`ElectionEvent::Lagged`].
    State(Arc<ElectionState>),
    /// A replica was elected, or a cluster was forgotten.
    Changed(Arc<ElectionChange>),
    /// The watcher was too slow, and so many changes were left out. The state follows.
    Lagged(u64),
}

/// Follows the elections of a tracker; see [`HaTracker::watch`].
pub struct ElectionWatch {
    tracker: Arc<HaTracker>,
    changes: broadcast::Receiver<Arc<ElectionChange>>,
    /// The last change that was in the state.
    known: u64,
    needs_state: bool,
}

/// The side of the cache. Everything here happens while the cache's write lock is held.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: broadcast::Sender<Arc<ElectionChange>>,
    sequence: u64,
    state: Arc<ElectionState>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            ring: broadcast::Sender::new(RING),
            sequence: 0,
            state: Arc::default(),
        }
    }
}

impl Feed {
    /// To be called for every change, with what `desc` makes of it.
    pub(crate) fn changed(
        &mut self,
        tenant: &str,
        cluster: &str,
        desc: impl FnOnce() -> Option<ReplicaDesc>,
    ) {
        self.sequence += 1;
        if self.ring.receiver_count() == 0 {
            return;
        }
        // Fails if the last watcher went just now.
        let _ = self.ring.send(Arc::new(ElectionChange {
            tenant: tenant.to_owned(),
            cluster: cluster.to_owned(),
            desc: desc(),
            sequence: self.sequence,
        }));
    }

    /// The state, made by `elections` if the last one is not the present one.
    pub(crate) fn state(
        &mut self,
        elections: impl FnOnce() -> Vec<ClusterElection>,
    ) -> Arc<ElectionState> {
        if self.state.sequence != self.sequence {
            self.state = Arc::new(ElectionState {
                elections: elections(),
                sequence: self.sequence,
            });
        }
        Arc::clone(&self.state)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<ElectionChange>> {
        self.ring.subscribe()
    }
}

impl HaTracker {
    /// All elections now, by tenant and cluster. Costs nothing while nothing changes.
    pub fn election_state(&self) -> Arc<ElectionState> {
        self.cache.state()
    }

    /// Follows the elections from now on: first the state, then each change. Any number of watchers
    /// share their memory; one that is more than 1024 changes behind is told so, and given the state
    /// again.
    pub fn watch(self: &Arc<Self>) -> ElectionWatch {
        ElectionWatch {
            changes: self.cache.with_feed(|feed| feed.subscribe()),
            tracker: Arc::clone(self),
            known: 0,
            needs_state: true,
        }
    }
}

impl ElectionWatch {
    /// The next event; `None` when the tracker shuts down. Waits for [`HaTracker::ready`] first.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ElectionEvent> {
        let shutdown = self.tracker.shutdown.clone();
        shutdown.run_until_cancelled(self.event()).await.flatten()
    }

    async fn event(&mut self) -> Option<ElectionEvent> {
        if self.needs_state {
            self.tracker.ready().await;
            let state = self.tracker.election_state();
            self.known = state.sequence;
            self.needs_state = false;
            return Some(ElectionEvent::State(state));
        }
        loop {
            match self.changes.recv().await {
                // It was in the state already.
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
