//! Single steps of one distributor, and of two with a store between them that loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::{ClaimStage, Counts, DONE_MS, Fate, Fleet, Outcome, Request, Slice, Ticket, Wait};

/// Distributors with a store whose writes are known to all at once.
struct Two {
    states: BTreeMap<&'static str, ClusterState<&'static str>>,
    fleets: BTreeMap<&'static str, Fleet>,
    claims: BTreeMap<&'static str, Claim>,
    plan: Option<Plan>,
    entry: (Term, i64),
    slices: Vec<(&'static str, Slice<&'static str>)>,
    counts: Counts,
    now_ms: i64,
}

const START: i64 = 1_000_000;

impl Two {
    fn new() -> Self {
        let mut two = Self {
            states: BTreeMap::new(),
            fleets: BTreeMap::new(),
            claims: BTreeMap::new(),
            plan: None,
            entry: (term("a", START - 500, 0), START),
            slices: Vec::new(),
            counts: Counts::default(),
            now_ms: START,
        };
        for name in ["d1", "d2"] {
            let budget = Arc::new(Budget::new(1 << 20, None));
            let state = ClusterState::new(name, Settings::default(), budget);
            two.states.insert(name, state);
            two.fleets.insert(name, Fleet::new(name, 10_000, START));
        }
        two.tell_entry();
        two
    }

    fn call<R>(
        &mut self,
        at: &'static str,
        call: impl FnOnce(&mut ClusterState<&'static str>, Context<'_>, &mut Output<&'static str>) -> R,
    ) -> R {
        let mut out = Output::default();
        let state = self.states.get_mut(at).unwrap();
        let cx = Context {
            now_ms: self.now_ms,
            fleet: &self.fleets[at],
        };
        let result = call(state, cx, &mut out);
        self.counts.lost += out.counts.lost;
        self.counts.evicted += out.counts.evicted;
        self.counts.withdrawn += out.counts.withdrawn;
        self.counts.given_up += out.counts.given_up;
        for effect in out.effects {
            self.perform(at, effect);
        }
        result
    }

    fn all(&self) -> Vec<&'static str> {
        self.states.keys().copied().collect()
    }

    fn perform(&mut self, at: &'static str, effect: Effect<&'static str>) {
        match effect {
            Effect::WriteClaim(claim) => {
                self.claims.insert(at, claim.clone());
                self.call(at, |state, cx, out| state.claim_written(true, cx, out));
                for other in self.all() {
                    self.call(other, |state, cx, out| {
                        state.claim_seen(at, &claim, cx, out);
                    });
                }
            }
            Effect::WritePlan { over, plan } => {
                let stored = self.plan.as_ref().map_or(0, |plan| plan.version) == over;
                if stored {
                    self.plan = Some(plan.clone());
                }
                self.call(at, |state, cx, out| {
                    state.plan_written(&plan, stored, cx, out);
                });
                let plan = self.plan.clone().unwrap();
                for other in self.all() {
                    self.call(other, |state, cx, out| state.plan_seen(&plan, cx, out));
                }
            }
            Effect::Survey { number } => {
                if let Some(plan) = self.plan.clone() {
                    self.call(at, |state, cx, out| state.plan_seen(&plan, cx, out));
                }
                for (name, claim) in self.claims.clone() {
                    self.call(at, |state, cx, out| state.claim_seen(name, &claim, cx, out));
                }
                self.call(at, |state, cx, out| state.surveyed(number, true, cx, out));
            }
            Effect::Elect { from, successor } => {
                if self.entry.0 == from {
                    self.entry = (term(&successor, self.now_ms, from.changes + 1), self.now_ms);
                    self.tell_entry();
                }
            }
            Effect::Replay(slice) => self.slices.push((at, slice)),
            Effect::Wake => {}
        }
    }

    fn tell_entry(&mut self) {
        let (term, received_at) = self.entry.clone();
        for at in self.all() {
            self.call(at, |state, cx, out| {
                state.elected(Some((&term, received_at)), cx, out);
            });
        }
    }

