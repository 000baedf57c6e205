//! What this distributor does in a term, step by step.

use super::ClusterState;
use crate::terms::NEVER_MS;
use crate::{ClaimStage, Context, Effect, Output, Plan, PlanStage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request came in this term.
    Idle,
    /// Reads how the term began.
    Learning(Reading),
    /// Forwards what it holds of the elected replica, and waits for other distributors that do.
    Replaying,
    /// Publishes its claim.
    Opening(Opening),
    /// Accepts and holds.
    Open,
    /// A plan ends the term; requests are in flight.
    Closing,
    /// Its claim is closed, or never was open.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// The claim is being stored.
    Writing,
    /// Until it is known to all, at this time.
    Settling(i64),
    /// Whether a plan was stored before it.
    Checking(Reading),
}

/// A survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// To be begun at this time.
    At(i64),
    Running(u64),
    Complete,
}

impl Reading {
    pub(super) fn surveyed(&mut self, number: u64, complete: bool, retry_ms: i64) {
        if *self == Reading::Running(number) {
            *self = if complete {
                Reading::Complete
            } else {
                Reading::At(retry_ms)
            };
        }
    }
}

impl Phase {
    pub(super) fn learn() -> Self {
        Phase::Learning(Reading::At(NEVER_MS))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Learning(_) => "learning",
            Phase::Replaying => "replaying",
            Phase::Opening(_) => "opening",
            Phase::Open => "open",
            Phase::Closing => "closing",
            Phase::Closed => "closed",
        }
    }

    pub(super) fn surveyed(&mut self, number: u64, complete: bool, retry_ms: i64) {
        if let Phase::Learning(reading) | Phase::Opening(Opening::Checking(reading)) = self {
            reading.surveyed(number, complete, retry_ms);
        }
    }
}

impl<B: Clone> ClusterState<B> {
    /// One step; false if nothing can be done now.
    pub(super) fn step(&mut self, cx: Context<'_>, out: &mut Output<B>) -> bool {
        match self.phase {
            Phase::Idle => self.step_idle(),
            Phase::Learning(reading) => self.step_learning(reading, cx, out),
            Phase::Replaying => self.step_replaying(cx, out),
            Phase::Opening(opening) => self.step_opening(opening, cx, out),
            Phase::Open => self.step_open(),
            Phase::Closing => self.step_closing(),
            Phase::Closed => self.step_closed(cx, out),
        }
    }

    fn step_idle(&mut self) -> bool {
        // Where it takes long, it joins with the others, not when its first request waits: a sender
        // that uses all distributors in turn would wait for one after the other.
        let is_joining = self.settings.settle_ms > 0 && self.others_term == self.term;
        let begins = self.term.is_some() && (self.asked.is_some() || is_joining);
        if begins {
            self.phase = Phase::learn();
        }
        begins
    }

    /// Begins a survey if it is time; the reading that runs.
    pub(super) fn read(
        &mut self,
        reading: Reading,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) -> Option<Reading> {
        match reading {
            Reading::At(at_ms) if at_ms <= cx.now_ms => {
                let number = self.number();
                out.effects.push(Effect::Survey { number });
                Some(Reading::Running(number))
            }
            _ => None,
        }
    }

    fn step_learning(&mut self, reading: Reading, cx: Context<'_>, out: &mut Output<B>) -> bool {
        if reading != Reading::Complete {
            let running = self.read(reading, cx, out);
            if let Some(running) = running {
                self.phase = Phase::Learning(running);
            }
            return running.is_some();
        }
        self.learned(cx, out);
        true
    }

