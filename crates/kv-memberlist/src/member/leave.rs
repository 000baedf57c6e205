//! Leaving: first hands entries over, then announces that the member has left.

use std::collections::HashSet;
use std::time::Duration;

use kv_core::Value;
use tokio::time::{Instant, timeout};

use super::sweep::{SWEEP_SHARE, missing};
use crate::engine::{Engine, MemberId};
use crate::phase::{Phase, Phases};
use crate::status::MemberState;
use crate::view::View;

/// Least time between two checks whether everything was taken over.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Rounds of gossip for the others to learn that this member has left.
const TOLD_WITHIN_ROUNDS: u32 = 10;

/// How long leaving may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaveTimeouts {
    pub(super) all: Duration,
    pub(super) gossip_interval: Duration,
}

/// Hands this member's entries over to the others, and announces that it has left.
pub(super) async fn leave<V: Value>(
    engine: &dyn Engine,
    view: &View<V>,
    phases: &Phases,
    timeouts: LeaveTimeouts,
) {
    let began = Instant::now();
    engine.announce(MemberState::Leaving).await;
    let handed_over = timeout(timeouts.all, hand_over(engine, view)).await;
    if handed_over.is_err() {
        tracing::warn!(
            "not all entries were taken over within leave_timeout; the other members take them \
             over when they consider this one dead"
        );
    }
    phases.set(Phase::Gone);
    engine.announce(MemberState::Left).await;
    let rest = timeouts.all.saturating_sub(began.elapsed());
    let rest = rest.min(timeouts.gossip_interval * TOLD_WITHIN_ROUNDS);
    let told = timeout(rest, engine.announced()).await;
    tracing::info!(
        took_ms = crate::clock::millis(began.elapsed()),
        all_members_know = told.is_ok(),
        "left the gossip cluster"
    );
}

/// Waits until other members, none of them leaving, publish everything that this member knows.
async fn hand_over<V: Value>(engine: &dyn Engine, view: &View<V>) {
    loop {
        let members = engine.members();
        let others = members.others().filter(|member| member.state.holds());
        let others: HashSet<MemberId> = others.map(|member| member.id.clone()).collect();
        if others.is_empty() {
            tracing::info!("there is no other member to hand over to");
            return;
        }
        let began = Instant::now();
        if missing(engine, view, |id| others.contains(id)).await == 0 {
            return;
        }
        tokio::time::sleep(POLL_INTERVAL.max(began.elapsed() * SWEEP_SHARE)).await;
    }
}
