//! What the failover of a cluster waits for, in words: for senders that are not elected while the
//! elected replica is silent.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use crate::cache::Cluster;
use crate::clock::saturating_ms;
use crate::due::{Successors, as_candidate, is_fresh};
use crate::election::{Decision, KeepReason, Timeouts, decide};
use crate::health::Failovers;
use crate::tracker::HaTracker;

/// When a replica that is not elected, or another one, takes over, unless the elected one is seen
/// again. Displayed as part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverOutlook {
    elected: SmolStr,
    /// Who takes over, if that is another than the one that asks.
    other: Option<SmolStr>,
    waits_for: WaitsFor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// The time at which the elected replica has been silent for long enough.
    Timeout { in_ms: i64 },
    /// The next look at the cluster, which comes within this time.
    Look { within: Duration },
    /// A request of the one to take over.
    Request,
    /// Samples of the one to take over that are so far ahead of the last one recorded.
    Samples { ahead: Duration },
    /// The store, which does not answer.
    Store,
    /// Others, who may be about to refresh the entry after trouble with the store.
    Others { ms: i64 },
}

impl fmt::Display for FailoverOutlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match &self.other {
            None => f.write_str("failover to this replica ")?,
            Some(other) => write!(f, "failover to {other:?}, which has sent steadily, ")?,
        }
        match self.waits_for {
            WaitsFor::Timeout { in_ms } => write!(f, "is due in {:.1} s", seconds(in_ms))?,
            WaitsFor::Look { within } => write!(
                f,
                "is due at the tracker's next look, within {:.1} s",
                within.as_secs_f64()
            )?,
            WaitsFor::Request => f.write_str("is due when it sends again")?,
            WaitsFor::Samples { ahead } => write!(
                f,
                "waits for samples that are {:.1} s newer than the last one recorded of {:?} (sample \
                 failover timeout)",
                ahead.as_secs_f64(),
                self.elected
            )?,
            WaitsFor::Store => {
                f.write_str("waits for the tracker's store, which does not answer")?;
            }
            WaitsFor::Others { ms } => write!(
                f,
                "is due in {:.1} s, after trouble with the tracker's store",
                seconds(ms)
            )?,
        }
        write!(f, ", unless {:?} is seen again", self.elected)
    }
}

fn outlook(
    cluster: &Cluster,
    replica: &str,
    now_ms: i64,
    timeouts: &Timeouts,
    failovers: Failovers,
    look: Duration,
) -> Option<FailoverOutlook> {
    let elected = cluster.elected();
    let silent_ms = now_ms.saturating_sub(elected.received_at);
    let is_alive = silent_ms < saturating_ms(timeouts.update)
        || is_fresh(elected.sightings.seen_ms(), now_ms, timeouts);
    if is_alive || elected.replica == replica {
        return None;
    }
    let successors = Successors::new(cluster, &elected, now_ms, timeouts);
    let mine = || {
        let mut all = successors.candidates.iter();
        all.find(|candidate| candidate.replica == replica)
    };
    // Who sends steadily comes first; among the others, whoever sent last, which is the one that asks.
    let first = successors.candidates.first();
    let next = first
        .filter(|first| first.sightings.is_steady(now_ms))
        .or_else(mine)?;
    let after_ms = successors.after_ms(next, now_ms)?;
    let rule = || {
        decide(
            Some(&elected.desc()),
            &as_candidate(next),
            now_ms,
            timeouts,
            0,
        )
    };
    let waits_for = if silent_ms < after_ms {
        let in_ms = after_ms.saturating_sub(silent_ms);
        WaitsFor::Timeout { in_ms }
    } else if !is_fresh(next.sightings.seen_ms(), now_ms, timeouts) {
        WaitsFor::Request
    } else if rule() == Decision::Keep(KeepReason::SamplesTooOld) {
        let ahead = timeouts.sample_failover;
        WaitsFor::Samples { ahead }
    } else {
        match failovers {
            Failovers::Allowed => WaitsFor::Look { within: look },
            Failovers::No { .. } => WaitsFor::Store,
            Failovers::After { now_ms, wait_ms } => {
                let ms = cluster.waiting.remaining_ms(now_ms, wait_ms);
                WaitsFor::Others { ms }
            }
        }
    };
    Some(FailoverOutlook {
        elected: elected.replica.clone(),
        other: Some(next.replica.clone()).filter(|next| next != replica),
        waits_for,
    })
}

impl HaTracker {
    /// What the failover of a cluster waits for, seen from a replica that is not elected, after a check
    /// of it; `None` while the elected one is not silent, which costs no allocation.
    pub fn failover_outlook(
        &self,
        tenant: &str,
        cluster: &str,
        replica: &str,
        now_ms: i64,
    ) -> Option<FailoverOutlook> {
        let timeouts = self.timeouts(tenant);
        let (failovers, look) = (self.failovers(tenant), self.longest_look(tenant));
        self.cache
            .read(tenant, cluster, |known| {
                outlook(known, replica, now_ms, &timeouts, failovers, look)
            })
            .flatten()
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
        let look = WaitsFor::Look {
            within: Duration::from_secs(3),
        };
        let expected = "failover to \"r3\", which has sent steadily, is due at the tracker's next \
                        look, within 3.0 s, unless \"r1\" is seen again";
        assert_eq!(says(Some("r3"), look), expected);
    }
}