    /// How the term began is known.
    pub(super) fn learned(&mut self, cx: Context<'_>, out: &mut Output<B>) {
        let Some(term) = self.term.clone() else {
            self.phase = Phase::Idle;
            return;
        };
        let Some((boundary_ms, participants)) = self.beginning() else {
            // The first term, or one that another program began.
            if self.before_ms != NEVER_MS {
                out.counts.foreign += 1;
            }
            self.boundary_ms = self.before_ms;
            out.counts.lost += self.hold.drop_replica(&term.replica);
            self.open(&term);
            return;
        };
        let participants = participants.to_vec();
        self.boundary_ms = boundary_ms;
        out.counts.passed += self.hold.drop_forwarded(&term.replica, self.after_ms());
        let is_participant = participants.iter().any(|(name, _)| *name == self.me);
        if !is_participant {
            // Others have stopped waiting for it.
            out.counts.lost += self.hold.drop_replica(&term.replica);
        }
        if self.ending().is_some() {
            // Those who take part in what ends it have finished what began it.
            self.phase = Phase::Closed;
            return;
        }
        let plan = self.plan.as_ref().map(Plan::id);
        self.replay.begin(plan, &participants, &self.me, cx.now_ms);
        self.phase = Phase::Replaying;
    }

    pub(super) fn open(&mut self, term: &crate::Term) {
        self.claim.want(term, ClaimStage::Open);
        self.phase = Phase::Opening(Opening::Writing);
    }

    fn step_opening(&mut self, opening: Opening, cx: Context<'_>, out: &mut Output<B>) -> bool {
        if self.ending().is_some() && !self.faults.no_closing {
            self.phase = Phase::Closing;
            return true;
        }
        let next = match opening {
            Opening::Writing if self.claim.is_due() => return false,
            Opening::Writing if self.faults.no_check => Phase::Open,
            Opening::Writing => {
                // A first election can be in competition with another, for as long as that does not
                // know it, and becomes known as late. A plan is known before its election.
                let is_first = self.beginning().is_none();
                let settled_ms = self.settled_ms(is_first, cx.now_ms);
                Phase::Opening(Opening::Settling(settled_ms))
            }
            Opening::Settling(until_ms) if cx.now_ms < until_ms => return false,
            Opening::Settling(_) => Phase::Opening(Opening::Checking(Reading::At(cx.now_ms))),
            Opening::Checking(Reading::Complete) => Phase::Open,
            Opening::Checking(reading) => match self.read(reading, cx, out) {
                Some(running) => Phase::Opening(Opening::Checking(running)),
                None => return false,
            },
        };
        self.phase = next;
        if next == Phase::Open {
            out.effects.push(Effect::Wake);
        }
        true
    }

    fn step_open(&mut self) -> bool {
        let ends = self.ending().is_some() && !self.faults.no_closing;
        if ends {
            self.phase = Phase::Closing;
        }
        ends
    }

    fn step_closing(&mut self) -> bool {
        let (Some(term), Some(plan)) = (&self.term, &self.plan) else {
            return false;
        };
        // Those that were accepted without the lock count, too.
        self.traffic.close();
        if self.traffic.is_in_flight() && !self.faults.no_draining {
            return false;
        }
        if plan.stage == PlanStage::Gathering {
            let stage = ClaimStage::Closed {
                plan: plan.id(),
                watermark_ms: self.traffic.forwarded_ms(),
                next_ms: self
                    .hold
                    .next_ms(&plan.successor, self.traffic.forwarded_ms()),
                seen_ms: self.traffic.seen_ms(),
                was_refused: self.traffic.was_refused(),
            };
            self.claim.want(term, stage);
        }
        self.phase = Phase::Closed;
        true
    }

    fn step_closed(&mut self, cx: Context<'_>, out: &mut Output<B>) -> bool {
        let (Some(term), Some(plan)) = (self.term.clone(), &self.plan) else {
            return false;
        };
        if plan.from != term {
            return false;
        }
        match plan.stage {
            PlanStage::Withdrawn { .. } => {
                self.open(&term);
                true
            }
            PlanStage::Gathering => {
                // Another plan for the same end: what is held of its successor is to be told.
                let is_published =
                    !self.claim.may_be_stored(&term) || self.claim.is_closed_for(plan.id());
                if !is_published {
                    self.phase = Phase::Closing;
                }
                !is_published
            }
            PlanStage::Fixed { .. } => {
                self.elect_if_stuck(cx, out);
                false
            }
        }
    }
}
