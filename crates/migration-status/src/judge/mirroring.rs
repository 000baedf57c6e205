//! Checks whether the secondary store has the same entries as the primary.

use std::time::Duration;

use admin_api::{BackfillState, Reason};

use super::findings::{Findings, Severity, list_of};
use crate::snapshot::{Comparison, Details, DistributorState};
use crate::steps::{NEW_STORE, Step};

/// An older comparison is outdated; one is made every 10 s.
const OLD: Duration = Duration::from_secs(15);

/// Checks the status of a distributor's multi store.
pub(crate) fn mirroring(
    target: &str,
    step: Step,
    before: Option<&DistributorState>,
    state: &DistributorState,
    findings: &mut Findings,
) {
    let Some(details) = &state.details else {
        // It is unknown whether the secondary is complete.
        let severity = match step.0 {
            2 => Severity::Stop,
            _ => Severity::Warn,
        };
        findings.add(
            severity,
            Some(target),
            "has no page /distributor/multi_kv, so this tool cannot check whether its two stores have the same entries",
            "a distributor of Grafana Mimir does not copy older keys: wait until every cluster was written after mirroring \
             was enabled, compare the keys of both stores, and take step 3 at your own judgement",
        );
        rising(target, step, before, state, None, findings);
        return;
    };
    if state.is_overridden() && step == Step(0) {
        findings.stop(
            Some(target),
            "has a multi_kv_config in its runtime configuration, which would take effect at the first restart to step 1",
            "remove multi_kv_config",
        );
    }
    if let Some(refused) = &details.refused {
        findings.stop(
            Some(target),
            format!("refuses its runtime configuration: {refused}"),
            "correct multi_kv_config; the previous settings are still in effect",
        );
    }
    if !step.mirrors() {
        return;
    }
    rising(
        target,
        step,
        before,
        state,
        details.last_error.as_deref(),
        findings,
    );
    match &details.comparison {
        Some(Err(error)) => cannot_compare(target, step, error, findings),
        Some(Ok(comparison)) if comparison.age > OLD => {
            let age = comparison.age.as_secs();
            let problem = format!("the last successful comparison is {age} s old");
            cannot_compare(target, step, &problem, findings);
        }
        Some(Ok(comparison)) => differences(target, step, details, comparison, findings),
        None => {}
    }
}

fn cannot_compare(target: &str, step: Step, error: &str, findings: &mut Findings) {
    let to_do = match step.reads_old() {
        true => {
            "repair the store that does not answer; if it is the old one and cannot be repaired, \
             and nothing was behind before, take step 3: memberlist has all entries"
        }
        false => {
            "repair the old store if you want to be able to go back; the next steps do not need it"
        }
    };
    behind(
        target,
        step,
        format!("cannot compare its stores: {error}"),
        to_do,
        findings,
    );
}

/// The secondary is incomplete. Before the switch to memberlist, this forbids the switch; after it,
/// this only means that going back is not safe.
fn behind(
    target: &str,
    step: Step,
    what: impl Into<String>,
    to_do: impl Into<String>,
    findings: &mut Findings,
) {
    if step.reads_old() {
        findings.stop(Some(target), what, to_do);
    } else {
        let what = format!(
            "{}; until then, going back to step 2 is not safe",
            what.into()
        );
        findings.add(Severity::Warn, Some(target), what, to_do);
    }
}

fn rising(
    target: &str,
    step: Step,
    before: Option<&DistributorState>,
    state: &DistributorState,
    last: Option<&str>,
    findings: &mut Findings,
) {
    // A counter that decreased was reset.
    let base = before
        .map(|before| before.errors)
        .filter(|errors| *errors <= state.errors)
        .unwrap_or(0);
    let more = state.errors - base;
    let last = last
        .map(|last| format!("; the last: {last}"))
        .unwrap_or_default();
    if more > 0 {
        let store = match step.reads_old() {
            true => NEW_STORE,
            false => "the old store",
        };
        behind(
            target,
            step,
            format!("{more} recent writes to {store} failed{last}"),
            format!("check {store}: until it accepts writes again, the two stores diverge"),
            findings,
        );
    } else if state.errors > 0 {
        findings.add(
            Severity::Note,
            Some(target),
            format!(
                "{} writes to the secondary failed earlier, but none recently{last}",
                state.errors
            ),
            "nothing, as long as the stores do not differ: missing keys are copied",
        );
    }
}

fn differences(
    target: &str,
    step: Step,
    details: &Details,
    comparison: &Comparison,
    findings: &mut Findings,
) {
    let keys = |reasons: &[Reason], total: u64| -> String {
        let keys: Vec<&String> = comparison
            .named
            .iter()
            .filter(|difference| reasons.contains(&difference.reason))
            .map(|difference| &difference.key)
            .collect();
        match keys.is_empty() {
            true => String::new(),
            false => format!(
                ": {}",
                list_of(&keys, usize::try_from(total).unwrap_or(usize::MAX))
            ),
        }
    };
    if comparison.behind() > 0 {
        behind(
            target,
            step,
            format!(
                "its secondary is behind in {} keys ({} missing, {} older){}",
                comparison.behind(),
                comparison.missing,
                comparison.older,
                keys(&[Reason::Missing, Reason::Older], comparison.behind())
            ),
            "wait until they are copied; if the number does not fall, /distributor/multi_kv and the log say why",
            findings,
        );
    } else if details.backfill != Some(BackfillState::Complete) {
        behind(
            target,
            step,
            format!(
                "is copying keys that its secondary lacks; {} keys to go",
                details.backfill_pending_keys
            ),
            "wait until it is complete",
            findings,
        );
    }
    let newer: Vec<_> = comparison
        .named
        .iter()
        .filter(|difference| difference.reason == Reason::Newer)
        .collect();
    let all_are_harmless = newer.len() as u64 == comparison.newer
        && newer.iter().all(|difference| difference.same_replica);
    if comparison.newer > 0 && !all_are_harmless {
        behind(
            target,
            step,
            format!(
                "its secondary has {} newer elections of other replicas{}",
                comparison.newer,
                keys(&[Reason::Newer], comparison.newer)
            ),
            "find the writer: a distributor not listed in --targets uses this store as its primary",
            findings,
        );
    } else if comparison.newer > 0 {
        findings.add(
            Severity::Note,
            Some(target),
            format!(
                "its secondary has {} newer elections, of the same replicas",
                comparison.newer
            ),
            "nothing",
        );
    }
    if comparison.extra > 0 {
        findings.add(
            Severity::Warn,
            Some(target),
            format!(
                "its secondary has {} keys that its primary lacks{}",
                comparison.extra,
                keys(&[Reason::Extra], comparison.extra)
            ),
            match step.reads_old() {
                true => "a switch would bring these clusters back; they are cleaned up within an hour",
                false => "left over in the old store; going back to it would bring these clusters back for an hour",
            },
        );
    }
    if comparison.undecodable > 0 {
        findings.add(
            Severity::Warn,
            Some(target),
            format!("{} values in its stores cannot be decoded", comparison.undecodable),
            "they are neither compared nor copied; its log names the keys: remove those that are not elections",
        );
    }
}
