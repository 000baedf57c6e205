//! What is said of fleets.

use std::collections::BTreeMap;
use std::time::Duration;

use admin_api::{BackfillState, MemberState, Reason};

use super::fleets::{Change, comparison, fleet, of, one_stop, stops, with};
use crate::judge::{Place, Severity, judge};
use crate::screen::{Style, render};
use crate::snapshot::{Difference, DistributorState};
use crate::steps::{NEW_STORE, Step, Stores};

#[test]
fn a_fleet_in_order_may_go_on_at_every_step() {
    for step in 0..=5 {
        let snapshot = fleet([step; 3]);
        let verdict = judge(&snapshot, &snapshot, None);
        assert_eq!(verdict.place, Place::At(Step(step)));
        assert_eq!(verdict.findings, [], "step {step}");
        assert!(verdict.is_safe());
        let next = (step < 5).then_some(Step(step + 1));
        assert_eq!(verdict.next(), next);
        let old = (step < 5).then(|| "consul".to_owned());
        assert_eq!(verdict.old, old);
    }
}

#[test]
fn a_roll_out_must_end_before_the_next() {
    for step in 0..5 {
        let snapshot = fleet([step + 1, step, step]);
        let verdict = judge(&snapshot, &snapshot, None);
        assert_eq!(verdict.place, Place::Between(Step(step), Step(step + 1)));
        assert!(!verdict.is_safe());
        assert_eq!(stops(&verdict).len(), 1, "{verdict:?}");
        assert!(stops(&verdict)[0].starts_with(&format!("1 of 3 are on step {}", step + 1)));
    }
}

#[test]
fn steps_that_are_apart_can_be_a_danger() {
    let place = |steps: [u8; 3]| {
        let snapshot = fleet(steps);
        let verdict = judge(&snapshot, &snapshot, None);
        assert_eq!(verdict.place, Place::Scattered);
        assert!(!verdict.is_safe());
        stops(&verdict).join("\n").contains("are doubled or lost")
    };
    // One reads memberlist, to which another does not write, or the other way round.
    for steps in [
        [1, 3, 3],
        [0, 3, 3],
        [2, 2, 4],
        [2, 3, 4],
        [0, 5, 5],
        [1, 2, 3],
    ] {
        assert!(place(steps), "{steps:?}");
    }
    // All read the same.
    for steps in [[0, 2, 2], [0, 1, 2], [3, 5, 5]] {
        assert!(!place(steps), "{steps:?}");
    }
}

#[test]
fn who_does_not_answer_or_is_not_ready_stops() {
    let mut snapshot = fleet([2; 3]);
    snapshot.targets[1].1 = Err("Connection refused".to_owned());
    // Its gossip is still seen by the others.
    let verdict = judge(&snapshot, &snapshot, None);
    assert!(stops(&verdict)[0].contains("does not answer: Connection refused"));
    let waits = with(3, |state| {
        state.not_ready = Some("memberlist: joining".to_owned());
    });
    one_stop(&waits, "http://d1:8080: is not ready: memberlist: joining");
}

#[test]
fn strange_stores_stop() {
    let off = with(2, |state| state.stores = Stores::NoTracker);
    one_stop(&off, "has the HA tracker off");
    let memory = with(2, |state| {
        state.stores = Stores::Alone("inmemory".to_owned());
    });
    one_stop(&memory, "keeps its elections in inmemory alone");
    let other = with(2, |state| {
        state.stores = Stores::Multi {
            primary: "etcd".to_owned(),
            secondary: NEW_STORE.to_owned(),
            mirror_enabled: true,
        };
    });
    one_stop(
        &other,
        "they use different old stores: consul on d0:8080, d2:8080; etcd on d1:8080",
    );
}

