//! Requests: what becomes of each, and what its end says.

use std::time::Duration;

use super::{ClusterState, Phase};
use crate::hold::ToHold;
use crate::terms::NEVER_MS;
use crate::{Context, Fate, Outcome, Output, PlanStage, Reason, Request, Ticket, Wait};

/// Time between two plans for a hole of one cluster, ms: a distributor that has not seen a replica
/// for a while can only suspect one.
const BETWEEN_HOLES_MS: i64 = 30_000;

impl<B: Clone> ClusterState<B> {
    /// Decides about a request. `body` is called if it is held.
    pub fn request(
        &mut self,
        request: &Request<'_>,
        body: impl FnOnce() -> B,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) -> Fate {
        self.traffic.active_ms = cx.now_ms;
        let Some(term) = &self.term else {
            return later(Wait::NoElection);
        };
        let is_elected = term.replica == request.replica;
        if is_elected {
            self.traffic.seen_ms = cx.now_ms;
        }
        if matches!(self.phase, Phase::Idle) {
            self.phase = Phase::learn();
            self.advance(cx, out);
        }
        let fate = match self.phase {
            Phase::Open if is_elected => self.of_elected(request, cx, out),
            Phase::Open => self.of_standby(request, body, cx, out),
            Phase::Closing | Phase::Closed => later(Wait::Election),
            Phase::Replaying => later(Wait::Replay),
            Phase::Idle | Phase::Learning(_) | Phase::Opening(_) => later(Wait::Opening),
        };
        if is_elected && matches!(fate, Fate::RetryLater { .. }) {
            self.traffic.was_refused = true;
        }
        fate
    }

    /// Until when the silence of an elected replica, whose last request came then, says nothing, Unix
    /// ms: if it was refused, it may wait before it tries again.
    pub(super) fn excused_until_ms(&self, seen_ms: i64, was_refused: bool) -> i64 {
        if seen_ms == NEVER_MS {
            return NEVER_MS;
        }
        seen_ms.saturating_add(if was_refused {
            self.settings.backoff_ms
        } else {
            self.settings.late_after_ms
        })
    }

    fn of_elected(&mut self, request: &Request<'_>, cx: Context<'_>, out: &mut Output<B>) -> Fate {
        if let Some(successor) = self.hole(request, cx.now_ms) {
            let oldest_ms = request.oldest_ms;
            self.traffic.hole_ms = cx.now_ms;
            self.begin(&successor, Reason::Hole { oldest_ms }, cx, out);
        }
        if self.election.is_some() {
            return later(Wait::Election);
        }
        let ahead_ms = cx.now_ms.saturating_add(self.settings.ahead_ms);
        if request.newest_ms > ahead_ms {
            out.counts.elected_ahead += 1;
        }
        self.traffic.in_flight += 1;
        let after_ms = self.after_ms();
        Fate::Accept {
            ticket: Ticket {
                generation: self.traffic.generation,
                newest_ms: request.newest_ms.min(ahead_ms),
            },
            after_ms: (request.oldest_ms <= after_ms).then_some(after_ms),
        }
    }

    /// The standby that can fill a pause of the elected replica before this request of it.
    fn hole(&self, request: &Request<'_>, now_ms: i64) -> Option<smol_str::SmolStr> {
        // Most requests end here, or at the next comparison.
        if self.hold.is_empty() {
            return None;
        }
        // Another distributor may have seen it later.
        let known_ms = self.traffic.forwarded_ms.max(self.received_at);
        let pause_ms = request.oldest_ms.saturating_sub(known_ms);
        if known_ms == NEVER_MS || pause_ms <= self.settings.interval_ms.saturating_mul(2) {
            return None;
        }
        let withdrawn = self.plan.as_ref().filter(|plan| {
            let until_ms = NEVER_MS;
            plan.stage == PlanStage::Withdrawn { until_ms }
        });
        let plan_ms = withdrawn.map_or(NEVER_MS, |plan| plan.version);
        // If the store is unavailable, the replica is accepted with its hole.
        let last_ms = plan_ms.max(self.traffic.hole_ms);
        if now_ms.saturating_sub(last_ms) < BETWEEN_HOLES_MS {
            return None;
        }
        let until_ms = request.oldest_ms.saturating_sub(self.settings.interval_ms);
        self.hold.covering(known_ms, until_ms).cloned()
    }

