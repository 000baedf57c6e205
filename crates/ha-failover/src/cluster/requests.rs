//! Requests: what becomes of each, and what its end says.

use std::time::Duration;

use super::{ClusterState, Pause, Phase};
use crate::hold::ToHold;
use crate::most_pause_ms;
use crate::terms::NEVER_MS;
use crate::{Context, Fate, Outcome, Output, PlanStage, Reason, Request, Ticket, Wait};

/// Time between two plans for a hole of one cluster, ms: a distributor that has not seen a replica
/// for a while can only suspect one.
const BETWEEN_HOLES_MS: i64 = 30_000;
/// For this long after a hole that was none, ms, only a pause of [`LONG_PAUSE_MS`] is suspected to be
/// one: the replica's requests reach other distributors, too.
const DOUBT_MS: i64 = 600_000;
/// Longer than it takes until a replica that sends to another distributor is recorded, ms. What is
/// shorter is only known where the replica sends.
const LONG_PAUSE_MS: i64 = 30_000;
/// A replica that returns has its first request accepted within this time, or sends elsewhere, ms.
const RETURN_MS: i64 = 10_000;

impl<B: Clone> ClusterState<B> {
    /// Decides about a request. `body` is called if it is held.
    pub fn request(
        &mut self,
        request: &Request<'_>,
        body: impl FnOnce() -> B,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) -> Fate {
        if let Some(fate) = self.lane.judge(request, cx.now_ms) {
            return fate;
        }
        let Some(term) = &self.term else {
            return later(Wait::NoElection);
        };
        let is_elected = term.replica == request.replica;
        if is_elected {
            self.note_pause(cx.now_ms);
        }
        self.traffic.came(is_elected, cx.now_ms);
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
            self.traffic.refuse();
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
            let interval_ms = self.pause.map_or(0, |pause| pause.interval_ms);
            self.hole_ms = cx.now_ms;
            self.begin(
                &successor,
                Reason::Hole {
                    oldest_ms,
                    interval_ms,
                },
                cx,
                out,
            );
        }
        if self.election.is_some() {
            return later(Wait::Election);
        }
        let ahead_ms = cx.now_ms.saturating_add(self.settings.ahead_ms);
        if request.newest_ms > ahead_ms {
            out.counts.elected_ahead += 1;
        }
        let accepted = self.traffic.enter(request, cx.now_ms);
        accepted.unwrap_or_else(|| later(Wait::Opening))
    }

    fn note_pause(&mut self, now_ms: i64) {
        let forwarded_ms = self.traffic.forwarded_ms();
        let is_same = |pause: Pause| now_ms.saturating_sub(pause.at_ms) <= RETURN_MS;
        if !self.pause_now().is_some_and(is_same) {
            let silent_ms = now_ms.saturating_sub(self.traffic.seen_ms());
            self.pause = Some(Pause {
                forwarded_ms,
                // Another distributor may have seen it later.
                known_ms: forwarded_ms.max(self.received_at),
                at_ms: now_ms,
                interval_ms: self.settings.interval_ms,
                is_silence: silent_ms > most_pause_ms(self.settings.interval_ms)
                    && !self.traffic.was_refused(),
            });
        }
    }

    /// What is known of the pause since the last sample that was accepted.
    fn pause_now(&self) -> Option<Pause> {
        let forwarded_ms = self.traffic.forwarded_ms();
        self.pause
            .filter(|pause| pause.forwarded_ms == forwarded_ms)
    }

    /// The longest pause that is none, ms. What a replica that returns has done to its usual interval
    /// does not count.
    pub(super) fn most_pause_ms(&self) -> i64 {
        let usual_ms = self.settings.interval_ms;
        most_pause_ms(self.pause_now().map_or(usual_ms, |pause| pause.interval_ms))
    }

    /// The standby that can fill a pause of the elected replica before this request of it.
    fn hole(&self, request: &Request<'_>, now_ms: i64) -> Option<smol_str::SmolStr> {
        // Most requests end here, or at the next comparison.
        if self.hold.is_empty() {
            return None;
        }
        let Pause {
            forwarded_ms,
            known_ms,
            interval_ms,
            is_silence,
            ..
        } = self.pause?;
        let pause_ms = request.oldest_ms.saturating_sub(known_ms);
        if !is_silence || known_ms == NEVER_MS || pause_ms <= most_pause_ms(interval_ms) {
            return None;
        }
        let withdrawn = self.plan.as_ref().filter(|plan| {
            let until_ms = NEVER_MS;
            plan.stage == PlanStage::Withdrawn { until_ms }
        });
        let plan_ms = withdrawn.map_or(NEVER_MS, |plan| plan.version);
        let is_doubtful = forwarded_ms == NEVER_MS || now_ms.saturating_sub(plan_ms) < DOUBT_MS;
        if is_doubtful && pause_ms <= LONG_PAUSE_MS {
            return None;
        }
        // If the store is unavailable, the replica is accepted with its hole.
        let last_ms = plan_ms.max(self.hole_ms);
        if now_ms.saturating_sub(last_ms) < BETWEEN_HOLES_MS {
            return None;
        }
        let until_ms = request.oldest_ms.saturating_sub(interval_ms);
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
        if request.newest_ms <= self.traffic.acknowledged_ms() || self.faults.no_hold {
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
        let seen_ms = self.received_at.max(self.traffic.seen_ms());
        now_ms.saturating_sub(seen_ms) > self.settings.late_after_ms
    }

    /// Whether the downstream refuses the elected replica's requests here.
    fn is_stalled(&self, now_ms: i64) -> bool {
        let refused = self.traffic.refused_ms();
        refused.is_some_and(|at| now_ms.saturating_sub(at) <= self.settings.late_after_ms)
    }

    /// Drops what need not be held any more.
    pub(super) fn prune(&mut self, now_ms: i64, out: &mut Output<B>) {
        out.counts.passed += self.hold.passed(self.traffic.acknowledged_ms());
        if !self.is_late(now_ms) {
            let before_ms = now_ms.saturating_sub(self.settings.hold_ms);
            out.counts.expired += self.hold.expire(before_ms);
        }
    }

    /// A request that was accepted ended. `newest_ms` of the ticket counts, whatever of it was
    /// dropped by the window.
    pub fn finished(
        &mut self,
        ticket: &Ticket,
        outcome: Outcome,
        cx: Context<'_>,
        out: &mut Output<B>,
    ) {
        if ticket.end(outcome, cx.now_ms) {
            self.ended(ticket, cx, out);
        }
    }

    /// After [`Ticket::end`] returned true.
    pub fn ended(&mut self, ticket: &Ticket, cx: Context<'_>, out: &mut Output<B>) {
        if !ticket.is_of(&self.traffic) {
            // By an election that was not ours, the term is over: it counts for the boundary.
            self.before_ms = self.before_ms.max(ticket.forwarded_ms());
        } else if matches!(self.phase, Phase::Closing) && !self.traffic.is_in_flight() {
            self.advance(cx, out);
        }
    }
}

fn later(why: Wait) -> Fate {
    let after = Duration::from_secs(1);
    Fate::RetryLater { after, why }
}
