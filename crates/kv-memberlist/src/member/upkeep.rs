//! What a member does all the time: publish, look who is there, take over what nobody holds, tidy.

use std::sync::Arc;
use std::time::Duration;

use kv_core::Mergeable;
use rand::seq::IteratorRandom;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::MemberState;
use crate::engine::chitchat::liveness::{Change, Liveness};
use crate::engine::chitchat::{OnCopy, PeerId};
use crate::member::Inner;
use crate::metrics::{BAD_ENTRY, Metrics};
use crate::store::Phase;
use crate::view::{Holder, Sweep, View};

/// Bounds of the time between two looks; in between it is the gossip interval.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Sweeps go on for this long after a member has gone.
const SWEEP_AFTER_LOSS: Duration = Duration::from_secs(3);

/// Time between two sweeps when nothing happens: for what was overlooked.
const SWEEP_ANYWAY: Duration = Duration::from_secs(10);

/// A sweep looks at every copy, and holds up gossip and elections meanwhile: this many times as long
/// it lets them go on before the next one.
pub(crate) const SWEEP_SHARE: u32 = 9;

/// Time between two withdrawals of what is superseded or long deleted. In between, the version from
/// which chitchat can tell what has changed stands still: a joiner that is sent a large map in many
/// parts would have to begin again whenever it moves.
const TIDY: Duration = Duration::from_secs(10);

/// An entry that the member chosen for it has not taken over in this time is taken over by all.
const ANYBODY: Duration = Duration::from_secs(5);

/// Members that are told of a write at once.
const TOLD_AT_ONCE: usize = 4;

/// Pause before gossip is started again after a panic.
const RESTART: Duration = Duration::from_millis(100);

/// Folds in what others publish.
pub(crate) fn on_copy<V>(
    view: Arc<View<V>>,
    metrics: Metrics,
    phase: watch::Receiver<Phase>,
) -> OnCopy
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    Arc::new(move |key, text| match view.apply(key, text) {
        Ok(Some(updated_ms)) if *phase.borrow() == Phase::Ready => {
            let delay = crate::clock::now_ms().saturating_sub(updated_ms).max(0);
            metrics.propagation.observe(delay as f64 / 1000.0);
        }
        Ok(_) => {}
        Err(error) => {
            metrics.refuse(BAD_ENTRY);
            tracing::debug!(
                key,
                "a member publishes an entry that cannot be read: {error}"
            );
        }
    })
}

/// Publishes what this member wrote or took over. A write after a quiet time is also told to some
/// members at once, instead of with the next round: elections are rare, and urgent.
pub(crate) async fn publish<V>(inner: Arc<Inner<V>>) -> String
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let mut told_at = Instant::now();
    loop {
        inner.view.to_publish.notified().await;
        inner.gossip.publish(|| inner.view.take_dirty()).await;
        let was_quiet = told_at.elapsed() >= inner.config.gossip_interval;
        told_at = Instant::now();
        if was_quiet {
            let others = inner.liveness().addresses().into_iter();
            for address in others.sample(&mut rand::rng(), TOLD_AT_ONCE) {
                inner.gossip.exchange(address);
            }
        }
    }
}

/// Starts gossip again when it has panicked: a bug, which must not take the elections with it.
pub(crate) async fn keep_running<V>(inner: Arc<Inner<V>>) -> String
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    loop {
        let how = inner.gossip.ended().await;
        tracing::error!("gossip ended and is started again: {how}");
        inner.metrics.restarts.inc();
        tokio::time::sleep(RESTART).await;
        if let Err(error) = inner.gossip.restart(inner.says()).await {
            return format!("memberlist: gossip ended ({how}) and cannot start again: {error:#}");
        }
        // It may have begun to say something else meanwhile.
        inner.gossip.say(inner.says()).await;
        inner.view.publish_all_again();
    }
}

