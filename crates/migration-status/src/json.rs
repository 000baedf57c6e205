//! What `--json` prints.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::judge::{Place, Verdict};
use crate::snapshot::{Comparison, DistributorState, Snapshot};

fn comparison(state: &DistributorState) -> Option<&Comparison> {
    state.details.as_ref()?.comparison.as_ref()?.as_ref().ok()
}

/// What is known of the fleet, and the verdict.
pub(crate) fn to_json(now: &Snapshot, verdict: &Verdict) -> Value {
    let unix = now
        .at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let targets = now.targets.iter().map(|(target, state)| match state {
        Err(error) => json!({ "target": target, "error": error }),
        Ok(state) => json!({
            "target": target,
            "step": state.stores.step().map(|(step, _)| step.0),
            "ready": state.not_ready.is_none(),
            "not_ready_because": state.not_ready,
            "multi_kv_config": state.is_overridden(),
            "behind": comparison(state).map(Comparison::behind),
            "comparison_age_seconds": comparison(state).map(|found| found.age.as_secs()),
            "version": state.version,
            "mirror_writes_total": state.writes,
            "mirror_write_errors_total": state.errors,
            "members": state.gossip.as_ref().map(|gossip| gossip.active().count()),
            "clusters": state.elected.as_ref().map(BTreeMap::len),
        }),
    });
    let findings = verdict.findings.iter().map(|finding| {
        json!({
            "severity": finding.severity,
            "target": finding.target,
            "what": finding.what,
            "to_do": finding.to_do,
        })
    });
    let step = match verdict.place {
        Place::At(step) => Some(step.0),
        Place::Between(..) | Place::Scattered => None,
    };
    json!({
        "at": unix.as_secs(),
        "step": step,
        "safe": verdict.is_safe(),
        "next": verdict.next().map(|step| step.0),
        "old_store": verdict.old,
        "targets": targets.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
    })
}
