//! Ending a term: what the distributor does that carries out a plan.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::ClusterState;
use super::phase::{Phase, Reading};
use crate::most_pause_ms;
use crate::terms::{DONE_MS, NEVER_MS};
use crate::{Claim, ClaimStage, Context, Effect, Output, Plan, PlanStage, Reason, Term};

/// Time between two attempts to elect, ms.
const ELECT_EVERY_MS: i64 = 2_000;
/// Another distributor than the elector elects after this time, ms.
const STUCK_AFTER_MS: i64 = 5_000;
/// An election that was asked for is forgotten if it cannot begin for this long, ms.
const ASKED_FOR_MS: i64 = 30_000;

/// A plan that this distributor carries out.
#[derive(Debug)]
pub(super) struct Election {
    since_ms: i64,
    /// All claims that were seen, of any term.
    claims: BTreeMap<SmolStr, Claim>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A version of the plan is being stored.
    Writing,
    /// Until the plan is known to all, at this time.
    Settling(i64),
    /// Reads the claims.
    Reading(Reading),
    /// Elects, at this time for the first or another time.
    Electing(i64),
}

impl Election {
    fn new(step: Step, now_ms: i64) -> Self {
        Self {
            since_ms: now_ms,
            claims: BTreeMap::new(),
            step,
        }
    }

    pub(super) fn claim_seen(&mut self, instance: &str, claim: &Claim) {
        match self.claims.get_mut(instance) {
            Some(known) if known.version < claim.version => known.clone_from(claim),
            Some(_) => {}
            None => {
                self.claims.insert(instance.into(), claim.clone());
            }
        }
    }

    pub(super) fn surveyed(&mut self, number: u64, complete: bool, retry_ms: i64) {
        if let Step::Reading(reading) = &mut self.step {
            reading.surveyed(number, complete, retry_ms);
        }
    }
}

/// The claims of a term, when all are closed.
struct Gathered {
    boundary_ms: i64,
    /// When any distributor saw the elected replica last, and whether it was refused then.
    seen: (i64, bool),
    /// When another distributor than this one refused it last, if it has not accepted any since.
    refused_ms: i64,
    participants: Vec<(SmolStr, i64)>,
    given_up: u64,
}

impl<B: Clone> ClusterState<B> {
    /// Ends the term in favour of this replica, unless something does already. The election shows as
    /// [`ClusterState::elected`]. To be called again while the reason persists.
    pub fn begin(&mut self, successor: &str, reason: Reason, cx: Context<'_>, out: &mut Output<B>) {
        let is_excused = reason == Reason::Overdue && self.not_before_ms() > cx.now_ms;
        let is_wanted = self.term.as_ref().is_some_and(|term| {
            term.replica != successor && self.ending().is_none() && self.election.is_none()
        });
        let is_wanted = is_wanted && !is_excused;
        if is_wanted {
            self.asked = Some((successor.into(), reason, cx.now_ms));
            self.advance(cx, out);
        }
    }

    /// The elected replica was found not to be overdue until this time, Unix ms.
    fn not_before_ms(&self) -> i64 {
        match (&self.plan, &self.term) {
            (Some(plan), Some(term)) if plan.from == *term => match plan.stage {
                PlanStage::Withdrawn { until_ms } => until_ms,
                _ => NEVER_MS,
            },
            _ => NEVER_MS,
        }
    }

    /// One step as elector; false if nothing can be done now.
    pub(super) fn step_election(&mut self, cx: Context<'_>, out: &mut Output<B>) -> bool {
        let Some(term) = self.term.clone() else {
            self.asked = None;
            return false;
        };
        let Some(election) = &self.election else {
            return self.begin_asked(&term, cx, out) || self.take_over(cx, out);
        };
        let is_mine = |plan: &Plan| plan.elector == self.me;
        match election.step {
            Step::Writing => false,
            _ if !self.ending().is_some_and(is_mine) => {
                // Another one is quicker.
                self.election = None;
                true
            }
            Step::Settling(until_ms) if cx.now_ms < until_ms => false,
            Step::Settling(_) => {
                let is_fixed = self
                    .ending()
                    .is_some_and(|plan| plan.stage != PlanStage::Gathering);
                self.set_step(if is_fixed {
                    Step::Electing(cx.now_ms)
                } else {
                    Step::Reading(Reading::At(cx.now_ms))
                });
                true
            }
            Step::Reading(Reading::Complete) => self.fix(&term, cx, out),
            Step::Reading(reading) => {
                let running = self.read(reading, cx, out);
                if let Some(running) = running {
                    self.set_step(Step::Reading(running));
                }
                running.is_some()
            }
            Step::Electing(at_ms) if cx.now_ms < at_ms => false,
            Step::Electing(_) => {
                self.elect(out);
                self.set_step(Step::Electing(cx.now_ms.saturating_add(ELECT_EVERY_MS)));
                false
            }
        }
    }

