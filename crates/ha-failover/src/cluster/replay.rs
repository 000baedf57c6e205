//! The replay of what is held of the replica that is now elected.

use std::sync::Arc;

use smol_str::SmolStr;

use super::{ClusterState, RETRY_MS};
use crate::terms::{DONE_MS, NEVER_MS};
use crate::{Claim, ClaimStage, Context, Effect, Output, Slice, Term};

/// How far each distributor has come.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The others: from which time on each still has something, and whether it has said so itself in
    /// this term.
    others: Vec<(SmolStr, i64, bool)>,
    /// The plan that named them.
    plan: Option<i64>,
    /// What is being forwarded: the slice's number, its end, and the numbers of what is in it.
    running: Option<(u64, i64, Vec<u64>)>,
    takes_part: bool,
    since_ms: i64,
    retry_ms: i64,
}

impl Replay {
    pub(super) fn begin(
        &mut self,
        plan: Option<i64>,
        all: &[(SmolStr, i64)],
        me: &SmolStr,
        now_ms: i64,
    ) {
        self.plan = plan;
        self.takes_part = all.iter().any(|(name, _)| name == me);
        self.since_ms = now_ms;
        // Those that only an older plan had named do not know that they are waited for.
        self.others.retain(|(.., has_said)| *has_said);
        for (name, next_ms) in all.iter().filter(|(name, _)| name != me) {
            self.progressed(name, *next_ms, false);
        }
    }

    /// Progress only grows: records can arrive in any order.
    fn progressed(&mut self, name: &str, next_ms: i64, says_so: bool) {
        match self.others.iter_mut().find(|(known, ..)| known == name) {
            Some((_, known_ms, has_said)) => {
                *known_ms = next_ms.max(*known_ms);
                *has_said |= says_so;
            }
            None => self.others.push((name.into(), next_ms, says_so)),
        }
    }

    pub(super) fn claim_seen(&mut self, instance: &str, claim: &Claim, term: &Term) {
        // Before the replay begins, all are remembered: the plan may be seen later.
        if let Some(next_ms) = claim.replayed_until(term) {
            self.progressed(instance, next_ms, true);
        }
    }

    /// Nothing that others still have is older, ms.
    fn others_next_ms(&mut self, cx: Context<'_>, out_given_up: &mut u64) -> i64 {
        let since_ms = self.since_ms;
        let mut next = DONE_MS;
        for (name, next_ms, _) in &mut self.others {
            if *next_ms != DONE_MS && cx.fleet.is_dead(name, since_ms, cx.now_ms) {
                *out_given_up += 1;
                *next_ms = DONE_MS;
            }
            next = next.min(*next_ms);
        }
        next
    }
}

impl<B: Clone> ClusterState<B> {
    pub(super) fn step_replaying(&mut self, cx: Context<'_>, out: &mut Output<B>) -> bool {
        let Some(term) = self.term.clone() else {
            return false;
        };
        if self.replay.running.is_some() {
            return false;
        }
        // After a split, the plan of the other side can become known later than its election.
        let leads_here = self.plan.as_ref().filter(|plan| plan.leads_to(&term));
        if leads_here.is_some_and(|plan| Some(plan.id()) != self.replay.plan) {
            self.learned(cx, out);
            return true;
        }
        if self.replay.takes_part && cx.fleet.is_cut_off(cx.now_ms) {
            // Others continue without it: what it sent now could be overtaken.
            out.counts.lost += self.hold.drop_replica(&term.replica);
        }
        let others_ms = self.replay.others_next_ms(cx, &mut out.counts.given_up);
        let next_ms = self.hold.next_ms(&term.replica, self.after_ms());
        if next_ms == DONE_MS && (others_ms == DONE_MS || self.faults.no_barrier) {
            self.open(&term);
            return true;
        }
        if self.replay.takes_part {
            self.claim.want(&term, ClaimStage::Replaying { next_ms });
        }
        let before_ms = if others_ms == DONE_MS || self.faults.no_slices {
            DONE_MS
        } else {
            next_ms
                .min(others_ms)
                .saturating_add(self.settings.slice_ms)
        };
        if next_ms < before_ms && cx.now_ms >= self.replay.retry_ms {
            self.send_slice(&term, before_ms, cx, out);
        }
        false
    }

    fn send_slice(&mut self, term: &Term, before_ms: i64, cx: Context<'_>, out: &mut Output<B>) {
        let number = self.number();
        let after_ms = self.after_ms();
        let mut bodies = Vec::new();
        let mut numbers = Vec::new();
        let mut newest_ms = NEVER_MS;
        for one in self.hold.between(&term.replica, after_ms, before_ms) {
            bodies.push(one.part(after_ms));
            numbers.push(one.number);
            newest_ms = newest_ms.max(one.newest_before(before_ms));
        }
        // Whatever becomes of it, it may be stored.
        self.traffic.forwarded(newest_ms);
        self.replay.running = Some((number, before_ms, numbers));
        let limit_ms = cx.fleet.own_until_ms();
        out.effects.push(Effect::Replay(Slice {
            number,
            replica: term.replica.clone(),
            before_ms,
            until_ms: if self.replay.others.is_empty() {
                DONE_MS
            } else {
                limit_ms
            },
            bodies: Arc::from(bodies),
        }));
    }

    /// An [`Effect::Replay`] ended: its first `done` bodies were forwarded, or refused for good.
    pub fn replayed(&mut self, number: u64, done: usize, cx: Context<'_>, out: &mut Output<B>) {
        let running = self.replay.running.take();
        let Some((_, before_ms, numbers)) = running.filter(|(running, ..)| *running == number)
        else {
            return;
        };
        if done < numbers.len() {
            self.replay.retry_ms = cx.now_ms.saturating_add(RETRY_MS);
        }
        out.counts.replayed += done.min(numbers.len()) as u64;
        for number in numbers.into_iter().take(done) {
            self.hold.forwarded(number, before_ms);
        }
        if let Some(term) = &self.term {
            self.hold.drop_forwarded(&term.replica, NEVER_MS);
        }
        self.advance(cx, out);
    }
}
