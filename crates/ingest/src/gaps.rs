//! Tells the tracker which sample times are stored of elected replicas, so that it knows what a
//! failover cost.

use std::sync::Arc;

use ha_tracker::{Clock, HaTracker};
use remote_write::{Scan, Verdict};

use crate::lossless::Failovers;

/// The samples of a request, or of a part of what was held, are stored. `failovers`: if those of the
/// tenant are to lose nothing.
pub(crate) fn stored(
    tracker: Option<&Arc<HaTracker>>,
    failovers: Option<&Arc<Failovers>>,
    tenant: &str,
    scan: &Scan,
) {
    let Some(tracker) = tracker else {
        return;
    };
    let now_ms = Clock::System.now_ms();
    for group in &scan.groups {
        let sent = group.earliest_ms.zip(group.latest_ms);
        let stored = sent.and_then(|sent| stored_times(sent, group.verdict));
        let Some((oldest_ms, newest_ms)) = stored else {
            continue;
        };
        let cluster = &group.cluster;
        // A clock that is ahead does not make the next gap shorter.
        let newest_ms = newest_ms.min(now_ms);
        if tracker.stored(tenant, cluster, &group.replica, newest_ms) {
            let known = failovers.and_then(|failovers| failovers.snapshot(tenant, cluster));
            let boundary_ms = known.and_then(|known| known.boundary_ms);
            tracker.measure_failover(tenant, cluster, oldest_ms, boundary_ms);
        }
    }
}

/// The oldest and the newest sample time of what was forwarded of a group; `None` if nothing was.
fn stored_times((oldest_ms, newest_ms): (i64, i64), verdict: Verdict) -> Option<(i64, i64)> {
    let (oldest_ms, newest_ms) = match verdict {
        Verdict::Drop => return None,
        Verdict::Within(window) => (
            oldest_ms.max(window.after_ms.saturating_add(1)),
            newest_ms.min(window.until_ms),
        ),
        Verdict::Keep | Verdict::Later => (oldest_ms, newest_ms),
    };
    (oldest_ms <= newest_ms).then_some((oldest_ms, newest_ms))
}

#[cfg(test)]
mod tests {
    use remote_write::Window;

    use super::*;

    #[test]
    fn of_what_a_window_cuts_only_the_rest_is_stored() {
        let times = |verdict| stored_times((10, 20), verdict);
        let within = |after_ms, until_ms| Verdict::Within(Window { after_ms, until_ms });
        assert_eq!(times(Verdict::Keep), Some((10, 20)));
        assert_eq!(times(Verdict::Drop), None);
        assert_eq!(times(within(5, 30)), Some((10, 20)));
        assert_eq!(times(within(12, 18)), Some((13, 18)));
        assert_eq!(times(within(20, 30)), None);
    }
}
