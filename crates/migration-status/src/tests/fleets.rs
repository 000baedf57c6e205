//! Fleets as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use admin_api::{BackfillState, MemberState};

use crate::judge::{Severity, Verdict, judge};
use crate::snapshot::{Comparison, Details, DistributorState, Gossip, Member, Snapshot};
use crate::steps::{NEW_STORE, Stores};

pub(crate) fn stores(step: u8) -> Stores {
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

pub(crate) fn target(number: usize) -> String {
    format!("http://d{number}:8080")
}

/// A distributor in order, one of three.
pub(crate) fn state(number: usize, step: u8) -> DistributorState {
    let is_multi = (1..=4).contains(&step);
    let mirrors = (2..=3).contains(&step);
    let member = |number: usize| Member {
        name: format!("d{number}-abc"),
        address: format!("10.0.0.{number}:7946"),
        state: MemberState::Active,
    };
    DistributorState {
        stores: stores(step),
        version: "0.1.0".to_owned(),
        is_runtime_broken: false,
        not_ready: None,
        writes: if mirrors { 100 } else { 0 },
        errors: 0,
        details: Some(Details {
            backfill: Some(if mirrors {
                BackfillState::Complete
            } else {
                BackfillState::Off
            }),
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

pub(crate) fn fleet(steps: [u8; 3]) -> Snapshot {
    let targets = steps.iter().enumerate();
    let mut targets: Vec<_> = targets
        .map(|(number, step)| (target(number), state(number, *step)))
        .collect();
    for gossip in targets
        .iter_mut()
        .filter_map(|(_, state)| state.gossip.as_mut())
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
    Snapshot {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        targets: targets
            .into_iter()
            .map(|(target, state)| (target, Ok(state)))
            .collect(),
    }
}

/// A fleet on one step, with something changed in its second distributor in both snapshots.
pub(crate) fn with(step: u8, change: impl Fn(&mut DistributorState)) -> (Snapshot, Snapshot) {
    let mut snapshot = fleet([step; 3]);
    change(snapshot.targets[1].1.as_mut().unwrap());
    (snapshot.clone(), snapshot)
}

pub(crate) fn stops(verdict: &Verdict) -> Vec<String> {
    of(verdict, Severity::Stop)
}

pub(crate) fn of(verdict: &Verdict, severity: Severity) -> Vec<String> {
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

pub(crate) fn one_stop((before, now): &(Snapshot, Snapshot), expected: &str) {
    let verdict = judge(before, now, None);
    let stops = stops(&verdict);
    assert!(!verdict.is_safe(), "{verdict:?}");
    assert_eq!(stops.len(), 1, "{stops:?}");
    assert!(stops[0].contains(expected), "{stops:?}");
}

/// What is wrong with a distributor.
pub(crate) type Change = Box<dyn Fn(&mut DistributorState)>;

pub(crate) fn comparison(change: impl Fn(&mut Comparison)) -> impl Fn(&mut DistributorState) {
    move |state| {
        let mut found = Comparison::default();
        change(&mut found);
        state.details.as_mut().unwrap().comparison = Some(Ok(found));
    }
}
