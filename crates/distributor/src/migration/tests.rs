//! Fleets as data, and what is said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use expect_test::{Expect, expect};

use super::judge::{Place, Severity, Verdict, judge};
use super::screen::{Style, render, to_json};
use super::seen::{
    Comparison, Details, Difference, Gossip, Look, Member, NEW_STORE, Seen, Step, Stores,
};
use super::{Asked, parse};

fn stores(step: u8) -> Stores {
    let multi = |primary: &str, secondary: &str, mirror_enabled| Stores::Multi {
        primary: primary.to_owned(),
        secondary: secondary.to_owned(),
        mirror_enabled,
    };
    match step {
        0 => Stores::Alone("consul".to_owned()),
        1 => multi("consul", NEW_STORE, false),
        2 => multi("consul", NEW_STORE, true),
        3 => multi(NEW_STORE, "consul", true),
        4 => multi(NEW_STORE, "consul", false),
        _ => Stores::Alone(NEW_STORE.to_owned()),
    }
}

fn target(number: usize) -> String {
    format!("http://d{number}:8080")
}

/// A distributor in order, one of three.
fn seen(number: usize, step: u8) -> Seen {
    let is_multi = (1..=4).contains(&step);
    let mirrors = (2..=3).contains(&step);
    let member = |number: usize| Member {
        name: format!("d{number}-abc"),
        address: format!("10.0.0.{number}:7946"),
        state: "active".to_owned(),
    };
    Seen {
        stores: stores(step),
        version: "0.1.0".to_owned(),
        is_runtime_broken: false,
        not_ready: None,
        writes: if mirrors { 100 } else { 0 },
        errors: 0,
        details: Some(Details {
            backfill: if mirrors { "complete" } else { "off" }.to_owned(),
            comparison: is_multi.then(|| Ok(Comparison::default())),
            ..Details::default()
        }),
        gossip: (step > 0).then(|| Gossip {
            own_name: format!("d{number}-abc"),
            members: (0..3).map(member).collect(),
            keys: BTreeSet::new(),
        }),
        elected: Some(BTreeMap::from([(
            ("t".to_owned(), "c".to_owned()),
            "r0".to_owned(),
        )])),
    }
}

fn fleet(steps: [u8; 3]) -> Look {
    let targets = steps.iter().enumerate();
    let mut targets: Vec<_> = targets
        .map(|(number, step)| (target(number), seen(number, *step)))
        .collect();
    for gossip in targets
        .iter_mut()
        .filter_map(|(_, seen)| seen.gossip.as_mut())
    {
        // Keys spread to all that gossip.
        if steps.iter().any(|step| *step >= 2) {
            gossip.keys.insert("ha-tracker/t/c".to_owned());
        }
        let mut steps = steps.iter();
        gossip
            .members
            .retain(|_| steps.next().is_some_and(|step| *step > 0));
    }
    Look {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        targets: targets
            .into_iter()
            .map(|(target, seen)| (target, Ok(seen)))
            .collect(),
    }
}

/// A fleet on one step, with something changed in its second distributor in both looks.
fn with(step: u8, change: impl Fn(&mut Seen)) -> (Look, Look) {
    let mut look = fleet([step; 3]);
    change(look.targets[1].1.as_mut().unwrap());
    (look.clone(), look)
}

fn stops(verdict: &Verdict) -> Vec<String> {
    of(verdict, Severity::Stop)
}

fn of(verdict: &Verdict, severity: Severity) -> Vec<String> {
    verdict
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .map(|finding| match &finding.target {
            Some(target) => format!("{target}: {}", finding.what),
            None => finding.what.clone(),
        })
        .collect()
}

fn one_stop((before, now): &(Look, Look), expected: &str) {
    let verdict = judge(before, now, None);
    let stops = stops(&verdict);
    assert!(!verdict.is_safe(), "{verdict:?}");
    assert_eq!(stops.len(), 1, "{stops:?}");
    assert!(stops[0].contains(expected), "{stops:?}");
}

/// What is wrong with a distributor.
type Change = Box<dyn Fn(&mut Seen)>;

fn comparison(change: impl Fn(&mut Comparison)) -> impl Fn(&mut Seen) {
    move |seen| {
        let mut found = Comparison::default();
        change(&mut found);
        seen.details.as_mut().unwrap().comparison = Some(Ok(found));
    }
}