    fn set_step(&mut self, step: Step) {
        if let Some(election) = &mut self.election {
            election.step = step;
        }
    }

    fn elect(&self, out: &mut Output<B>) {
        if let Some(plan) = self.ending() {
            out.effects.push(Effect::Elect {
                from: plan.from.clone(),
                successor: plan.successor.clone(),
            });
        }
    }

    /// Only a distributor whose claim is open begins: then all that was to be replayed at the term's
    /// begin is forwarded.
    fn begin_asked(&mut self, term: &Term, cx: Context<'_>, out: &mut Output<B>) -> bool {
        let Some((successor, reason, asked_ms)) = self.asked.clone() else {
            return false;
        };
        let is_over = self.ending().is_some()
            || cx.now_ms.saturating_sub(asked_ms) > ASKED_FOR_MS
            || term.replica == successor;
        if is_over {
            self.asked = None;
            return false;
        }
        if self.phase != Phase::Open {
            return false;
        }
        self.asked = None;
        out.counts.plans += 1;
        let plan = Plan {
            version: 0,
            from: term.clone(),
            successor,
            reason,
            elector: self.me.clone(),
            floor_ms: self.boundary_ms,
            stage: PlanStage::Gathering,
        };
        self.election = Some(Election::new(Step::Writing, cx.now_ms));
        self.write_plan(plan, cx, out);
        true
    }

    fn write_plan(&mut self, mut plan: Plan, cx: Context<'_>, out: &mut Output<B>) {
        let over = self.plan.as_ref().map_or(0, |known| known.version);
        plan.version = cx.now_ms.max(over.saturating_add(1));
        self.set_step(Step::Writing);
        out.effects.push(Effect::WritePlan { over, plan });
    }

    /// Continues a plan whose elector is dead, or that is ours and was thought not to be stored.
    fn take_over(&mut self, cx: Context<'_>, out: &mut Output<B>) -> bool {
        let (is_open, since_ms) = (self.phase == Phase::Open, self.plan_since_ms);
        let Some(plan) = self.ending().filter(|_| !is_open).cloned() else {
            return false;
        };
        let is_fixed = plan.stage != PlanStage::Gathering;
        if plan.elector == self.me {
            let settled_ms = self.settled_ms(is_fixed, cx.now_ms);
            let step = Step::Settling(settled_ms);
            self.election = Some(Election::new(step, cx.now_ms));
            return true;
        }
        if is_fixed || !cx.fleet.is_dead(&plan.elector, since_ms, cx.now_ms) {
            return false;
        }
        let elector = self.me.clone();
        self.election = Some(Election::new(Step::Writing, cx.now_ms));
        self.write_plan(Plan { elector, ..plan }, cx, out);
        true
    }

    /// When a version of the plan that is stored now is known to all. What is fixed must not be in
    /// competition with another plan: that one can be written until this one is known, and takes as
    /// long again.
    pub(super) fn settled_ms(&self, is_fixed: bool, now_ms: i64) -> i64 {
        let settle_ms = self.settings.settle_ms;
        let times = if is_fixed { 2 } else { 1 };
        now_ms.saturating_add(settle_ms.saturating_mul(times))
    }

    /// A [`Effect::WritePlan`] ended; `stored` is false if another version was stored, or it failed.
    pub fn plan_written(
        &mut self,
        plan: &Plan,
        stored: bool,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) {
        if let Some(election) = self
            .election
            .as_ref()
            .filter(|election| election.step == Step::Writing)
        {
            let since_ms = election.since_ms;
            if stored {
                let is_fixed = plan.stage != PlanStage::Gathering;
                let settled_ms = self.settled_ms(is_fixed, cx.now_ms);
                let mut election = Election::new(Step::Settling(settled_ms), since_ms);
                if plan.stage == PlanStage::Gathering {
                    election.since_ms = cx.now_ms;
                }
                self.election = Some(election);
            } else {
                self.election = None;
            }
        }
        if stored {
            self.plan_seen(plan, cx, out);
        }
        self.advance(cx, out);
    }

