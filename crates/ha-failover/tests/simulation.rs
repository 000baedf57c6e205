//! The simulation: seeds that any change must pass, those that once failed, and mistakes that it
//! must find.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

#[path = "../simulation/mod.rs"]
mod simulation;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ha_failover::Faults;
use simulation::scenario::{Class, Mishap, TrackerFaults};
use simulation::{Report, Scenario};

/// Seeds of every run of the tests; `cargo xtask simulate` runs more.
const SEEDS: u64 = 1_000;
/// Seeds within which a mistake has to be found.
const SEEDS_PER_MISTAKE: u64 = 2_000;

/// Runs scenarios on all processors until `judge` returns false.
fn run_all(
    scenarios: impl Fn(u64) -> Option<Scenario> + Sync,
    judge: impl Fn(u64, &Report) -> bool + Sync,
) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((seed, scenario)) = {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    scenarios(seed).map(|scenario| (seed, scenario))
                } {
                    if !judge(seed, &simulation::run(&scenario, false)) {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn a_thousand_fleets_keep_the_invariants() {
    let failed = Mutex::new(Vec::new());
    let all = Mutex::new((0, 0, 0, 0));
    run_all(
        |seed| (seed < SEEDS).then(|| Scenario::of(seed)),
        |seed, report| {
            if !report.violations.is_empty() {
                failed
                    .lock()
                    .unwrap()
                    .push((seed, report.violations.clone()));
            }
            let mut all = all.lock().unwrap();
            all.0 += report.stored;
            all.1 += report.elections;
            all.2 += report.counts.replayed;
            all.3 += report.counts.given_up;
            true
        },
    );
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "seeds with violations; `cargo xtask simulate --seed S` shows what happens: {failed:#?}"
    );
    // It is no proof if nothing happens.
    let (stored, elections, replayed, given_up) = all.into_inner().unwrap();
    assert!(stored > 100_000, "{stored} samples stored");
    assert!(elections > 500, "{elections} elections");
    assert!(replayed > 500, "{replayed} requests replayed");
    assert!(given_up > 20, "{given_up} distributors given up");
}

/// Seeds that failed once, and what they found.
const KEPT: &[(u64, &str)] = &[
    (
        135,
        "what is replayed counts for the watermark: a second failover went back behind it",
    ),
    (
        2414,
        "a distributor that saw no refusal elected another replica in an outage: closed claims tell \
         when the elected one was seen, and whether it was refused",
    ),
    (
        621,
        "an old refusal by one distributor excused a dead replica that others had accepted since",
    ),
    (
        2804,
        "two first elections of a cluster, at members of one gossip ring: a claim for such a term \
         settles twice as long",
    ),
    (
        38_667,
        "two plans of one millisecond, for different successors, had one version: a claim that was closed \
         for one counted for the other, and what was held of its successor was lost",
    ),
    (
        84_754,
        "after a split, a distributor that knew the older of two plans waited for ever for those that only \
         this plan had named",
    ),
    (
        10_291,
        "a plan that is withdrawn refused the elected replica, which waits for a minute, as did each \
         later plan: its requests wait at the distributor instead",
    ),
];

#[test]
fn seeds_that_failed_once_pass() {
    for (seed, found) in KEPT {
        let report = simulation::run(&Scenario::of(*seed), false);
        assert!(
            report.violations.is_empty(),
            "seed {seed} ({found}): {:?}",
            report.violations
        );
    }
}

#[test]
fn a_pause_of_three_intervals_is_filled() {
    let failed = Mutex::new(Vec::new());
    let filled = AtomicU64::new(0);
    let scenario = |seed: u64| {
        let mut scenario = Scenario::of_class(seed, Class::Restart);
        scenario.distributors = 1;
        scenario.interval_ms = 5_000;
        scenario.batch_ms = 1_000;
        for (at_ms, mishap) in &mut scenario.mishaps {
            // When its interval is known.
            *at_ms += 60_000;
            let restart_ms = Some(15_000 + 40 * (seed as i64 % 300));
            *mishap = Mishap::KillElected { restart_ms };
        }
        (seed < 300).then_some(scenario)
    };
    run_all(scenario, |seed, report| {
        filled.fetch_add(report.elections, Ordering::Relaxed);
        // Two scrapes, two intervals of its requests, a batch and the guard.
        if !report.violations.is_empty() || report.longest_gap_ms > 26_000 {
            failed
                .lock()
                .unwrap()
                .push((seed, report.longest_gap_ms, report.violations.clone()));
        }
        true
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
    let filled = filled.into_inner();
    assert!(filled > 200, "{filled} holes filled");
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for seed in 0..20 {
        let run = || format!("{:?}", simulation::run(&Scenario::of(seed), true));
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// Runs seeds with a mistake until a violation with this text is found.
fn is_found(text: &str, classes: &[Class], mistake: impl Fn(&mut Scenario) + Sync) {
    let found = Mutex::new(None);
    let scenario = |seed: u64| {
        let mut scenario = Scenario::of_class(seed, classes[seed as usize % classes.len()]);
        mistake(&mut scenario);
        (seed < SEEDS_PER_MISTAKE).then_some(scenario)
    };
    run_all(scenario, |seed, report| {
        let violations = report.violations.iter();
        let hit = violations.into_iter().find(|what| what.contains(text));
        if let Some(what) = hit {
            *found.lock().unwrap() = Some((seed, what.clone()));
        }
        hit.is_none()
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_some(), "no seed finds it: {text}");
}

const DEATHS: &[Class] = &[Class::Death, Class::Chaos];

#[test]
fn a_tracker_that_never_fails_over_is_found() {
    is_found("invariant 5", DEATHS, |scenario| {
        scenario.tracker_faults = TrackerFaults {
            never_fails_over: true,
            ..TrackerFaults::default()
        };
    });
}

fn rule(faults: Faults) -> impl Fn(&mut Scenario) + Sync {
    move |scenario| scenario.faults = faults
}

#[test]
fn a_boundary_that_is_not_kept_is_found() {
    let no_boundary = Faults {
        no_boundary: true,
        ..Faults::default()
    };
    is_found("invariant 1", DEATHS, rule(no_boundary));
}

#[test]
fn a_boundary_that_is_one_distributors_own_is_found() {
    let own_boundary = Faults {
        own_boundary: true,
        ..Faults::default()
    };
    is_found("invariant 1", DEATHS, rule(own_boundary));
}

#[test]
fn a_claim_that_is_not_closed_is_found() {
    let no_closing = Faults {
        no_closing: true,
        own_boundary: true,
        ..Faults::default()
    };
    is_found("invariant 1", &[Class::ByHand], rule(no_closing));
}

#[test]
fn a_boundary_that_does_not_wait_for_what_is_in_flight_is_found() {
    let no_draining = Faults {
        no_draining: true,
        ..Faults::default()
    };
    is_found(
        "invariant 1",
        &[Class::ByHand, Class::Chaos],
        rule(no_draining),
    );
}

#[test]
fn a_claim_that_opens_without_a_check_for_plans_is_found() {
    let no_check = Faults {
        no_check: true,
        ..Faults::default()
    };
    is_found("invariant 1", &[Class::Chaos], rule(no_check));
}

#[test]
fn a_replay_all_at_once_is_found() {
    let no_slices = Faults {
        no_slices: true,
        ..Faults::default()
    };
    is_found("goes back", DEATHS, rule(no_slices));
}

#[test]
fn live_requests_that_overtake_a_replay_are_found() {
    let no_barrier = Faults {
        no_barrier: true,
        ..Faults::default()
    };
    is_found("goes back", DEATHS, rule(no_barrier));
}

#[test]
fn a_missing_guard_is_found() {
    let no_guard = Faults {
        no_guard: true,
        ..Faults::default()
    };
    is_found("invariant 3", DEATHS, rule(no_guard));
}

#[test]
fn a_standby_that_is_answered_and_dropped_while_the_elected_one_is_dead_is_found() {
    let dropped = Faults {
        no_refusal: true,
        no_hold: true,
        ..Faults::default()
    };
    is_found("invariant 2", DEATHS, rule(dropped));
    let evicted = Faults {
        no_refusal: true,
        ..Faults::default()
    };
    is_found("invariant 2", DEATHS, move |scenario| {
        scenario.faults = evicted;
        scenario.settings.hold_bytes = 1_000;
    });
}

#[test]
fn a_failover_that_loses_what_a_hold_would_have_kept_is_found() {
    let no_hold = Faults {
        no_hold: true,
        ..Faults::default()
    };
    is_found("has nothing for", &[Class::Death], rule(no_hold));
}

#[test]
fn a_hold_without_a_bound_is_found() {
    let no_bound = Faults {
        no_bound: true,
        ..Faults::default()
    };
    is_found("invariant 4", DEATHS, move |scenario| {
        scenario.faults = no_bound;
        scenario.settings.hold_bytes = 1_000;
    });
}

#[test]
fn a_failover_that_counts_what_was_refused_as_silence_is_found() {
    let no_excuse = Faults {
        no_excuse: true,
        ..Faults::default()
    };
    is_found("invariant 6", &[Class::Outage], move |scenario| {
        scenario.faults = no_excuse;
        scenario.tracker_faults = TrackerFaults {
            refused_is_silent: true,
            ..TrackerFaults::default()
        };
    });
}

#[test]
fn the_check_of_the_fleet_makes_up_for_a_tracker_that_knows_no_cadence() {
    let failed = Mutex::new(Vec::new());
    let scenario = |seed: u64| {
        let mut scenario = Scenario::of_class(seed, Class::Outage);
        scenario.tracker_faults = TrackerFaults {
            refused_is_silent: true,
            no_cadence: true,
            never_fails_over: false,
        };
        (seed < 100).then_some(scenario)
    };
    run_all(scenario, |seed, report| {
        if !report.violations.is_empty() {
            failed
                .lock()
                .unwrap()
                .push((seed, report.violations.clone()));
        }
        true
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}
