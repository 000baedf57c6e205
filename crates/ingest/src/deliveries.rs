//! Tells the tracker what becomes of the requests of elected replicas, so that one that was refused is
//! not considered silent.

use std::sync::Arc;

use ha_tracker::{Clock, Delivery, HaTracker};
use remote_write::Scan;

/// A request that is being forwarded. Dropping it means that the sender hung up.
pub(crate) struct Forwarding<'a> {
    tracker: Option<&'a Arc<HaTracker>>,
    tenant: &'a str,
    scan: &'a Scan,
}

impl<'a> Forwarding<'a> {
    pub(crate) fn begin(
        tracker: Option<&'a Arc<HaTracker>>,
        tenant: &'a str,
        scan: &'a Scan,
    ) -> Self {
        if let Some(tracker) = tracker {
            let now_ms = Clock::System.now_ms();
            for group in &scan.groups {
                tracker.begin_delivery(tenant, &group.cluster, &group.replica, now_ms);
            }
        }
        Self {
            tracker,
            tenant,
            scan,
        }
    }

    /// It is answered.
    pub(crate) fn end(mut self, is_retryable: bool) {
        let delivery = match is_retryable {
            true => Delivery::Refused,
            false => Delivery::Settled,
        };
        note(self.tracker.take(), self.tenant, self.scan, delivery);
    }
}

impl Drop for Forwarding<'_> {
    fn drop(&mut self) {
        note(
            self.tracker.take(),
            self.tenant,
            self.scan,
            Delivery::Abandoned,
        );
    }
}

/// A request was refused for now before anything of it was forwarded.
pub(crate) fn refused(tracker: Option<&Arc<HaTracker>>, tenant: &str, scan: &Scan) {
    note(tracker, tenant, scan, Delivery::Refused);
}

fn note(tracker: Option<&Arc<HaTracker>>, tenant: &str, scan: &Scan, delivery: Delivery) {
    let Some(tracker) = tracker else {
        return;
    };
    let now_ms = Clock::System.now_ms();
    for group in &scan.groups {
        tracker.end_delivery(tenant, &group.cluster, &group.replica, delivery, now_ms);
    }
}
