//! The state of one cluster at one distributor.

mod election;
mod phase;
mod publish;
mod replay;
mod requests;
mod traffic;

use std::sync::Arc;

use smol_str::SmolStr;

use crate::hold::Hold;
use crate::terms::NEVER_MS;
use crate::{
    Budget, Claim, ClaimStage, Context, Effect, Faults, Output, Plan, PlanStage, Reason, Settings,
    Term,
};

use election::Election;
use phase::Phase;
use publish::Publisher;
use replay::Replay;
use traffic::Traffic;
pub use traffic::{Lane, Ticket};

#[cfg(test)]
mod tests;

/// Time between two attempts of what failed, ms.
const RETRY_MS: i64 = 500;

/// The state of one cluster at one distributor. See the crate's documentation.
#[derive(Debug)]
pub struct ClusterState<B> {
    me: SmolStr,
    settings: Settings,
    faults: Faults,
    term: Option<Term>,
    /// When some distributor last recorded the elected replica, Unix ms.
    received_at: i64,
    phase: Phase,
    /// Where this term began, ms of sample time. Only what is later by more than the guard is
    /// accepted. Known from [`Phase::Replaying`] on.
    boundary_ms: i64,
    /// Of this term.
    traffic: Arc<Traffic>,
    lane: Arc<Lane>,
    /// Highest watermark of earlier terms, for elections that are not ours.
    before_ms: i64,
    /// When a hole was last suspected in this term.
    hole_ms: i64,
    pause: Option<Pause>,
    hold: Hold<B>,
    plan: Option<Plan>,
    /// When a plan of this version was first seen here.
    plan_since_ms: i64,
    claim: Publisher,
    replay: Replay,
    election: Option<Election>,
    /// The newest term in which another distributor takes part.
    others_term: Option<Term>,
    /// An election that was asked for before this distributor could begin it, and when.
    asked: Option<(SmolStr, Reason, i64)>,
    /// Number of the last survey or slice.
    numbers: u64,
}

/// The time since the elected replica's last sample that was accepted here.
#[derive(Debug, Clone, Copy)]
struct Pause {
    /// That sample's time.
    forwarded_ms: i64,
    /// Up to when others may have accepted samples, as of the first request after it. That one may have
    /// to wait, and is recorded meanwhile like any.
    known_ms: i64,
    /// When that request came.
    at_ms: i64,
    /// How often it had sent before.
    interval_ms: i64,
    /// Whether the replica was silent until then, not because it was refused.
    is_silence: bool,
}

/// The state, for pages and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The term; `None` before the first election.
    pub term: Option<Term>,
    /// In words.
    pub phase: &'static str,
    /// Where the term began, ms of sample time.
    pub boundary_ms: Option<i64>,
    /// Newest sample time of the elected replica acknowledged by this distributor, ms.
    pub watermark_ms: Option<i64>,
    /// Requests held.
    pub held: usize,
    /// Bytes held.
    pub held_bytes: u64,
}

impl<B: Clone> ClusterState<B> {
    /// A cluster about which nothing is known yet, at the instance `me`. What is held counts against
    /// the budget.
    pub fn new(me: impl Into<SmolStr>, settings: Settings, budget: Arc<Budget>) -> Self {
        let traffic = Arc::new(Traffic::new(None, NEVER_MS));
        Self {
            me: me.into(),
            settings,
            faults: Faults::default(),
            term: None,
            received_at: NEVER_MS,
            phase: Phase::Idle,
            boundary_ms: NEVER_MS,
            lane: Arc::new(Lane::new(&traffic)),
            traffic,
            before_ms: NEVER_MS,
            hole_ms: NEVER_MS,
            pause: None,
            hold: Hold::new(budget),
            plan: None,
            plan_since_ms: NEVER_MS,
            claim: Publisher::default(),
            replay: Replay::default(),
            election: None,
            others_term: None,
            asked: None,
            numbers: 0,
        }
    }

