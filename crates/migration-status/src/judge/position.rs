//! Determines the step of each distributor, and whether these steps are compatible.

use std::collections::BTreeMap;

use super::findings::{Findings, list};
use super::verdict::Place;
use crate::snapshot::Snapshot;
use crate::steps::Step;

pub(crate) fn position(
    now: &Snapshot,
    findings: &mut Findings,
) -> (Place, Option<String>, Option<Step>) {
    let mut repair = None;
    let mut by_step = BTreeMap::<Step, Vec<&str>>::new();
    let mut old_stores = BTreeMap::<&str, Vec<&str>>::new();
    let mut is_elsewhere = false;
    for (target, state) in now.answered() {
        let Some((step, old)) = state.stores.step() else {
            is_elsewhere = true;
            findings.stop(
                Some(target),
                format!("{}, which is not a step of this migration", state.stores),
                "give it the configuration of the others; docs/migrate-to-memberlist.md has all steps",
            );
            continue;
        };
        by_step.entry(step).or_default().push(target);
        if let Some(old) = old {
            old_stores.entry(old).or_default().push(target);
        }
    }
    let foreign: Vec<&str> = now
        .answered()
        .filter(|(_, state)| state.details.is_none())
        .map(|(target, _)| target)
        .collect();
    if !foreign.is_empty() && foreign.len() < now.answered().count() {
        findings.stop(
            None,
            format!("some are distributors of another kind (Grafana Mimir's), whose gossip differs: {}", list(&foreign)),
            "replace them before the migration: they can share Consul or etcd with ours, but not memberlist",
        );
    }
    if old_stores.len() > 1 {
        let what: Vec<String> = old_stores
            .iter()
            .map(|(store, targets)| format!("{store} on {}", list(targets)))
            .collect();
        findings.stop(
            None,
            format!("they use different old stores: {}", what.join("; ")),
            "a fleet shares one store: configure the same on all, and check that all of them belong to this fleet",
        );
    }
    let old = old_stores.keys().next().map(|store| (*store).to_owned());
    let steps: Vec<Step> = by_step.keys().copied().collect();
    let place = match (is_elsewhere, steps.as_slice()) {
        (false, [step]) => Place::At(*step),
        (false, [first, second]) if second.0 == first.0 + 1 => Place::Between(*first, *second),
        _ => Place::Scattered,
    };
    match &place {
        Place::Between(first, second) => {
            let (behind, ahead) = (&by_step[first], &by_step[second]);
            findings.stop(
                None,
                format!(
                    "{} of {} are on step {}, and {} on step {}: a rollout is in progress, or was not completed",
                    ahead.len(),
                    ahead.len() + behind.len(),
                    second.0,
                    list(behind),
                    first.0
                ),
                format!(
                    "roll it out to {} too (or back, on {})",
                    list(behind),
                    list(ahead)
                ),
            );
        }
        Place::Scattered if steps.len() > 1 => repair = scattered(&by_step, findings),
        _ => {}
    }
    (place, old, repair)
}

/// Not two neighbouring steps. The step to bring them to is one that reads the store to which all
/// have written, and writes to both.
fn scattered(by_step: &BTreeMap<Step, Vec<&str>>, findings: &mut Findings) -> Option<Step> {
    let what: Vec<String> = by_step
        .iter()
        .map(|(step, targets)| format!("step {} on {}", step.0, list(targets)))
        .collect();
    let what = what.join("; ");
    let differ =
        by_step.keys().any(|step| step.reads_old()) && by_step.keys().any(|step| !step.reads_old());
    let unmirrored = by_step.keys().any(|step| !step.mirrors());
    let writes_old = by_step.keys().all(|step| step.0 <= 3);
    let writes_new = by_step.keys().all(|step| step.0 >= 2);
    if differ && unmirrored {
        findings.stop(
            None,
            format!(
                "some read the old store, others memberlist, and not all write to both, so they \
                 can elect different replicas: samples are doubled or lost ({what})"
            ),
            match (writes_old, writes_new) {
                (false, true) => "bring all to step 3 now, those that are behind first: all have written to memberlist",
                (true, _) => "bring all to step 2 now, those that are ahead first: all have written to the old store",
                (false, false) => {
                    "bring all to step 2 now: neither store has all elections, so some clusters will be elected again"
                }
            },
        );
        return Some(Step(if !writes_old && writes_new { 3 } else { 2 }));
    } else {
        findings.stop(
            None,
            format!("they are not on neighbouring steps: {what}"),
            "bring all to one step before the next",
        );
    }
    None
}