    /// Time passes, with heartbeats of those that are alive.
    fn pass(&mut self, ms: i64, alive: &[&'static str]) {
        let end_ms = self.now_ms + ms;
        while self.now_ms < end_ms {
            self.now_ms = end_ms.min(self.now_ms + 1_000);
            for at in alive {
                for fleet in self.fleets.values_mut() {
                    fleet.heard(at, self.now_ms, self.now_ms);
                }
                self.fleets.get_mut(at).unwrap().confirmed(self.now_ms);
            }
            for at in alive {
                self.call(at, ClusterState::tick);
            }
        }
    }

    fn send(&mut self, at: &'static str, replica: &str, oldest_ms: i64, newest_ms: i64) -> Fate {
        let request = Request {
            replica,
            oldest_ms,
            newest_ms,
            bytes: 100,
        };
        let judge =
            |two: &mut Self| two.call(at, |state, cx, out| state.request(&request, || at, cx, out));
        let fate = judge(self);
        let is_first = matches!(
            fate,
            Fate::RetryLater {
                why: Wait::Opening,
                ..
            }
        );
        if is_first { judge(self) } else { fate }
    }

    fn stored(&mut self, at: &'static str, replica: &str, newest_ms: i64) -> Option<i64> {
        match self.send(at, replica, newest_ms - 10, newest_ms) {
            Fate::Accept { ticket, after_ms } => {
                self.finish(at, &ticket);
                after_ms
            }
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, at: &'static str, ticket: &Ticket) {
        self.call(at, |state, cx, out| {
            state.finished(ticket, Outcome::Done, cx, out);
        });
    }

    fn ask(&mut self, at: &'static str, successor: &str, reason: Reason) {
        self.call(at, |state, cx, out| state.begin(successor, reason, cx, out));
    }

    /// The only slice that is being forwarded.
    fn replay(&mut self) -> (&'static str, Slice<&'static str>) {
        assert_eq!(self.slices.len(), 1, "{:?}", self.slices);
        let (at, slice) = self.slices.remove(0);
        let (number, done) = (slice.number, slice.bodies.len());
        self.call(at, |state, cx, out| state.replayed(number, done, cx, out));
        (at, slice)
    }

    fn phase(&self, at: &str) -> &'static str {
        self.states[at].snapshot().phase
    }
}

fn term(replica: &str, elected_at: i64, changes: i64) -> Term {
    Term {
        replica: replica.into(),
        elected_at,
        changes,
    }
}

fn why(fate: Fate) -> Wait {
    match fate {
        Fate::RetryLater { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

const BOTH: &[&str] = &["d1", "d2"];

#[test]
fn in_quiet_times_a_standby_is_held_until_the_elected_one_has_sent_as_much() {
    let mut two = Two::new();
    assert_eq!(two.stored("d1", "a", START), None);
    assert_eq!(two.send("d1", "b", START - 10, START), Fate::Deduplicate);
    assert_eq!(two.send("d1", "b", START, START + 500), Fate::Held);
    assert_eq!(two.states["d1"].snapshot().held, 1);
    assert_eq!(two.stored("d1", "a", START + 500), None);
    two.pass(1_000, BOTH);
    assert_eq!(two.states["d1"].snapshot().held, 0);
    assert_eq!(two.counts.evicted, 0);
}

#[test]
fn the_successor_continues_after_the_highest_watermark_and_what_is_held_comes_first() {
    let mut two = Two::new();
    assert_eq!(two.stored("d1", "a", START), None);
    assert_eq!(two.stored("d2", "a", START + 3_000), None);
    two.pass(10_000, BOTH);
    // One shard of b, whose requests reach one distributor after the other.
    for second in [2, 6, 11] {
        let newest_ms = START + second * 1_000;
        let at = if second == 6 { "d2" } else { "d1" };
        assert_eq!(two.send(at, "b", newest_ms, newest_ms), Fate::Held);
    }
    two.pass(15_000, BOTH);
    assert_eq!(why(two.send("d1", "b", START, START + 12_000)), Wait::Late);
    two.ask("d1", "b", Reason::Overdue);
    assert_eq!(two.entry.0.replica, "b");
    // The boundary is d2's watermark, 3 s. 6 s is at d2, 11 s at d1: another slice.
    let (at, slice) = two.replay();
    assert_eq!((at, slice.bodies.len()), ("d2", 1));
    assert_eq!(slice.bodies[0].after_ms, START + 4_000);
    assert_eq!(
        why(two.send("d2", "b", START, START + 12_000)),
        Wait::Replay
    );
    let (at, slice) = two.replay();
    assert_eq!((at, slice.before_ms), ("d1", DONE_MS));
    assert!(two.slices.is_empty());
    for at in ["d1", "d2"] {
        assert_eq!(two.phase(at), "open");
    }
    assert_eq!(two.stored("d2", "b", START + 4_005), Some(START + 4_000));
    assert_eq!(two.stored("d2", "b", START + 12_000), None);
    // The old one is a standby now.
    assert_eq!(two.send("d2", "a", START, START + 5_000), Fate::Deduplicate);
    assert_eq!(two.counts.lost, 0);
}

#[test]
fn the_boundary_waits_for_what_is_in_flight() {
    let mut two = Two::new();
    let Fate::Accept { ticket, .. } = two.send("d2", "a", START, START + 9_000) else {
        panic!("not accepted");
    };
    assert_eq!(two.stored("d1", "a", START), None);
    two.ask("d1", "b", Reason::ByHand);
    two.pass(30_000, BOTH);
    assert_eq!((two.phase("d1"), two.phase("d2")), ("closed", "closing"));
    // Neither replica is accepted meanwhile.
    assert_eq!(
        why(two.send("d1", "a", START, START + 30_000)),
        Wait::Election
    );
    assert_eq!(
        why(two.send("d1", "b", START, START + 30_000)),
        Wait::Election
    );
    assert_eq!(two.entry.0.replica, "a");
    // The sample's time counts no more than 5 s ahead of its receipt.
    two.finish("d2", &ticket);
    assert_eq!(two.entry.0.replica, "b");
    let boundary_ms = two.states["d1"].snapshot().boundary_ms;
    assert_eq!(boundary_ms, Some(START + 5_000));
}

#[test]
fn a_dead_distributor_counts_as_if_it_had_accepted_until_its_death() {
    let mut two = Two::new();
    assert_eq!(two.stored("d1", "a", START), None);
    assert_eq!(two.stored("d2", "a", START + 1_000), None);
    two.pass(2_000, BOTH);
    two.pass(5_000, &["d1"]);
    two.states.remove("d2");
    two.ask("d1", "b", Reason::ByHand);
    assert_eq!(two.entry.0.replica, "a");
    two.pass(20_000, &["d1"]);
    assert_eq!(two.entry.0.replica, "b");
    assert_eq!(two.counts.given_up, 1);
    let boundary_ms = two.states["d1"].snapshot().boundary_ms;
    assert_eq!(boundary_ms, Some(START + 2_000 + 10_000 + 5_000));
}

#[test]
fn a_plan_whose_elector_dies_is_carried_out_by_another() {
    let mut two = Two::new();
    assert_eq!(two.stored("d1", "a", START), None);
    let Fate::Accept { .. } = two.send("d2", "a", START, START) else {
        panic!("not accepted");
    };
    two.pass(1_000, BOTH);
    // d2 cannot finish, and dies as elector.
    two.ask("d2", "b", Reason::ByHand);
    assert_eq!(two.phase("d1"), "closed");
    two.states.remove("d2");
    two.pass(20_000, &["d1"]);
    assert_eq!(two.entry.0.replica, "b");
    assert_eq!(two.plan.as_ref().unwrap().elector, "d1");
}

#[test]
fn a_hole_on_return_is_filled_and_one_that_is_none_is_not() {
    for is_hole in [true, false] {
        let mut two = Two::new();
        assert_eq!(two.stored("d1", "a", START), None);
        assert_eq!(two.stored("d2", "a", START), None);
        for second in 1..4 {
            two.pass(12_000, BOTH);
            let now_ms = START + 12_000 * second;
            if is_hole {
                assert_ne!(
                    two.send("d1", "b", now_ms - 10_000, now_ms),
                    Fate::Deduplicate
                );
            } else {
                assert_eq!(two.send("d1", "b", now_ms - 10_000, now_ms), Fate::Held);
                assert_eq!(two.stored("d2", "a", now_ms), None);
                two.entry.1 = START;
            }
            if second == 2 {
                let settings = Settings {
                    late_after_ms: 40_000,
                    ..Settings::default()
                };
                two.call("d1", |state, _, _| state.set_settings(settings));
            }
        }
        // It comes back, at a distributor that has not seen it since.
        let fate = two.send("d1", "a", START + 36_000, START + 37_000);
        if is_hole {
            assert_eq!(why(fate), Wait::Election);
            assert_eq!(two.entry.0.replica, "b");
        } else {
            assert_eq!(why(fate), Wait::Election);
            assert_eq!(two.entry.0.replica, "a");
            assert_eq!(two.counts.withdrawn, 1);
            assert_eq!(two.stored("d1", "a", START + 37_000), None);
        }
    }
}

#[test]
fn when_the_downstream_refuses_the_elected_one_standbys_wait() {
    let mut two = Two::new();
    let Fate::Accept { ticket, .. } = two.send("d1", "a", START, START) else {
        panic!("not accepted");
    };
    let refused = |state: &mut ClusterState<_>, cx: Context<'_>, out: &mut Output<_>| {
        state.finished(&ticket, Outcome::NotStored, cx, out);
    };
    two.call("d1", refused);
    assert_eq!(why(two.send("d1", "b", START, START)), Wait::Stalled);
    assert_eq!(two.stored("d1", "a", START), None);
    assert_eq!(two.send("d1", "b", START, START), Fate::Deduplicate);
    // What was refused moved no watermark.
    assert!(matches!(two.claims["d1"].stage, ClaimStage::Open));
}

#[test]
fn samples_of_the_future_are_not_held_and_move_no_watermark_there() {
    let mut two = Two::new();
    let year_ms = 365 * 86_400_000;
    assert_eq!(two.stored("d1", "a", START + year_ms), None);
    assert_eq!(
        two.states["d1"].snapshot().watermark_ms,
        Some(START + 5_000)
    );
    assert_eq!(
        two.send("d1", "b", START, START + year_ms),
        Fate::Deduplicate
    );
    assert_eq!(two.states["d1"].snapshot().held, 0);
}

#[test]
fn a_full_hold_evicts_the_oldest_and_counts() {
    let mut two = Two::new();
    let settings = Settings {
        hold_bytes: 600,
        ..Settings::default()
    };
    two.call("d1", |state, _, _| state.set_settings(settings));
    assert_eq!(two.stored("d1", "a", START), None);
    for second in 1..6 {
        let at_ms = START + second;
        assert_eq!(two.send("d1", "b", at_ms, at_ms), Fate::Held);
    }
    let snapshot = two.states["d1"].snapshot();
    assert_eq!((snapshot.held, snapshot.held_bytes), (2, 520));
    assert_eq!(two.counts.evicted, 3);
}

#[test]
fn an_election_by_another_program_begins_after_what_is_known() {
    let mut two = Two::new();
    assert_eq!(two.stored("d1", "a", START + 2_000), None);
    assert_eq!(
        two.send("d1", "b", START + 2_500, START + 2_500),
        Fate::Held
    );
    two.entry = (term("b", START + 3_000, 1), START + 3_000);
    two.tell_entry();
    assert_eq!(two.phase("d1"), "open");
    assert_eq!(two.counts.lost, 1);
    assert_eq!(two.stored("d1", "b", START + 2_900), Some(START + 3_000));
}
