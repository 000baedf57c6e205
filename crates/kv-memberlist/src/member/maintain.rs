//! The periodic work of a member: checks members, takes over orphaned entries, drops obsolete
//! copies.

use std::sync::Arc;
use std::time::Duration;

use kv_core::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::sweep::{Schedule, Sweeper, TIDY_INTERVAL};
use crate::engine::{Engine, MemberChange};
use crate::metrics::Metrics;
use crate::phase::Phases;
use crate::status::MemberState;
use crate::watchdog::Watchdog;

/// Bounds of the time between two checks of the members; within these it is the gossip interval.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(50);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The task's parts.
pub(super) struct Maintenance<V> {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) sweeper: Sweeper<V>,
    pub(super) phases: Phases,
    pub(super) watchdog: Arc<Watchdog>,
    /// Notified when this process runs again after a stall.
    pub(super) stalled: Arc<Notify>,
    pub(super) gossip_interval: Duration,
    /// Of this member.
    pub(super) name: String,
    pub(super) metrics: Metrics,
}

/// Checks the members, sweeps, and drops obsolete copies.
pub(super) async fn maintain<V: Value>(parts: Maintenance<V>) {
    let pause = parts
        .gossip_interval
        .clamp(MIN_POLL_INTERVAL, MAX_POLL_INTERVAL);
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut sweeps = Schedule::new();
    let mut tidied = Instant::now();
    loop {
        ticks.tick().await;
        parts.score(last.elapsed().saturating_sub(pause));
        last = Instant::now();
        let pending = parts.sweeper.view.pending_notifications();
        parts.metrics.pending_notifications.set(pending as i64);
        let has_stalled = parts.watchdog.is_stalled();
        if has_stalled {
            parts.engine.note_stall();
            parts.phases.fall_behind();
        }
        parts.watchdog.feed();
        if parts.poll().await {
            sweeps.member_went();
        }
        if has_stalled {
            parts.stalled.notify_one();
        }
        if sweeps.is_due() {
            let began = Instant::now();
            let orphans = parts.sweeper.sweep(sweeps.any_member_takes()).await;
            sweeps.found(orphans, began.elapsed());
        }
        if tidied.elapsed() >= TIDY_INTERVAL {
            tidied = Instant::now();
            parts.sweeper.tidy().await;
        }
    }
}

impl<V: Value> Maintenance<V> {
    /// This task ran this much later than it should have.
    fn score(&self, late: Duration) {
        let rounds = late.as_millis() / self.gossip_interval.as_millis().max(1);
        let score = match self.engine.health_score() {
            Some(score) => i64::from(score),
            None => rounds.min(8) as i64,
        };
        self.metrics.health_score.set(score);
    }

    /// Updates the members; returns whether one is gone, so that its entries may have no publisher.
    async fn poll(&self) -> bool {
        let changes = self.engine.poll_members().await;
        let alive = self.engine.members().alive();
        self.metrics
            .members
            .set(i64::try_from(alive).unwrap_or(i64::MAX));
        for change in &changes {
            log(change, &self.name);
        }
        let went = |change: &MemberChange| !change.to.is_some_and(MemberState::holds);
        changes.iter().any(went)
    }
}

fn log(change: &MemberChange, own: &str) {
    let (name, address) = (&change.id.name, change.id.address);
    if &**name == own {
        return;
    }
    if !change.heard {
        tracing::debug!(%name, %address, to = ?change.to, "a member that has not sent anything itself");
        return;
    }
    match (change.from, change.to) {
        (_, Some(MemberState::Dead)) => {
            tracing::warn!(%name, %address, "a member is not responding: considered dead");
        }
        (Some(MemberState::Dead), Some(_)) => tracing::info!(%name, %address, "a member is back"),
        (_, Some(MemberState::Active)) => tracing::info!(%name, %address, "a member is active"),
        (_, Some(MemberState::Joining)) => tracing::info!(%name, %address, "a member is joining"),
        (_, Some(MemberState::Leaving)) => tracing::info!(%name, %address, "a member is leaving"),
        (_, Some(MemberState::Left)) => tracing::info!(%name, %address, "a member has left"),
        (Some(_), None) => tracing::info!(%name, %address, "a member is removed"),
        (None, None) => {}
    }
}
