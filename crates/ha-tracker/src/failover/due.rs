//! Which replica to write to the store for a cluster.

use std::sync::Arc;

use super::overdue::Rules;
use crate::clock::saturating_ms;
use crate::cluster::{Cluster, Elected, Sightings, Standby};
use crate::election::{Candidate, Decision, Timeouts, decide};
use crate::store_health::Failovers;

/// Calls `take` with the replica to write for this cluster now, if any: the elected one if it was
/// seen within the update timeout, or is not overdue; or else its successor. A candidate that the rule
/// would refuse according to the cache is skipped, because the store can only be newer.
pub(crate) fn due_now<R>(
    cluster: &Cluster,
    now_ms: i64,
    rules: &Rules,
    failovers: Failovers,
    take: impl FnOnce(&Candidate<'_>) -> R,
) -> Option<R> {
    let elected = cluster.elected();
    let timeouts = &rules.timeouts;
    let update_ms = saturating_ms(timeouts.update);
    if now_ms.saturating_sub(elected.received_at) < update_ms {
        return None;
    }
    let alive_ms =
        fresh(&elected.sightings, now_ms, timeouts).or_else(|| rules.vouched_ms(&elected, now_ms));
    if let Some(seen_ms) = alive_ms {
        let candidate = Candidate {
            replica: &elected.replica,
            seen_ms,
            sample_ms: None,
        };
        let decision = decide(Some(&elected.desc()), &candidate, now_ms, timeouts, 0);
        return matches!(decision, Decision::Refresh(_)).then(|| take(&candidate));
    }
    let by = By::Poll { update_ms };
    let successor = successor(cluster, &elected, now_ms, rules, by)?;
    let candidate = fresh_candidate(&successor, now_ms, timeouts)?;
    let allowed = cluster.failover_wait.allows(failovers);
    allowed.then(|| take(&candidate))
}

/// Whether this replica, whose request has just been recorded, is to be elected by it: the elected one
/// is overdue. A poll would come after the samples of the request have been dropped, and by its next
/// request a replica that sends rarely would itself count as silent.
pub(crate) fn is_elected_by_arrival(
    cluster: &Cluster,
    replica: &str,
    now_ms: i64,
    rules: &Rules,
    failovers: Failovers,
) -> bool {
    let elected = cluster.elected();
    successor(cluster, &elected, now_ms, rules, By::Arrival(replica)).is_some()
        && cluster.failover_wait.allows(failovers)
}

/// When a replica was seen, if that is recent enough to be alive.
pub(super) fn fresh(sightings: &Sightings, now_ms: i64, timeouts: &Timeouts) -> Option<i64> {
    let age_ms = |seen: i64| now_ms.saturating_sub(seen);
    sightings
        .seen_ms()
        .filter(|seen| age_ms(*seen) < saturating_ms(timeouts.update))
}

/// A standby as a candidate of the rule, if it is alive.
pub(super) fn fresh_candidate<'a>(
    standby: &'a Standby,
    now_ms: i64,
    timeouts: &Timeouts,
) -> Option<Candidate<'a>> {
    let seen_ms = fresh(&standby.sightings, now_ms, timeouts)?;
    let newest_ms = standby.sightings.newest_ms();
    Some(Candidate {
        replica: &standby.replica,
        seen_ms,
        // As for a request that arrives, a time in the future counts as now.
        sample_ms: newest_ms.map(|newest_ms| newest_ms.min(seen_ms)),
    })
}

/// The replicas that could take over from the elected one, in the order in which they would.
pub(super) struct Successors {
    pub(super) standbys: Vec<Arc<Standby>>,
    /// Silence of the elected replica after which one that sends steadily takes over, ms.
    steady_after_ms: i64,
    /// The same for another one; `None` while there is one that sends steadily.
    unsteady_after_ms: Option<i64>,
}

impl Successors {
    /// Replicas that send steadily, here or at other trackers, are elected before a replica that
    /// was seen only over a short time. While this tracker knows a steady one, it waits for that
    /// one. If there are several others and no steady one, it waits an update timeout longer, so
    /// that another tracker can elect a steady one that it sees.
    pub(super) fn new(
        cluster: &Cluster,
        elected: &Elected,
        now_ms: i64,
        timeouts: &Timeouts,
    ) -> Self {
        let mut standbys = cluster.standbys.in_order(now_ms);
        standbys.retain(|standby| {
            standby.replica != elected.replica && standby.sightings.is_recent(now_ms)
        });
        let failover_ms = saturating_ms(timeouts.failover);
        let unsteady_after_ms = match standbys.as_slice() {
            [first, ..] if first.sightings.is_steady(now_ms) => None,
            [] | [_] => Some(failover_ms),
            _ => Some(failover_ms.saturating_add(saturating_ms(timeouts.update))),
        };
        Self {
            standbys,
            steady_after_ms: failover_ms,
            unsteady_after_ms,
        }
    }

    /// Silence of the elected replica after which this one may be elected, ms; `None` if one that
    /// sends steadily comes first.
    pub(super) fn after_ms(&self, standby: &Standby, now_ms: i64) -> Option<i64> {
        if standby.sightings.is_steady(now_ms) {
            Some(self.steady_after_ms)
        } else {
            self.unsteady_after_ms
        }
    }
}

/// What leads to a failover.
#[derive(Clone, Copy)]
enum By<'a> {
    /// A request of this replica.
    Arrival(&'a str),
    /// A poll. It comes later by the update timeout: in this time each replica that it could elect
    /// sends, and is elected by that. It is for those that could not be, and elects none whose last
    /// samples were dropped a moment before the elected one was overdue.
    Poll { update_ms: i64 },
}

impl By<'_> {
    fn concerns(self, replica: &str) -> bool {
        match self {
            Self::Arrival(only) => only == replica,
            Self::Poll { .. } => true,
        }
    }

    fn later_ms(self) -> i64 {
        match self {
            Self::Arrival(_) => 0,
            Self::Poll { update_ms } => update_ms,
        }
    }
}

/// The replica that takes over from an overdue elected one, if any may do so now.
fn successor(
    cluster: &Cluster,
    elected: &Elected,
    now_ms: i64,
    rules: &Rules,
    by: By<'_>,
) -> Option<Arc<Standby>> {
    let timeouts = &rules.timeouts;
    let silent_ms = rules
        .silent_ms(elected, now_ms)
        .saturating_sub(by.later_ms());
    if silent_ms < saturating_ms(timeouts.failover) {
        return None;
    }
    let successors = Successors::new(cluster, elected, now_ms, timeouts);
    let stored = elected.desc();
    let may = |standby: &Standby| {
        let after_ms = successors.after_ms(standby, now_ms);
        let elects = |candidate| {
            let decision = decide(Some(&stored), &candidate, now_ms, timeouts, 0);
            matches!(decision, Decision::Elect(..))
        };
        by.concerns(&standby.replica)
            && after_ms.is_some_and(|after_ms| silent_ms >= after_ms)
            && fresh_candidate(standby, now_ms, timeouts).is_some_and(elects)
    };
    let first = successors.standbys.iter().find(|standby| may(standby));
    first.cloned()
}