#[test]
fn a_fleet_in_order_may_go_on_at_every_step() {
    for step in 0..=5 {
        let look = fleet([step; 3]);
        let verdict = judge(&look, &look, None);
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
        let look = fleet([step + 1, step, step]);
        let verdict = judge(&look, &look, None);
        assert_eq!(verdict.place, Place::Between(Step(step), Step(step + 1)));
        assert!(!verdict.is_safe());
        assert_eq!(stops(&verdict).len(), 1, "{verdict:?}");
        assert!(stops(&verdict)[0].starts_with(&format!("1 of 3 are on step {}", step + 1)));
    }
}

#[test]
fn steps_that_are_apart_can_be_a_danger() {
    let place = |steps: [u8; 3]| {
        let look = fleet(steps);
        let verdict = judge(&look, &look, None);
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
    let mut look = fleet([2; 3]);
    look.targets[1].1 = Err("Connection refused".to_owned());
    // Its gossip is still seen by the others.
    let verdict = judge(&look, &look, None);
    assert!(stops(&verdict)[0].contains("does not answer: Connection refused"));
    let waits = with(3, |seen| {
        seen.not_ready = Some("memberlist: joining".to_owned());
    });
    one_stop(&waits, "http://d1:8080: is not ready: memberlist: joining");
}

#[test]
fn strange_stores_stop() {
    let off = with(2, |seen| seen.stores = Stores::NoTracker);
    one_stop(&off, "has the HA tracker off");
    let memory = with(2, |seen| seen.stores = Stores::Alone("inmemory".to_owned()));
    one_stop(&memory, "keeps its elections in inmemory alone");
    let other = with(2, |seen| {
        seen.stores = Stores::Multi {
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
                    reason: "missing".to_owned(),
                    same_replica: false,
                }];
            })),
        ),
        (
            "copies what its secondary lacks; 7 keys to go",
            Box::new(|seen| {
                let details = seen.details.as_mut().unwrap();
                details.backfill = "running".to_owned();
                details.backfill_pending_keys = 7;
            }),
        ),
        (
            "cannot compare its stores: consul is not ready yet",
            Box::new(|seen| {
                let error = "consul is not ready yet".to_owned();
                seen.details.as_mut().unwrap().comparison = Some(Err(error));
            }),
        ),
        (
            "has 1 newer elections of other replicas: ha-tracker/t/x",
            Box::new(comparison(|found| {
                found.newer = 1;
                found.named = vec![Difference {
                    key: "ha-tracker/t/x".to_owned(),
                    reason: "newer".to_owned(),
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
        assert!(warnings[0].ends_with("going back to step 2 is not safe meanwhile"));
    }
}

#[test]
fn mirror_errors_stop_while_they_rise() {
    let (before, mut now) = with(2, |seen| seen.errors = 4);
    let failing = now.targets[1].1.as_mut().unwrap();
    failing.errors = 6;
    failing.details.as_mut().unwrap().last_error = Some("t/c: no answer".to_owned());
    one_stop(
        &(before.clone(), now.clone()),
        "2 writes to memberlist failed just now; the last: t/c: no answer",
    );
    // Restarted meanwhile: it counts anew.
    let (_, restarted) = with(2, |seen| seen.errors = 1);
    one_stop(
        &(now.clone(), restarted),
        "1 writes to memberlist failed just now",
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
                reason: "newer".to_owned(),
                same_replica: true,
            }];
        }),
    );
    let undecodable = with(2, comparison(|found| found.undecodable = 1));
    for ((before, now), severity, expected) in [
        (extra, Severity::Warn, "2 keys that the primary has not"),
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
    let refused = with(1, |seen| {
        seen.details.as_mut().unwrap().refused = Some("\"etcd\" cannot be the primary".to_owned());
    });
    one_stop(&refused, "refuses its runtime configuration");
}

#[test]
fn a_runtime_configuration_that_is_broken_or_left_over_stops() {
    let broken = with(3, |seen| seen.is_runtime_broken = true);
    one_stop(&broken, "could not load its runtime configuration");
    let left = |seen: &mut Seen| seen.details.as_mut().unwrap().is_overridden = true;
    one_stop(&with(0, left), "would take effect with the first restart");
    let (before, now) = with(5, left);
    let verdict = judge(&before, &now, None);
    assert!(verdict.is_safe(), "{verdict:?}");
    assert!(of(&verdict, Severity::Note)[0].contains("multi_kv_config is still in"));
}

#[test]
fn an_old_comparison_says_nothing() {
    let old = with(2, comparison(|found| found.age = Duration::from_secs(16)));
    one_stop(&old, "the last comparison that succeeded is 16 s old");
    let (before, now) = with(2, comparison(|found| found.age = Duration::from_secs(14)));
    assert!(judge(&before, &now, None).is_safe());
}

#[test]
fn the_number_of_distributors_can_be_demanded() {
    let look = fleet([2; 3]);
    assert!(judge(&look, &look, Some(3)).is_safe());
    let verdict = judge(&look, &look, Some(4));
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
        let look = fleet(steps);
        let verdict = judge(&look, &look, None);
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
    let differs = |seen: &mut Seen| {
        let elected = seen.elected.as_mut().unwrap();
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
    let forgot = |seen: &mut Seen| seen.elected = Some(BTreeMap::new());
    let (before, now) = with(2, forgot);
    one_stop(
        &(before, now.clone()),
        "does not know 1 clusters that others track: t/c",
    );
    assert!(judge(&calm, &now, None).is_safe());
}

#[test]
fn gossip_must_be_whole() {
    let silent = with(4, |seen| {
        let gossip = seen.gossip.as_mut().unwrap();
        gossip.members[2].state = "dead".to_owned();
    });
    one_stop(
        &silent,
        "http://d1:8080: gossips, but does not see d2:8080 as active",
    );
    let joining = with(4, |seen| {
        "joining".clone_into(&mut seen.gossip.as_mut().unwrap().members[1].state);
    });
    one_stop(
        &joining,
        "d1:8080: is not an active member of the gossip cluster yet",
    );
    let lacking = with(4, |seen| seen.gossip.as_mut().unwrap().keys.clear());
    one_stop(
        &lacking,
        "its /memberlist lacks 1 keys that others have: ha-tracker/t/c",
    );
    let twice = with(4, |seen| {
        "d0-abc".clone_into(&mut seen.gossip.as_mut().unwrap().own_name);
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
    for (_, seen) in &mut before.targets {
        seen.as_mut()
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
fn mimirs_distributors_are_judged_by_their_metrics() {
    let of_mimir = |step: u8| {
        let mut look = fleet([step; 3]);
        for (_, seen) in &mut look.targets {
            let seen = seen.as_mut().unwrap();
            (seen.details, seen.gossip) = (None, None);
        }
        look
    };
    for step in [1, 3, 4] {
        let look = of_mimir(step);
        let verdict = judge(&look, &look, None);
        assert!(verdict.is_safe(), "{verdict:?}");
        assert!(of(&verdict, Severity::Warn)[0].contains("cannot be told from here"));
    }
    // Nothing says that the secondary is complete.
    let before = of_mimir(2);
    let verdict = judge(&before, &before, None);
    assert_eq!(stops(&verdict).len(), 3, "{verdict:?}");
    // Beside some of ours, which they cannot gossip with.
    let (_, mixed) = with(2, |seen| {
        (seen.details, seen.gossip) = (None, None);
    });
    let verdict = judge(&mixed, &mixed, None);
    assert!(
        stops(&verdict)[0].contains("some are no distributors of ours"),
        "{verdict:?}"
    );
    let mut failing = before.clone();
    failing.targets[1].1.as_mut().unwrap().errors = 1;
    let verdict = judge(&before, &failing, None);
    let rising = "1 writes to memberlist failed just now";
    assert!(stops(&verdict).iter().any(|stop| stop.contains(rising)));
}

#[test]
fn what_an_operator_should_know_besides() {
    let overridden = with(4, |seen| {
        seen.details.as_mut().unwrap().is_overridden = true;
    });
    let older = with(0, |seen| "0.0.9".clone_into(&mut seen.version));
    let mut alone = fleet([0; 3]);
    alone.targets.truncate(1);
    for ((before, now), expected) in [
        (
            overridden,
            "multi_kv_config of the runtime configuration makes this step on d1:8080",
        ),
        (older, "they run different versions: 0.0.9, 0.1.0"),
        ((alone.clone(), alone), "there is one target only"),
    ] {
        let verdict = judge(&before, &now, None);
        assert!(verdict.is_safe(), "{verdict:?}");
        assert_eq!(verdict.findings.len(), 1);
        assert!(verdict.findings[0].what.contains(expected), "{verdict:?}");
    }
}

fn screen(before: &Look, now: &Look, expected: &Expect) {
    let mut before = before.clone();
    before.at -= Duration::from_secs(2);
    let text = render(&before, now, &judge(&before, now, None), Style::Plain);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    expected.assert_eq(&text);
}

#[test]
fn a_screen_of_a_fleet_in_order() {
    let before = fleet([2; 3]);
    let mut now = fleet([2; 3]);
    now.targets[0].1.as_mut().unwrap().writes += 5;
    screen(
        &before,
        &now,
        &expect![[r#"
            HA tracker: consul -> memberlist                                                2023-11-14T22:13:20Z
             0 old store   1 multi  [2 mirroring]  3 memberlist primary   4 mirroring off   5 memberlist

            distributor step  reads      mirrors to writes/s  errors  behind members clusters
            d0:8080        2  consul     memberlist      2.5       0       0       3        1
            d1:8080        2  consul     memberlist      0.0       0       0       3        1
            d2:8080        2  consul     memberlist      0.0       0       0       3        1

            All on step 2 (mirroring to memberlist). SAFE to take step 3: memberlist is the primary.
              kvstore:
                store: multi
                multi: {primary: memberlist, secondary: consul, mirror_enabled: true}
                consul: ...
                memberlist: {join_members: [...]}
        "#]],
    );
    let done = fleet([5; 3]);
    screen(
        &done,
        &done,
        &expect![[r#"
            HA tracker: the old store -> memberlist                                         2023-11-14T22:13:20Z
             0 old store   1 multi   2 mirroring   3 memberlist primary   4 mirroring off  [5 memberlist]

            distributor step  reads      mirrors to writes/s  errors  behind members clusters
            d0:8080        5  memberlist          -        -       -       -       3        1
            d1:8080        5  memberlist          -        -       -       -       3        1
            d2:8080        5  memberlist          -        -       -       -       3        1

            All on step 5 (memberlist alone). DONE.
              Nothing reads or writes the old store any more. Remove it when you will not go back.
        "#]],
    );
}

#[test]
fn a_screen_of_trouble() {
    let mut look = fleet([3, 2, 2]);
    look.targets[1].1 = Err("no answer within 20s".to_owned());
    let waiting = look.targets[2].1.as_mut().unwrap();
    waiting.not_ready =
        Some("memberlist: joining the cluster, 1 of 3 addresses answered so far".to_owned());
    comparison(|found| found.older = 12)(waiting);
    let before = look.clone();
    look.targets[2].1.as_mut().unwrap().errors = 3;
    screen(
        &before,
        &look,
        &expect![[r#"
            HA tracker: consul -> memberlist                                                2023-11-14T22:13:20Z
             0 old store   1 multi  [2 mirroring] [3 memberlist primary]  4 mirroring off   5 memberlist

            distributor step  reads      mirrors to writes/s  errors  behind members clusters
            d0:8080        3  memberlist     consul      0.0       0       0       3        1
            d1:8080        -  no answer within 20s
            d2:8080        2  consul     memberlist      0.0       3      12       3        1

            STOP  d1:8080: does not answer: no answer within 20s
                  -> check the address (that of its HTTP server, with https:// if it has TLS), start it, or wait
                     for it; leave it out of --targets only if it is gone for good
            STOP  d2:8080: is not ready: memberlist: joining the cluster, 1 of 3 addresses answered so far
                  -> wait; if it stays so, its log says why
            STOP  1 of 2 are on step 3, and d2:8080 on step 2: a roll-out is under way, or was left halfway
                  -> roll it out to d2:8080 too (or back, on d0:8080)
            STOP  d2:8080: 3 writes to memberlist failed just now
                  -> look at memberlist: until it takes the writes again, the two stores grow apart
            STOP  d2:8080: its secondary is behind in 12 keys (0 missing, 12 older)
                  -> wait: they are copied; if the number does not fall, /distributor/multi_kv and the log say
                     why

            Between steps 2 and 3. NOT SAFE to go on. Step 3 is:
              kvstore:
                store: multi
                multi: {primary: memberlist, secondary: consul, mirror_enabled: true}
                consul: ...
                memberlist: {join_members: [...]}
        "#]],
    );
    let verdict = judge(&before, &look, None);
    let json = serde_json::to_string_pretty(&to_json(&look, &verdict)).unwrap();
    expect![[r#"
        {
          "at": 1700000000,
          "findings": [
            {
              "severity": "stop",
              "target": "http://d1:8080",
              "to_do": "check the address (that of its HTTP server, with https:// if it has TLS), start it, or wait for it; leave it out of --targets only if it is gone for good",
              "what": "does not answer: no answer within 20s"
            },
            {
              "severity": "stop",
              "target": "http://d2:8080",
              "to_do": "wait; if it stays so, its log says why",
              "what": "is not ready: memberlist: joining the cluster, 1 of 3 addresses answered so far"
            },
            {
              "severity": "stop",
              "target": null,
              "to_do": "roll it out to d2:8080 too (or back, on d0:8080)",
              "what": "1 of 2 are on step 3, and d2:8080 on step 2: a roll-out is under way, or was left halfway"
            },
            {
              "severity": "stop",
              "target": "http://d2:8080",
              "to_do": "look at memberlist: until it takes the writes again, the two stores grow apart",
              "what": "3 writes to memberlist failed just now"
            },
            {
              "severity": "stop",
              "target": "http://d2:8080",
              "to_do": "wait: they are copied; if the number does not fall, /distributor/multi_kv and the log say why",
              "what": "its secondary is behind in 12 keys (0 missing, 12 older)"
            }
          ],
          "next": null,
          "old_store": "consul",
          "safe": false,
          "step": null,
          "targets": [
            {
              "behind": 0,
              "clusters": 1,
              "comparison_age_seconds": 0,
              "members": 3,
              "mirror_write_errors_total": 0,
              "mirror_writes_total": 100,
              "multi_kv_config": false,
              "not_ready_because": null,
              "ready": true,
              "step": 3,
              "target": "http://d0:8080",
              "version": "0.1.0"
            },
            {
              "error": "no answer within 20s",
              "target": "http://d1:8080"
            },
            {
              "behind": 12,
              "clusters": 1,
              "comparison_age_seconds": 0,
              "members": 3,
              "mirror_write_errors_total": 3,
              "mirror_writes_total": 100,
              "multi_kv_config": false,
              "not_ready_because": "memberlist: joining the cluster, 1 of 3 addresses answered so far",
              "ready": false,
              "step": 2,
              "target": "http://d2:8080",
              "version": "0.1.0"
            }
          ]
        }"#]].assert_eq(&json);
}

fn parsed(line: &str) -> Result<Asked, String> {
    parse(line.split_whitespace().map(Into::into))
}

#[test]
fn arguments() {
    let Ok(Asked::Status(options)) = parsed(
        "status --targets a:1,https://b/x/ -targets=dns+c:80 --watch --interval 500ms --step=3 --json",
    ) else {
        panic!("not parsed")
    };
    assert_eq!(
        options.targets,
        ["http://a:1", "https://b/x", "dns+http://c:80"]
    );
    assert!(options.watch && options.json && !options.insecure);
    assert_eq!(options.interval, Duration::from_millis(500));
    assert_eq!(options.step, Some(Step(3)));
    assert_eq!(parsed("status --help"), Ok(Asked::Help));
    for (line, problem) in [
        ("", "a command is missing"),
        ("stat", "unknown command \"stat\""),
        ("status", "--targets is missing"),
        ("status --targets", "--targets needs a value"),
        ("status --targets ftp://a", "must be host:port"),
        ("status --targets a --step 6", "a number from 0 to 5"),
        ("status --targets a --interval 0s", "a duration"),
        ("status --targets a --fast", "unknown flag --fast"),
        ("status --targets a --cert-file c", "need each other"),
        ("status a", "unknown argument \"a\""),
    ] {
        let error = parsed(line).unwrap_err();
        assert!(error.contains(problem), "{line}: {error}");
    }
}
