//! Records in the store: their keys below the prefix, and how they travel in a [`ReplicaDesc`].
//!
//! Elections and records are in one store, so records have the elections' type: members of a gossip
//! ring that run other programs relay them like any election. Every program's merge of two versions
//! of a key takes the one with the later `received_at`, if `elected_at` is the same in all: it is 0.
//! `replica` has the record, as JSON.

use ha_tracker::ReplicaDesc;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{Claim, ClaimStage, Plan, PlanStage, Reason, Term};

pub(super) const CLAIMS: &str = "claim/";
pub(super) const PLANS: &str = "plan/";
pub(super) const HEARTBEATS: &str = "alive/";

/// What a key below the prefix is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Claim {
        tenant: &'a str,
        cluster: &'a str,
        instance: &'a str,
    },
    Plan {
        tenant: &'a str,
        cluster: &'a str,
    },
    Heartbeat {
        instance: &'a str,
    },
}

impl<'a> Key<'a> {
    pub(super) fn parse(key: &'a str) -> Option<Self> {
        if let Some(rest) = key.strip_prefix(CLAIMS) {
            // A cluster can contain a slash, a tenant and an instance cannot.
            let (tenant, rest) = rest.split_once('/')?;
            let (cluster, instance) = rest.rsplit_once('/')?;
            return Some(Key::Claim {
                tenant,
                cluster,
                instance,
            });
        }
        if let Some(rest) = key.strip_prefix(PLANS) {
            let (tenant, cluster) = rest.split_once('/')?;
            return Some(Key::Plan { tenant, cluster });
        }
        let instance = key.strip_prefix(HEARTBEATS)?;
        Some(Key::Heartbeat { instance })
    }
}

/// The prefix of all claims of a cluster, and of clusters whose names begin with its name and a slash.
pub(super) fn claims(tenant: &str, cluster: &str) -> String {
    [CLAIMS, tenant, "/", cluster, "/"].concat()
}

pub(super) fn claim(tenant: &str, cluster: &str, instance: &str) -> String {
    [CLAIMS, tenant, "/", cluster, "/", instance].concat()
}

pub(super) fn plan(tenant: &str, cluster: &str) -> String {
    [PLANS, tenant, "/", cluster].concat()
}

pub(super) fn heartbeat(instance: &str) -> String {
    [HEARTBEATS, instance].concat()
}

#[derive(Serialize, Deserialize)]
struct ClaimText {
    term: Term,
    stage: ClaimStage,
}

#[derive(Serialize, Deserialize)]
struct PlanText {
    from: Term,
    successor: SmolStr,
    reason: Reason,
    elector: SmolStr,
    floor_ms: i64,
    stage: PlanStage,
}

fn record(version: i64, text: &impl Serialize) -> Result<ReplicaDesc, serde_json::Error> {
    Ok(ReplicaDesc {
        replica: serde_json::to_string(text)?,
        received_at: version,
        ..ReplicaDesc::default()
    })
}

pub(super) fn of_claim(claim: &Claim) -> Result<ReplicaDesc, serde_json::Error> {
    let text = ClaimText {
        term: claim.term.clone(),
        stage: claim.stage,
    };
    record(claim.version, &text)
}

pub(super) fn of_plan(plan: &Plan) -> Result<ReplicaDesc, serde_json::Error> {
    let plan = plan.clone();
    let text = PlanText {
        from: plan.from,
        successor: plan.successor,
        reason: plan.reason,
        elector: plan.elector,
        floor_ms: plan.floor_ms,
        stage: plan.stage,
    };
    record(plan.version, &text)
}

pub(super) fn of_heartbeat(now_ms: i64) -> ReplicaDesc {
    ReplicaDesc {
        replica: "alive".to_owned(),
        received_at: now_ms,
        ..ReplicaDesc::default()
    }
}

pub(super) fn to_claim(record: &ReplicaDesc) -> Result<Claim, serde_json::Error> {
    let text: ClaimText = serde_json::from_str(&record.replica)?;
    Ok(Claim {
        version: record.received_at,
        term: text.term,
        stage: text.stage,
    })
}

pub(super) fn to_plan(record: &ReplicaDesc) -> Result<Plan, serde_json::Error> {
    let text: PlanText = serde_json::from_str(&record.replica)?;
    Ok(Plan {
        version: record.received_at,
        from: text.from,
        successor: text.successor,
        reason: text.reason,
        elector: text.elector,
        floor_ms: text.floor_ms,
        stage: text.stage,
    })
}

#[cfg(test)]
mod tests {
    use kv_core::Mergeable;

    use super::*;
    use crate::{DONE_MS, NEVER_MS};

    fn term() -> Term {
        Term {
            replica: "r/1 \"\n".into(),
            elected_at: 1_700_000_000_000,
            changes: 3,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let claims = [
            ClaimStage::Open,
            ClaimStage::Replaying { next_ms: DONE_MS },
            ClaimStage::Closed {
                plan: 7,
                watermark_ms: NEVER_MS,
                next_ms: 12,
                seen_ms: NEVER_MS,
                was_refused: true,
            },
        ];
        for stage in claims {
            let claim = Claim {
                version: 4,
                term: term(),
                stage,
            };
            assert_eq!(to_claim(&of_claim(&claim).unwrap()).unwrap(), claim);
        }
        let stages = [
            PlanStage::Gathering,
            PlanStage::Withdrawn { until_ms: NEVER_MS },
            PlanStage::Fixed {
                boundary_ms: 5,
                participants: vec![("d1".into(), 6)],
            },
        ];
        for stage in stages {
            let plan = Plan {
                version: 9,
                from: term(),
                successor: "r2".into(),
                reason: Reason::Hole {
                    oldest_ms: 4,
                    interval_ms: 1,
                },
                elector: "d1".into(),
                floor_ms: NEVER_MS,
                stage,
            };
            assert_eq!(to_plan(&of_plan(&plan).unwrap()).unwrap(), plan);
        }
        assert!(to_claim(&of_heartbeat(1)).is_err());
    }

    #[test]
    fn the_later_version_wins_in_any_order() {
        let of = |version, stage| {
            let term = term();
            let claim = Claim {
                version,
                term,
                stage,
            };
            of_claim(&claim).unwrap()
        };
        let old = of(1, ClaimStage::Open);
        let new = of(2, ClaimStage::Replaying { next_ms: 1 });
        let mut merged = old.clone();
        assert!(merged.merge(&new));
        assert!(!merged.merge(&old));
        assert_eq!(merged, new);
    }

    #[test]
    fn keys_are_told_apart() {
        let key = claim("t", "eu/prod", "d1");
        assert!(key.starts_with(&claims("t", "eu/prod")));
        assert_eq!(
            Key::parse(&key),
            Some(Key::Claim {
                tenant: "t",
                cluster: "eu/prod",
                instance: "d1"
            })
        );
        assert_eq!(
            Key::parse(&plan("t", "eu/prod")),
            Some(Key::Plan {
                tenant: "t",
                cluster: "eu/prod"
            })
        );
        assert_eq!(
            Key::parse(&heartbeat("d1")),
            Some(Key::Heartbeat { instance: "d1" })
        );
        for other in ["", "claim/t", "claim/t/c", "plan/t", "t/c"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }
}
