//! The phase of a member: joining, ready, gone.

use std::sync::Arc;

use tokio::sync::watch;

/// The phase of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It does not have all entries of its cluster, or not after a stall; the text says what it is
    /// waiting for.
    Joining(String),
    /// It has all entries of its cluster, or is alone.
    Ready,
    /// It has left.
    Gone,
}

/// Changes the phase of a member, and wakes those that wait for it. Clones change the same one.
#[derive(Clone)]
pub(crate) struct Phases(Arc<watch::Sender<Phase>>);

impl Phases {
    pub(crate) fn new() -> Self {
        let (phase, _) = watch::channel(Phase::Joining("starting".to_owned()));
        Self(Arc::new(phase))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Enters this phase; a member that has left stays so.
    pub(crate) fn set(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let differs = *current != phase && *current != Phase::Gone;
            if differs {
                *current = phase;
            }
            differs
        });
    }

    /// This process did not run for a while: its state is old, and calls have to wait. A joining
    /// member waits anyway.
    pub(crate) fn fall_behind(&self) {
        self.0.send_if_modified(|current| {
            let was_ready = *current == Phase::Ready;
            if was_ready {
                tracing::warn!("this process was stopped, or had no CPU: catching up");
                *current = Phase::Joining("catching up after a stop of this process".to_owned());
            }
            was_ready
        });
    }
}
