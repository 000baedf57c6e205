//! Catches up after this process was stalled.

use std::sync::Arc;

use tokio::sync::Notify;

use super::readiness::Readiness;
use crate::engine::CatchUp;
use crate::status::MemberState;

/// Catches up whenever `stalled` reports that this process did not run for a while: a failover
/// decided on its old state would be wrong.
pub(super) async fn recover(readiness: Readiness, stalled: Arc<Notify>) {
    let engine = &readiness.engine;
    loop {
        stalled.notified().await;
        // A joining member catches up anyway, and a leaving one need not.
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