    /// Fixes the boundary if all claims are closed.
    fn fix(&mut self, term: &Term, cx: Context<'_>, out: &mut Output<B>) -> bool {
        let (Some(plan), Some(election)) = (self.ending().cloned(), &self.election) else {
            return false;
        };
        let reason = plan.reason;
        let Some(gathered) = self.gather(&plan, term, election, cx) else {
            return false;
        };
        out.counts.given_up += gathered.given_up;
        let fills = |oldest_ms: i64, interval_ms: i64| {
            let pause_ms = oldest_ms.saturating_sub(gathered.boundary_ms);
            let until_ms = oldest_ms.saturating_sub(interval_ms);
            let mut held = gathered.participants.iter();
            // What it could not deliver, it still has.
            let waits = self.excused_until_ms(gathered.refused_ms, true) > cx.now_ms;
            !waits
                && pause_ms > most_pause_ms(interval_ms)
                && held.any(|(_, next_ms)| *next_ms < until_ms)
        };
        let (seen_ms, was_refused) = gathered.seen;
        let until_ms = self.excused_until_ms(seen_ms, was_refused);
        let stage = match reason {
            Reason::Hole {
                oldest_ms,
                interval_ms,
            } if !fills(oldest_ms, interval_ms) => {
                out.counts.withdrawn += 1;
                PlanStage::Withdrawn { until_ms: NEVER_MS }
            }
            Reason::Overdue if until_ms > cx.now_ms && !self.faults.no_excuse => {
                out.counts.withdrawn += 1;
                PlanStage::Withdrawn { until_ms }
            }
            _ => {
                out.counts.boundaries += 1;
                PlanStage::Fixed {
                    boundary_ms: gathered.boundary_ms,
                    participants: gathered.participants,
                }
            }
        };
        self.write_plan(Plan { stage, ..plan }, cx, out);
        true
    }

    /// What the claims say; `None` while one is to be waited for.
    fn gather(
        &self,
        plan: &Plan,
        term: &Term,
        election: &Election,
        cx: Context<'_>,
    ) -> Option<Gathered> {
        let since_ms = election.since_ms;
        let timed_out = cx.now_ms.saturating_sub(since_ms) > self.settings.close_timeout_ms;
        let mut gathered = Gathered {
            boundary_ms: plan.floor_ms.max(self.traffic.forwarded_ms()),
            seen: (self.traffic.seen_ms(), self.traffic.was_refused()),
            refused_ms: NEVER_MS,
            participants: Vec::new(),
            given_up: 0,
        };
        if self.faults.own_boundary {
            return Some(gathered);
        }
        // Its own claim may have been published for the first time by closing it.
        if self.claim.is_due() {
            return None;
        }
        for (name, claim) in &election.claims {
            if claim.term != *term {
                continue;
            }
            let is_dead = timed_out || cx.fleet.is_dead(name, since_ms, cx.now_ms);
            let watermark_ms = match claim.stage {
                ClaimStage::Closed {
                    plan: id,
                    watermark_ms,
                    next_ms,
                    seen_ms,
                    was_refused,
                } if id == plan.id() || is_dead => {
                    if !is_dead && next_ms != DONE_MS {
                        gathered.participants.push((name.clone(), next_ms));
                    }
                    gathered.seen = gathered.seen.max((seen_ms, was_refused));
                    if was_refused && *name != self.me {
                        gathered.refused_ms = gathered.refused_ms.max(seen_ms);
                    }
                    watermark_ms
                }
                _ if is_dead => {
                    gathered.given_up += 1;
                    // It can have accepted until it died.
                    let last_ms = cx.fleet.last_act_ms(name);
                    last_ms.map_or(NEVER_MS, |ms| ms.saturating_add(self.settings.ahead_ms))
                }
                _ => return None,
            };
            gathered.boundary_ms = gathered.boundary_ms.max(watermark_ms);
        }
        Some(gathered)
    }

    /// Elects the successor of a fixed plan whose elector did not.
    pub(super) fn elect_if_stuck(&mut self, cx: Context<'_>, out: &mut Output<B>) {
        if self.election.is_some() {
            return;
        }
        let patient_ms = STUCK_AFTER_MS.saturating_add(self.settings.settle_ms.saturating_mul(3));
        if cx.now_ms.saturating_sub(self.plan_since_ms) > patient_ms {
            self.plan_since_ms = cx.now_ms.saturating_sub(patient_ms - ELECT_EVERY_MS);
            self.elect(out);
        }
    }
}