    /// Breaks rules on purpose, for simulations.
    #[doc(hidden)]
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Other durations and bounds from now on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The current ones.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What judges requests beside the lock of this state.
    pub fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.lane)
    }

    /// Whether this replica is known to be elected.
    pub fn has_term_of(&self, replica: &str) -> bool {
        self.term
            .as_ref()
            .is_some_and(|term| term.replica == replica)
    }

    /// Whether something is in progress that needs a tick soon.
    pub fn is_busy(&self) -> bool {
        self.claim.is_due()
            || self.election.is_some()
            || self.asked.is_some()
            || !matches!(self.phase, Phase::Idle | Phase::Open)
    }

    /// Whether it can be forgotten: nothing is held, in flight or in progress, and no request came
    /// since `since_ms`.
    pub fn is_idle(&self, since_ms: i64) -> bool {
        self.hold.is_empty()
            && !self.traffic.is_in_flight()
            && !self.is_busy()
            && self.traffic.active_ms() < since_ms
    }

    /// Requests held.
    pub fn held(&self) -> usize {
        self.hold.len()
    }

    /// The state, for pages and metrics.
    pub fn snapshot(&self) -> Snapshot {
        let known = |ms: i64| (ms != NEVER_MS).then_some(ms);
        Snapshot {
            term: self.term.clone(),
            phase: self.phase.name(),
            boundary_ms: known(self.boundary_ms),
            watermark_ms: known(self.traffic.acknowledged_ms()),
            held: self.hold.len(),
            held_bytes: self.hold.bytes(),
        }
    }

    /// The cluster's entry as stored, or `None` if it was deleted.
    pub fn elected(&mut self, entry: Option<(&Term, i64)>, cx: Context<'_>, out: &mut Output<B>) {
        let Some((term, received_at)) = entry else {
            if self.term.is_some() {
                self.begin_term(None, cx.now_ms, out);
            }
            return;
        };
        if self.term.as_ref() == Some(term) {
            self.received_at = self.received_at.max(received_at);
            return;
        }
        self.received_at = received_at;
        self.begin_term(Some(term.clone()), cx.now_ms, out);
        self.advance(cx, out);
    }

    /// The cluster's plan as stored.
    pub fn plan_seen(&mut self, plan: &Plan, cx: Context<'_>, out: &mut Output<B>) {
        let is_newer = self
            .plan
            .as_ref()
            .is_none_or(|known| plan.is_newer_than(known));
        if is_newer {
            self.plan = Some(plan.clone());
            self.plan_since_ms = cx.now_ms;
            self.advance(cx, out);
        }
    }

    /// A claim as stored, of any instance.
    pub fn claim_seen(
        &mut self,
        instance: &str,
        claim: &Claim,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) {
        if let Some(election) = &mut self.election {
            election.claim_seen(instance, claim);
        }
        if let Some(term) = &self.term
            && *instance != *self.me
        {
            self.replay.claim_seen(instance, claim, term);
        }
        let takes_part = !matches!(claim.stage, ClaimStage::Closed { .. }) && *instance != *self.me;
        let is_newer = |known: &Term| known.changes < claim.term.changes;
        if takes_part && self.others_term.as_ref().is_none_or(is_newer) {
            self.others_term = Some(claim.term.clone());
        }
        self.advance(cx, out);
    }

    /// Time passed.
    pub fn tick(&mut self, cx: Context<'_>, out: &mut Output<B>) {
        if matches!(self.phase, Phase::Open) && self.traffic.refused_ms().is_none() {
            self.prune(cx.now_ms, out);
        }
        self.advance(cx, out);
    }

    /// A [`Effect::WriteClaim`] ended; `stored` is false if it failed or was given up.
    pub fn claim_written(&mut self, stored: bool, cx: Context<'_>, out: &mut Output<B>) {
        if let Some(claim) = self.claim.written(stored, cx.now_ms)
            && let Some(election) = &mut self.election
        {
            election.claim_seen(&self.me, claim);
        }
        self.advance(cx, out);
    }

    /// A [`Effect::Survey`] ended; `complete` is false if it failed.
    pub fn surveyed(&mut self, number: u64, complete: bool, cx: Context<'_>, out: &mut Output<B>) {
        let retry_ms = cx.now_ms.saturating_add(RETRY_MS);
        self.phase.surveyed(number, complete, retry_ms);
        if let Some(election) = &mut self.election {
            election.surveyed(number, complete, retry_ms);
        }
        self.advance(cx, out);
    }

    /// Everything that can happen now happens. Each step either changes something and is followed by
    /// another, or waits for an event.
    fn advance(&mut self, cx: Context<'_>, out: &mut Output<B>) {
        while self.step(cx, out) || self.step_election(cx, out) {}
        if matches!(self.phase, Phase::Open) && self.election.is_none() {
            let most_ms = self.most_pause_ms();
            self.traffic.open(self.after_ms(), most_ms, &self.settings);
        } else {
            self.traffic.close();
        }
        self.claim.flush(cx.now_ms, out);
    }

    fn begin_term(&mut self, term: Option<Term>, now_ms: i64, out: &mut Output<B>) {
        let active_ms = self.traffic.active_ms();
        self.traffic.close();
        self.before_ms = self
            .before_ms
            .max(self.traffic.forwarded_ms())
            .max(self.boundary_ms);
        let replica = term.as_ref().map(|term| term.replica.clone());
        self.traffic = Arc::new(Traffic::new(replica, active_ms));
        self.lane.set(&self.traffic);
        self.hole_ms = NEVER_MS;
        self.pause = None;
        self.boundary_ms = NEVER_MS;
        self.election = None;
        self.asked = None;
        self.replay = Replay::default();
        // A distributor without traffic of the cluster joins when there is some.
        let is_active = active_ms >= now_ms.saturating_sub(self.settings.hold_ms);
        self.phase = if term.is_some() && (is_active || !self.hold.is_empty()) {
            Phase::learn()
        } else {
            Phase::Idle
        };
        self.term = term;
        out.effects.push(Effect::Wake);
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The plan that is to end this term, if there is one.
    fn ending(&self) -> Option<&Plan> {
        let term = self.term.as_ref()?;
        self.plan.as_ref().filter(|plan| plan.ends(term))
    }

    /// Only samples after this time are accepted in this term, ms.
    pub(crate) fn after_ms(&self) -> i64 {
        if self.boundary_ms == NEVER_MS || self.faults.no_boundary {
            return NEVER_MS;
        }
        let guard_ms = if self.faults.no_guard {
            0
        } else {
            self.settings.guard_ms
        };
        self.boundary_ms.saturating_add(guard_ms)
    }

    /// What the previous term's plan says about this one.
    fn beginning(&self) -> Option<(i64, &[(SmolStr, i64)])> {
        let (term, plan) = (self.term.as_ref()?, self.plan.as_ref()?);
        match &plan.stage {
            PlanStage::Fixed {
                boundary_ms,
                participants,
            } if plan.leads_to(term) => Some((*boundary_ms, participants)),
            _ if plan.from == *term => Some((plan.floor_ms, &[])),
            _ => None,
        }
    }
}
