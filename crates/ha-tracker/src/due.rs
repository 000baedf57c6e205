//! Whom to write into the store for a cluster, as far as its tracker knows.

use std::sync::Arc;

use crate::cache::{Cluster, Elected};
use crate::candidates;
use crate::clock::saturating_ms;
use crate::election::{Candidate, Decision, Timeouts, decide};
use crate::health::Failovers;

/// Calls `take` with whom to write for this cluster now, if with anyone: the elected replica if it
/// was seen within the update timeout, else its successor. A candidate that the rule would refuse on
/// what the cache knows is not worth a call: the store can only be newer.
pub(crate) fn due_now<R>(
    cluster: &Cluster,
    now_ms: i64,
    timeouts: &Timeouts,
    failovers: Failovers,
    take: impl FnOnce(&Candidate<'_>) -> R,
) -> Option<R> {
    let elected = cluster.elected();
    let update_ms = saturating_ms(timeouts.update);
    if now_ms.saturating_sub(elected.received_at) < update_ms {
        return None;
    }
    if is_fresh(elected.sightings.seen_ms(), now_ms, timeouts) {
        let candidate = Candidate {
            replica: &elected.replica,
            seen_ms: elected.sightings.seen_ms(),
            sample_ms: None,
        };
        let decision = decide(Some(&elected.desc()), &candidate, now_ms, timeouts, 0);
        return matches!(decision, Decision::Refresh(_)).then(|| take(&candidate));
    }
    let successor = successor(cluster, &elected, now_ms, timeouts)?;
    let allowed = cluster.waiting.allows(failovers);
    allowed.then(|| take(&as_candidate(&successor)))
}

/// Whether a replica that was seen then is alive.
pub(crate) fn is_fresh(seen_ms: i64, now_ms: i64, timeouts: &Timeouts) -> bool {
    now_ms.saturating_sub(seen_ms) < saturating_ms(timeouts.update)
}

pub(crate) fn as_candidate(candidate: &candidates::Candidate) -> Candidate<'_> {
    Candidate {
        replica: &candidate.replica,
        seen_ms: candidate.sightings.seen_ms(),
        sample_ms: candidate.sightings.sample_ms(),
    }
}

/// Who could take over from the elected replica, the first to come first.
pub(crate) struct Successors {
    pub(crate) candidates: Vec<Arc<candidates::Candidate>>,
    /// How long the elected replica has to be silent, ms, for one that sends steadily.
    steady_after_ms: i64,
    /// And for another; `None` while there is one that sends steadily.
    unsteady_after_ms: Option<i64>,
}

impl Successors {
    /// A replica that was seen over a short time only gives way to those that send steadily, here or
    /// at other trackers: while this tracker knows one of those, it waits for it; and if it is one of
    /// several such, it waits an update timeout longer, in which another tracker elects the steady one
    /// that it sees.
    pub(crate) fn new(
        cluster: &Cluster,
        elected: &Elected,
        now_ms: i64,
        timeouts: &Timeouts,
    ) -> Self {
        let mut candidates = cluster.candidates.in_order(now_ms);
        candidates.retain(|candidate| {
            candidate.replica != elected.replica && candidate.sightings.is_recent(now_ms)
        });
        let failover_ms = saturating_ms(timeouts.failover);
        let unsteady_after_ms = match candidates.as_slice() {
            [first, ..] if first.sightings.is_steady(now_ms) => None,
            [] | [_] => Some(failover_ms),
            _ => Some(failover_ms.saturating_add(saturating_ms(timeouts.update))),
        };
        Self {
            candidates,
            steady_after_ms: failover_ms,
            unsteady_after_ms,
        }
    }

    /// How long the elected replica has to be silent for this one to be elected, ms; `None` if one that
    /// sends steadily comes first.
    pub(crate) fn after_ms(&self, candidate: &candidates::Candidate, now_ms: i64) -> Option<i64> {
        if candidate.sightings.is_steady(now_ms) {
            Some(self.steady_after_ms)
        } else {
            self.unsteady_after_ms
        }
    }
}

/// Who takes over from an elected replica that is silent, if anyone may by now.
fn successor(
    cluster: &Cluster,
    elected: &Elected,
    now_ms: i64,
    timeouts: &Timeouts,
) -> Option<Arc<candidates::Candidate>> {
    let silent_ms = now_ms.saturating_sub(elected.received_at);
    if silent_ms < saturating_ms(timeouts.failover) {
        return None;
    }
    let successors = Successors::new(cluster, elected, now_ms, timeouts);
    let stored = elected.desc();
    let may = |candidate: &candidates::Candidate| {
        let after_ms = successors.after_ms(candidate, now_ms);
        let rule = || decide(Some(&stored), &as_candidate(candidate), now_ms, timeouts, 0);
        after_ms.is_some_and(|after_ms| silent_ms >= after_ms)
            && is_fresh(candidate.sightings.seen_ms(), now_ms, timeouts)
            && matches!(rule(), Decision::Elect(..))
    };
    let first = successors
        .candidates
        .iter()
        .find(|candidate| may(candidate));
    first.cloned()
}