/// Looks who is there, takes over what nobody holds, drops what is superseded or long deleted.
pub(crate) async fn look_after<V>(inner: Arc<Inner<V>>) -> String
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let pause = inner.config.gossip_interval.clamp(LOOK.0, LOOK.1);
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut sweeps = Sweeps::new();
    let mut tidied = Instant::now();
    loop {
        ticks.tick().await;
        let late = last.elapsed().saturating_sub(pause);
        last = Instant::now();
        let score = late.as_millis() / inner.config.gossip_interval.as_millis().max(1);
        inner.metrics.health_score.set(score.min(8) as i64);
        let overdue = inner.pulse.is_overdue();
        if overdue {
            inner.fall_behind();
        }
        inner.pulse.beat();
        if look(&inner).await {
            sweeps.someone_went();
        }
        if overdue {
            inner.held_up.notify_one();
        }
        if sweeps.is_due() {
            let began = Instant::now();
            let orphans = sweep(&inner, sweeps.anybody()).await;
            sweeps.found(orphans, began.elapsed());
        }
        if tidied.elapsed() >= TIDY {
            tidied = Instant::now();
            tidy(&inner).await;
        }
    }
}

/// When to look for entries that nobody publishes.
struct Sweeps {
    last: Instant,
    /// How long the last one took.
    took: Duration,
    until: Instant,
    orphans_since: Option<Instant>,
}

impl Sweeps {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            last: now,
            took: Duration::ZERO,
            until: now,
            orphans_since: None,
        }
    }

    fn someone_went(&mut self) {
        self.until = Instant::now() + SWEEP_AFTER_LOSS;
    }

    fn is_due(&self) -> bool {
        let wanted = self.orphans_since.is_some()
            || Instant::now() < self.until
            || self.last.elapsed() >= SWEEP_ANYWAY;
        wanted && self.last.elapsed() >= self.took * SWEEP_SHARE
    }

    fn anybody(&self) -> bool {
        self.orphans_since
            .is_some_and(|since| since.elapsed() >= ANYBODY)
    }

    fn found(&mut self, orphans: usize, took: Duration) {
        (self.last, self.took) = (Instant::now(), took);
        self.orphans_since = match (orphans, self.orphans_since) {
            (0, _) => None,
            (_, Some(since)) => Some(since),
            (_, None) => Some(self.last),
        };
    }
}

/// Whether somebody went, so that entries may have nobody who publishes them.
async fn look<V>(inner: &Inner<V>) -> bool
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let peers = inner.gossip.peers().await;
    let (changes, alive) = {
        let mut liveness = inner.liveness();
        let changes = liveness.look(peers);
        inner
            .gossip
            .wire()
            .admission()
            .set_members(liveness.addresses());
        (changes, liveness.alive())
    };
    inner
        .metrics
        .members
        .set(i64::try_from(alive).unwrap_or(i64::MAX));
    for change in &changes {
        log(change, &inner.name);
    }
    let went = |change: &Change| !change.to.is_some_and(MemberState::holds);
    changes.iter().any(went)
}

fn log(change: &Change, own: &str) {
    let (name, address) = (&change.id.node_id, change.id.gossip_advertise_addr);
    if &**name == own {
        return;
    }
    if !change.heard {
        tracing::debug!(%name, %address, to = ?change.to, "a member that was only heard of");
        return;
    }
    match (change.from, change.to) {
        (_, Some(MemberState::Dead)) => {
            tracing::warn!(%name, %address, "a member is silent and counts as dead");
        }
        (Some(MemberState::Dead), Some(_)) => tracing::info!(%name, %address, "a member is back"),
        (_, Some(MemberState::Active)) => tracing::info!(%name, %address, "a member is active"),
        (_, Some(MemberState::Joining)) => tracing::info!(%name, %address, "a member is joining"),
        (_, Some(MemberState::Leaving)) => tracing::info!(%name, %address, "a member is leaving"),
        (_, Some(MemberState::Left)) => tracing::info!(%name, %address, "a member has left"),
        (Some(_), None) => tracing::info!(%name, %address, "a member is forgotten"),
        (None, None) => {}
    }
}