#[test]
fn before_the_switch_the_secondary_must_be_complete() {
    let cases: [(&str, Change); 5] = [
        (
            "is behind in 5 keys (3 missing, 2 older): ha-tracker/t/x",
            Box::new(comparison(|found| {
                (found.missing, found.older) = (3, 2);
                found.named = vec![Difference {
                    key: "ha-tracker/t/x".to_owned(),
                    reason: Reason::Missing,
                    same_replica: false,
                }];
            })),
        ),
        (
            "is copying keys that its secondary lacks; 7 keys to go",
            Box::new(|state| {
                let details = state.details.as_mut().unwrap();
                details.backfill = Some(BackfillState::Running);
                details.backfill_pending_keys = 7;
            }),
        ),
        (
            "cannot compare its stores: consul is not ready yet",
            Box::new(|state| {
                let error = "consul is not ready yet".to_owned();
                state.details.as_mut().unwrap().comparison = Some(Err(error));
            }),
        ),
        (
            "has 1 newer elections of other replicas: ha-tracker/t/x",
            Box::new(comparison(|found| {
                found.newer = 1;
                found.named = vec![Difference {
                    key: "ha-tracker/t/x".to_owned(),
                    reason: Reason::Newer,
                    same_replica: false,
                }];
            })),
        ),
        // More than it names.
        (
            "has 200 newer elections",
            Box::new(comparison(|found| found.newer = 200)),
        ),
    ];
    for (expected, change) in cases {
        one_stop(&with(2, &*change), expected);
        // Afterwards it is only the way back that is not there.
        let (before, now) = with(3, &*change);
        let verdict = judge(&before, &now, None);
        assert!(verdict.is_safe(), "{verdict:?}");
        let warnings = of(&verdict, Severity::Warn);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(expected), "{warnings:?}");
        assert!(warnings[0].ends_with("until then, going back to step 2 is not safe"));
    }
}

#[test]
fn mirror_errors_stop_while_they_rise() {
    let (before, mut now) = with(2, |state| state.errors = 4);
    let failing = now.targets[1].1.as_mut().unwrap();
    failing.errors = 6;
    failing.details.as_mut().unwrap().last_error = Some("t/c: no answer".to_owned());
    one_stop(
        &(before.clone(), now.clone()),
        "2 recent writes to memberlist failed; the last: t/c: no answer",
    );
    // Restarted in the meantime: it counts from 0.
    let (_, restarted) = with(2, |state| state.errors = 1);
    one_stop(
        &(now.clone(), restarted),
        "1 recent writes to memberlist failed",
    );
    // No more than before.
    let verdict = judge(&now, &now, None);
    assert!(verdict.is_safe(), "{verdict:?}");
    assert!(of(&verdict, Severity::Note)[0].contains("6 writes to the secondary failed earlier"));
    drop(before);
}

#[test]
fn what_is_left_over_in_the_secondary_is_told() {
    let extra = with(2, comparison(|found| found.extra = 2));
    let newer = with(
        2,
        comparison(|found| {
            found.newer = 1;
            found.named = vec![Difference {
                key: "k".to_owned(),
                reason: Reason::Newer,
                same_replica: true,
            }];
        }),
    );
    let undecodable = with(2, comparison(|found| found.undecodable = 1));
    for ((before, now), severity, expected) in [
        (extra, Severity::Warn, "2 keys that its primary lacks"),
        (
            newer,
            Severity::Note,
            "newer elections, of the same replicas",
        ),
        (
            undecodable,
            Severity::Warn,
            "1 values in its stores cannot be decoded",
        ),
    ] {
        let verdict = judge(&before, &now, None);
        assert!(verdict.is_safe(), "{verdict:?}");
        assert!(of(&verdict, severity)[0].contains(expected), "{verdict:?}");
    }
}

#[test]
fn a_refused_override_stops() {
    let refused = with(1, |state| {
        state.details.as_mut().unwrap().refused = Some("\"etcd\" cannot be the primary".to_owned());
    });
    one_stop(&refused, "refuses its runtime configuration");
}

