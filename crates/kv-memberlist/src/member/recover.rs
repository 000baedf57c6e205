//! Catches up after this process did not run.

use std::sync::Arc;

use tokio::sync::Notify;

use super::readiness::Readiness;
use crate::engine::CatchUp;
use crate::status::MemberState;

/// Catches up whenever `stalled` says that this process did not run for a while: a failover decided
/// on what it knew before would be wrong.
pub(super) async fn recover(readiness: Readiness, stalled: Arc<Notify>) {
    let engine = &readiness.engine;
    loop {
        stalled.notified().await;
        // One that still joins catches up anyway, and one that leaves need not.
        if engine.own_state() != MemberState::Active {
            continue;
        }
        if engine.members().is_alone() {
            readiness.become_ready("there is no other member").await;
            continue;
        }
        readiness.catch_up(CatchUp::AfterStall).await;
    }
}
