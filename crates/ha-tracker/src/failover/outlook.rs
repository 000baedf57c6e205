//! Describes what the failover of a cluster is waiting for, for senders that are not elected while
//! the elected replica is silent.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use super::due::{Successors, fresh, fresh_candidate};
use super::overdue::Rules;
use crate::clock::saturating_ms;
use crate::cluster::Cluster;
use crate::election::{Decision, KeepReason, decide};
use crate::store_health::Failovers;

/// When a replica takes over unless the elected one is seen again. Displayed as part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverOutlook {
    elected: SmolStr,
    /// The replica that takes over, if it is not the one that asks.
    other: Option<SmolStr>,
    waits_for: WaitsFor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// The time at which the elected replica has been silent for long enough.
    Timeout { in_ms: i64 },
    /// A request of the successor.
    Request,
    /// Samples of the successor that are this far ahead of the last recorded one.
    Samples { ahead: Duration },
    /// The store, which does not answer.
    Store,
    /// Other trackers, which may be about to refresh the entry after an outage of the store.
    Others { ms: i64 },
}

impl fmt::Display for FailoverOutlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match &self.other {
            None => f.write_str("failover to this replica ")?,
            Some(other) => write!(f, "failover to {other:?}, which sends steadily, ")?,
        }
        match self.waits_for {
            WaitsFor::Timeout { in_ms } => write!(f, "is due in {:.1} s", seconds(in_ms))?,
            WaitsFor::Request => f.write_str("is due when it sends again")?,
            WaitsFor::Samples { ahead } => write!(
                f,
                "waits for samples that are {:.1} s newer than the last recorded one of {:?} \
                 (sample failover timeout)",
                ahead.as_secs_f64(),
                self.elected
            )?,
            WaitsFor::Store => {
                f.write_str("waits for the tracker's store, which does not answer")?;
            }
            WaitsFor::Others { ms } => write!(
                f,
                "is due in {:.1} s, because the tracker's store was failing",
                seconds(ms)
            )?,
        }
        write!(f, ", unless {:?} is seen again", self.elected)
    }
}

/// What the failover of a cluster is waiting for, for a replica that is not elected; `None` while
/// the elected one is not silent.
pub(crate) fn outlook(
    cluster: &Cluster,
    replica: &str,
    now_ms: i64,
    rules: &Rules,
    failovers: Failovers,
) -> Option<FailoverOutlook> {
    let timeouts = &rules.timeouts;
    let elected = cluster.elected();
    let silent_ms = rules.silent_ms(&elected, now_ms);
    let age_ms = now_ms.saturating_sub(elected.received_at);
    let is_alive = age_ms < saturating_ms(timeouts.update)
        || fresh(&elected.sightings, now_ms, timeouts).is_some();
    if is_alive || elected.replica == replica {
        return None;
    }
    let successors = Successors::new(cluster, &elected, now_ms, timeouts);
    let mine = || {
        let mut all = successors.standbys.iter();
        all.find(|standby| standby.replica == replica)
    };
    // Replicas that send steadily come first; among the others, the one that sent last, which is
    // the one that asks.
    let first = successors.standbys.first();
    let next = first
        .filter(|first| first.sightings.is_steady(now_ms))
        .or_else(mine)?;
    let after_ms = successors.after_ms(next, now_ms)?;
    let waits_for = if silent_ms < after_ms {
        let in_ms = after_ms.saturating_sub(silent_ms);
        WaitsFor::Timeout { in_ms }
    } else if let Some(candidate) = fresh_candidate(next, now_ms, timeouts) {
        let decision = decide(Some(&elected.desc()), &candidate, now_ms, timeouts, 0);
        if decision == Decision::Keep(KeepReason::SamplesTooOld) {
            let ahead = timeouts.sample_failover;
            WaitsFor::Samples { ahead }
        } else {
            after_outage(cluster, failovers)
        }
    } else {
        WaitsFor::Request
    };
    Some(FailoverOutlook {
        elected: elected.replica.clone(),
        other: Some(next.replica.clone()).filter(|next| next != replica),
        waits_for,
    })
}

/// What a failover that the rule allows is waiting for.
fn after_outage(cluster: &Cluster, failovers: Failovers) -> WaitsFor {
    match failovers {
        Failovers::Allowed => WaitsFor::Request,
        Failovers::Blocked { .. } => WaitsFor::Store,
        Failovers::After { now_ms, wait_ms } => WaitsFor::Others {
            ms: cluster.failover_wait.remaining_ms(now_ms, wait_ms),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_a_sentence() {
        let says = |other: Option<&str>, waits_for| {
            let outlook = FailoverOutlook {
                elected: "r1".into(),
                other: other.map(SmolStr::from),
                waits_for,
            };
            outlook.to_string()
        };
        let text = says(None, WaitsFor::Timeout { in_ms: 3_210 });
        let expected = "failover to this replica is due in 3.2 s, unless \"r1\" is seen again";
        assert_eq!(text, expected);
        let expected = "failover to \"r3\", which sends steadily, is due when it sends again, unless \
                        \"r1\" is seen again";
        assert_eq!(says(Some("r3"), WaitsFor::Request), expected);
    }
}
