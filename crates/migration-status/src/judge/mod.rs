//! Judges two snapshots of a fleet: which step it is on, and whether the next one is safe. Pure.
//!
//! Differences in data that changes all the time (elections, keys of gossip) count only if both
//! snapshots show them.

mod agreement;
mod findings;
mod mirroring;
mod position;
mod verdict;

use std::collections::BTreeSet;

use crate::snapshot::{DistributorState, Snapshot};
use crate::steps::Step;
use agreement::{elections, gossip};
use findings::Findings;
pub(crate) use findings::{Finding, Severity, clean, list};
use mirroring::mirroring;
use position::position;
pub(crate) use verdict::{Place, Verdict};

/// Judges `now`; `before` is an earlier snapshot of the same targets, whose number should be
/// `expected`.
pub(crate) fn judge(before: &Snapshot, now: &Snapshot, expected: Option<usize>) -> Verdict {
    let mut findings = Findings::default();
    if let Some(expected) = expected
        && expected != now.targets.len()
    {
        findings.stop(
            None,
            format!(
                "there are {} targets instead of {expected}",
                now.targets.len()
            ),
            "name every distributor of the fleet in --targets, or correct --expect",
        );
    }
    availability(now, &mut findings);
    let (place, old, repair) = position(now, &mut findings);
    elections(before, now, &mut findings);
    gossip(before, now, &mut findings);
    for (target, state) in now.answered() {
        if let Some((step, _)) = state.stores.step() {
            mirroring(target, step, before.of(target), state, &mut findings);
        }
    }
    remarks(now, &place, &mut findings);
    findings.0.sort_by_key(|finding| finding.severity);
    Verdict {
        place,
        old,
        findings: findings.0,
        repair,
        is_overridden: now.answered().any(|(_, state)| state.is_overridden()),
    }
}

fn availability(now: &Snapshot, findings: &mut Findings) {
    for (target, state) in &now.targets {
        match state {
            Err(error) => findings.stop(
                Some(target),
                format!("does not answer: {error}"),
                "check the address (of its HTTP server, with https:// if it uses TLS), start the \
                 distributor, or wait for it; remove it from --targets only if it will not come \
                 back",
            ),
            Ok(DistributorState {
                not_ready: Some(why),
                ..
            }) => findings.stop(
                Some(target),
                format!("is not ready: {why}"),
                "wait; if this lasts, its log says why",
            ),
            Ok(state) if state.is_runtime_broken => findings.stop(
                Some(target),
                "could not load its runtime configuration: the previous one is in effect",
                "correct the file; the distributor's log names the mistake",
            ),
            Ok(_) => {}
        }
    }
}

/// Notes and warnings that do not stop a step.
fn remarks(now: &Snapshot, place: &Place, findings: &mut Findings) {
    if now.targets.len() == 1 {
        findings.add(
            Severity::Warn,
            None,
            "there is only one target",
            "name all distributors of the fleet: with one target, this tool cannot check whether they agree",
        );
    }
    let overridden: Vec<&str> = now
        .answered()
        .filter(|(_, state)| state.is_overridden())
        .map(|(target, _)| target)
        .collect();
    if !overridden.is_empty() && *place == Place::At(Step::LAST) {
        findings.add(
            Severity::Note,
            None,
            format!(
                "multi_kv_config is still in the runtime configuration of {}",
                list(&overridden)
            ),
            "remove it when you will not go back: it would take effect at once with store: multi",
        );
    } else if !overridden.is_empty() && matches!(place, Place::At(step) if *step > Step(0)) {
        findings.add(
            Severity::Note,
            None,
            format!(
                "multi_kv_config of the runtime configuration makes this step on {}",
                list(&overridden)
            ),
            "keep it until step 5 is rolled out: without it they return to the step of their configuration",
        );
    }
    let versions: BTreeSet<&str> = now
        .answered()
        .map(|(_, state)| state.version.as_str())
        .collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        findings.add(
            Severity::Note,
            None,
            format!("they run different versions: {}", list(&versions)),
            "finish the upgrade before the migration, if there is one",
        );
    }
}
