//! Telling others of elections: the state, then every change, in order.
//!
//! Changes go through one ring, which all watchers share, and a state is made anew only when
//! something has changed since the last one was made, and not too often: nothing here grows with the
//! number of watchers, nor with how slow they are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::ReplicaDesc;
use crate::tracker::HaTracker;

/// Time between two states that are made: each costs a look at every cluster, while nobody is elected.
const BETWEEN_STATES: Duration = Duration::from_millis(100);

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
    made: Option<Instant>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            ring: broadcast::Sender::new(RING),
            sequence: 0,
            state: Arc::default(),
            made: None,
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
    ///
    /// # Errors
    /// One was made just now: wait until then.
    pub(crate) fn state(
        &mut self,
        elections: impl FnOnce() -> Vec<ClusterElection>,
    ) -> Result<Arc<ElectionState>, Instant> {
        if self.state.sequence != self.sequence {
            let now = Instant::now();
            let next = self.made.map(|made| made + BETWEEN_STATES);
            if let Some(next) = next.filter(|next| *next > now) {
                return Err(next);
            }
            self.made = Some(now);
            self.state = Arc::new(ElectionState {
                elections: elections(),
                sequence: self.sequence,
            });
        }
        Ok(Arc::clone(&self.state))
    }

    /// The one that was made last.
    #[cfg(feature = "grpc")]
    fn last_state(&self) -> Arc<ElectionState> {
        Arc::clone(&self.state)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<ElectionChange>> {
        self.ring.subscribe()
    }
}

impl HaTracker {
    /// All elections now, by tenant and cluster. Costs nothing while nothing changes; while something
    /// does, a state is made ten times a second at most, for which this waits.
    pub async fn election_state(&self) -> Arc<ElectionState> {
        loop {
            match self.cache.state() {
                Ok(state) => return state,
                Err(then) => tokio::time::sleep_until(then).await,
            }
        }
    }

    /// A state that has all that any watcher has been told.
    #[cfg(feature = "grpc")]
    pub(crate) fn last_election_state(&self) -> Arc<ElectionState> {
        self.cache.with_feed(|feed| feed.last_state())
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
            let state = self.tracker.election_state().await;
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