#[test]
fn a_runtime_configuration_that_is_broken_or_left_over_stops() {
    let broken = with(3, |state| state.is_runtime_broken = true);
    one_stop(&broken, "could not load its runtime configuration");
    let left = |state: &mut DistributorState| state.details.as_mut().unwrap().is_overridden = true;
    one_stop(&with(0, left), "would take effect at the first restart");
    let (before, now) = with(5, left);
    let verdict = judge(&before, &now, None);
    assert!(verdict.is_safe(), "{verdict:?}");
    assert!(of(&verdict, Severity::Note)[0].contains("multi_kv_config is still in"));
}

#[test]
fn an_old_comparison_says_nothing() {
    let old = with(2, comparison(|found| found.age = Duration::from_secs(16)));
    one_stop(&old, "the last successful comparison is 16 s old");
    let (before, now) = with(2, comparison(|found| found.age = Duration::from_secs(14)));
    assert!(judge(&before, &now, None).is_safe());
}

#[test]
fn the_number_of_distributors_can_be_demanded() {
    let snapshot = fleet([2; 3]);
    assert!(judge(&snapshot, &snapshot, Some(3)).is_safe());
    let verdict = judge(&snapshot, &snapshot, Some(4));
    assert_eq!(stops(&verdict), ["there are 3 targets instead of 4"]);
}

#[test]
fn those_too_far_apart_go_where_the_elections_are() {
    for (steps, repair) in [
        ([1, 3, 3], Some(2)),
        ([0, 2, 3], Some(2)),
        ([2, 2, 4], Some(3)),
        ([3, 2, 5], Some(3)),
        ([1, 1, 4], Some(2)),
        ([0, 5, 5], Some(2)),
        ([0, 2, 2], None),
        ([3, 5, 5], None),
    ] {
        let snapshot = fleet(steps);
        let verdict = judge(&snapshot, &snapshot, None);
        assert_eq!(verdict.repair, repair.map(Step), "{steps:?}");
    }
}

