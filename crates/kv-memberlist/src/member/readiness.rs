//! Becoming ready.

use std::sync::Arc;

use tokio::time::Instant;

use crate::engine::{CatchUp, Engine};
use crate::phase::{Phase, Phases};
use crate::status::MemberState;

/// What changes when a member becomes ready: the state that it announces, and its phase, which
/// callers wait for.
#[derive(Clone)]
pub(super) struct Readiness {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) phases: Phases,
    pub(super) name: String,
}

impl Readiness {
    /// This member has all entries of its cluster; `how` is the reason, for the log.
    pub(super) async fn become_ready(&self, how: &str) {
        self.engine.announce(MemberState::Active).await;
        self.phases.set(Phase::Ready);
        tracing::info!(name = %self.name, "memberlist is ready: {how}");
    }

    /// Catches up, and then is ready.
    pub(super) async fn catch_up(&self, why: CatchUp<'_>) {
        let began = Instant::now();
        let progress = |text| self.wait_for(text);
        self.engine.catch_up(why, &progress).await;
        self.become_ready("joined").await;
        tracing::info!(
            took_ms = crate::clock::millis(began.elapsed()),
            "this member has all entries of its cluster"
        );
    }

    /// It is not ready yet: it is waiting for this.
    pub(super) fn wait_for(&self, what: String) {
        self.phases.set(Phase::Joining(what));
    }
}