    fn of_standby(
        &mut self,
        request: &Request<'_>,
        body: impl FnOnce() -> B,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) -> Fate {
        if request.newest_ms > cx.now_ms.saturating_add(self.settings.ahead_ms) {
            out.counts.ahead += 1;
            return Fate::Deduplicate;
        }
        if request.newest_ms <= self.traffic.acknowledged_ms || self.faults.no_hold {
            return Fate::Deduplicate;
        }
        let is_late = self.is_late(cx.now_ms) && !self.faults.no_refusal;
        if is_late {
            return later(Wait::Late);
        }
        if self.is_stalled(cx.now_ms) {
            return later(Wait::Stalled);
        }
        self.prune(cx.now_ms, out);
        let one = ToHold {
            replica: request.replica,
            oldest_ms: request.oldest_ms,
            newest_ms: request.newest_ms,
            received_ms: cx.now_ms,
        };
        let limit = if self.faults.no_bound {
            u64::MAX
        } else {
            self.settings.hold_bytes
        };
        loop {
            if let Some(share) = self.hold.reserve(request.bytes, limit) {
                self.hold.push(&one, share, body());
                out.counts.held += 1;
                return Fate::Held;
            }
            out.counts.evicted += 1;
            if !self.hold.evict() {
                return Fate::Deduplicate;
            }
        }
    }

    /// Whether no distributor has recorded the elected replica for a while.
    fn is_late(&self, now_ms: i64) -> bool {
        let seen_ms = self.received_at.max(self.traffic.seen_ms);
        now_ms.saturating_sub(seen_ms) > self.settings.late_after_ms
    }

    /// Whether the downstream refuses the elected replica's requests here.
    fn is_stalled(&self, now_ms: i64) -> bool {
        let refused = self.traffic.refused_ms;
        refused.is_some_and(|at| now_ms.saturating_sub(at) <= self.settings.late_after_ms)
    }

    /// Drops what need not be held any more.
    pub(super) fn prune(&mut self, now_ms: i64, out: &mut Output<B>) {
        out.counts.passed += self.hold.passed(self.traffic.acknowledged_ms);
        if !self.is_late(now_ms) {
            let before_ms = now_ms.saturating_sub(self.settings.hold_ms);
            out.counts.expired += self.hold.expire(before_ms);
        }
    }

    /// A request that was accepted ended. `newest_ms` of the ticket counts, whatever of it was
    /// dropped by the window.
    pub fn finished(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) {
        let traffic = &mut self.traffic;
        if ticket.generation != traffic.generation {
            // By an election that was not ours, the term is over: it counts for the boundary.
            if outcome != Outcome::NotStored {
                traffic.before_ms = traffic.before_ms.max(ticket.newest_ms);
            }
            return;
        }
        traffic.in_flight = traffic.in_flight.saturating_sub(1);
        if outcome != Outcome::NotStored {
            traffic.forwarded_ms = traffic.forwarded_ms.max(ticket.newest_ms);
        }
        if outcome == Outcome::Done {
            traffic.acknowledged_ms = traffic.acknowledged_ms.max(ticket.newest_ms);
            traffic.refused_ms = None;
            traffic.was_refused = false;
        } else {
            traffic.refused_ms = Some(cx.now_ms);
            traffic.was_refused = true;
        }
        if traffic.in_flight == 0 && matches!(self.phase, Phase::Closing) {
            self.advance(cx, out);
        }
    }
}

fn later(why: Wait) -> Fate {
    let after = Duration::from_secs(1);
    Fate::RetryLater { after, why }
}