/// Takes over entries that no living member publishes and that are this member's to take, and drops
/// copies that others publish as well; how many nobody publishes.
async fn sweep<V>(inner: &Inner<V>, anybody: bool) -> usize
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let (holding, active) = {
        let liveness = inner.liveness();
        let members = || liveness.members().map(|(id, _)| id.clone());
        let holding: Vec<PeerId> = members().filter(|id| liveness.holds(id)).collect();
        let active: Vec<PeerId> = members().filter(|id| is_active(&liveness, id)).collect();
        (holding, active)
    };
    // One that joins or leaves takes nothing over.
    let takes_part = inner.says() == MemberState::Active;
    let keep = inner.config.obsolete_entries_timeout.as_millis();
    let tombstones_since =
        crate::clock::now_ms().saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    let swept = inner
        .gossip
        .visit_copies(
            |id| holding.contains(id),
            || inner.view.sweep(),
            Sweep::held,
            |sweep| {
                sweep.adopt_orphans(tombstones_since, |key, again| {
                    takes_part && again && (anybody || is_chosen(&inner.name, &active, key))
                })
            },
        )
        .await;
    if !swept.redundant.is_empty() {
        let holds = |id: &PeerId, holder| holder == Holder::Before && holding.contains(id);
        let done = |withdrawn: Vec<String>, _| inner.view.dropped_own(&withdrawn);
        let take = || inner.view.still_own(swept.redundant);
        inner.gossip.withdraw_held(take, holds, done).await;
    }
    swept.orphans
}

fn is_active(liveness: &Liveness, id: &PeerId) -> bool {
    liveness.state(id) == Some(MemberState::Active)
}

/// Whether `own` is the member that takes over `key`: the one whose name and key hash highest. All
/// who agree on who is active choose the same one, each key's on its own.
fn is_chosen(own: &str, active: &[PeerId], key: &str) -> bool {
    let weight = |name: &str| {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([0])
            .chain_update(key);
        hash.finalize()
    };
    let ours = (weight(own), own);
    active.iter().all(|id| {
        let name: &str = &id.node_id;
        (weight(name), name) <= ours
    })
}

/// Drops own copies that others have superseded, and tombstones that everybody has seen.
async fn tidy<V>(inner: &Inner<V>)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let keep = inner.config.obsolete_entries_timeout;
    let (holding, remembers_gone) = {
        let liveness = inner.liveness();
        let holding: Vec<PeerId> = liveness
            .members()
            .filter(|(id, _)| liveness.holds(id))
            .map(|(id, _)| id.clone())
            .collect();
        (holding, liveness.remembers_gone())
    };
    // Half as long as tombstones: no copy from before a deletion outlasts the memory of it.
    let take = || inner.view.long_superseded(keep / 2);
    let done = |withdrawn: Vec<String>, kept| {
        inner.view.dropped_own(&withdrawn);
        inner.view.still_superseded(kept);
    };
    inner
        .gossip
        .withdraw_held(take, |id, _| holding.contains(id), done)
        .await;
    // A member that is gone, and not yet forgotten, may come back with the value from before.
    let age = if remembers_gone {
        keep.max(inner.config.left_ingesters_timeout)
    } else {
        keep
    };
    inner
        .gossip
        .withdraw(|| inner.view.expire_tombstones(age))
        .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_takes_long_is_not_followed_by_another_at_once() {
        let mut sweeps = Sweeps::new();
        assert!(!sweeps.is_due());
        sweeps.someone_went();
        assert!(sweeps.is_due());
        let took = Duration::from_millis(200);
        for _ in 0..3 {
            sweeps.found(1, took);
            tokio::time::advance(took * SWEEP_SHARE - Duration::from_millis(1)).await;
            assert!(!sweeps.is_due());
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(sweeps.is_due());
        }
        sweeps.found(0, took);
        tokio::time::advance(SWEEP_ANYWAY - Duration::from_millis(1)).await;
        assert!(!sweeps.is_due());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(sweeps.is_due());
    }
}