#[test]
fn what_others_have_named_does_not_reach_the_terminal_as_it_is() {
    let (before, mut now) = with(2, |_| {});
    let evil = "\u{1b}[2Jx".repeat(30);
    now.targets[1].1.as_mut().unwrap().stores = Stores::Alone(evil);
    let text = render(&before, &now, &judge(&before, &now, None), Style::Plain);
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn different_elections_stop_if_they_last() {
    let differs = |state: &mut DistributorState| {
        let elected = state.elected.as_mut().unwrap();
        elected.insert(("t".to_owned(), "c".to_owned()), "r1".to_owned());
    };
    let (before, now) = with(2, differs);
    one_stop(
        &(before.clone(), now.clone()),
        "they accept different replicas of 1 clusters: t/c",
    );
    // A failover that is on its way, or over.
    let calm = fleet([2; 3]);
    assert!(judge(&calm, &now, None).is_safe());
    assert!(judge(&before, &calm, None).is_safe());
    let forgot = |state: &mut DistributorState| state.elected = Some(BTreeMap::new());
    let (before, now) = with(2, forgot);
    one_stop(
        &(before, now.clone()),
        "does not know 1 clusters that others track: t/c",
    );
    assert!(judge(&calm, &now, None).is_safe());
}

#[test]
fn gossip_must_be_whole() {
    let silent = with(4, |state| {
        let gossip = state.gossip.as_mut().unwrap();
        gossip.members[2].state = MemberState::Dead;
    });
    one_stop(
        &silent,
        "http://d1:8080: gossips, but does not see d2:8080 as active",
    );
    let joining = with(4, |state| {
        state.gossip.as_mut().unwrap().members[1].state = MemberState::Joining;
    });
    one_stop(
        &joining,
        "d1:8080: is not an active member of the gossip cluster yet",
    );
    let lacking = with(4, |state| state.gossip.as_mut().unwrap().keys.clear());
    one_stop(
        &lacking,
        "its /memberlist lacks 1 keys that others have: ha-tracker/t/c",
    );
    let twice = with(4, |state| {
        "d0-abc".clone_into(&mut state.gossip.as_mut().unwrap().own_name);
    });
    let (before, now) = &twice;
    let verdict = judge(before, now, None);
    assert!(
        stops(&verdict)[0].contains("is the same process as another target"),
        "{verdict:?}"
    );
}

#[test]
fn a_member_that_is_no_target_stops() {
    let mut now = fleet([4; 3]);
    now.targets.truncate(2);
    let both = (now.clone(), now.clone());
    one_stop(
        &both,
        "1 active member that is none of the targets: d2-abc (10.0.0.2:7946)",
    );
    // It has just been started, and looked at before the pages changed; or it is leaving.
    let mut before = now.clone();
    for (_, state) in &mut before.targets {
        state
            .as_mut()
            .unwrap()
            .gossip
            .as_mut()
            .unwrap()
            .members
            .truncate(2);
    }
    assert!(judge(&before, &now, None).is_safe());
}

#[test]
fn members_of_a_shared_ring_are_no_part_of_the_fleet() {
    let mut now = fleet([4; 3]);
    now.targets.truncate(2);
    let now = now.of_targets_alone();
    assert!(judge(&now, &now, None).is_safe());
    // The targets must see each other all the same.
    let mut parted = now.clone();
    let state = parted.targets[0].1.as_mut().unwrap();
    state.gossip.as_mut().unwrap().members.truncate(1);
    let parted = parted.of_targets_alone();
    one_stop(
        &(parted.clone(), parted),
        "gossips, but does not see d1:8080 as active",
    );
}

#[test]
fn mimirs_distributors_are_judged_by_their_metrics() {
    let of_mimir = |step: u8| {
        let mut snapshot = fleet([step; 3]);
        for (_, state) in &mut snapshot.targets {
            let state = state.as_mut().unwrap();
            (state.details, state.gossip) = (None, None);
        }
        snapshot
    };
    for step in [1, 3, 4] {
        let snapshot = of_mimir(step);
        let verdict = judge(&snapshot, &snapshot, None);
        assert!(verdict.is_safe(), "{verdict:?}");
        assert!(of(&verdict, Severity::Warn)[0].contains("this tool cannot check"));
    }
    // Nothing says that the secondary is complete.
    let before = of_mimir(2);
    let verdict = judge(&before, &before, None);
    assert_eq!(stops(&verdict).len(), 3, "{verdict:?}");
    // Beside some of ours, which they cannot gossip with.
    let (_, mixed) = with(2, |state| {
        (state.details, state.gossip) = (None, None);
    });
    let verdict = judge(&mixed, &mixed, None);
    assert!(
        stops(&verdict)[0].contains("some are distributors of another kind"),
        "{verdict:?}"
    );
    let mut failing = before.clone();
    failing.targets[1].1.as_mut().unwrap().errors = 1;
    let verdict = judge(&before, &failing, None);
    let rising = "1 recent writes to memberlist failed";
    assert!(stops(&verdict).iter().any(|stop| stop.contains(rising)));
}

#[test]
fn what_an_operator_should_know_besides() {
    let overridden = with(4, |state| {
        state.details.as_mut().unwrap().is_overridden = true;
    });
    let older = with(0, |state| "0.0.9".clone_into(&mut state.version));
    let mut alone = fleet([0; 3]);
    alone.targets.truncate(1);
    for ((before, now), expected) in [
        (
            overridden,
            "multi_kv_config of the runtime configuration makes this step on d1:8080",
        ),
        (older, "they run different versions: 0.0.9, 0.1.0"),
        ((alone.clone(), alone), "there is only one target"),
    ] {
        let verdict = judge(&before, &now, None);
        assert!(verdict.is_safe(), "{verdict:?}");
        assert_eq!(verdict.findings.len(), 1);
        assert!(verdict.findings[0].what.contains(expected), "{verdict:?}");
    }
}
