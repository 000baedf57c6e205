//! Tells the tracker what becomes of the requests of elected replicas, so that one that waits here or
//! was refused is not considered silent.

use std::sync::Arc;

use ha_tracker::{Clock, Delivery, HaTracker};
use remote_write::{Scan, Verdict};

/// A request that is being worked on, from the tracker's check of its replicas on. Dropping it means
/// that the sender hung up.
pub(crate) struct Forwarding<'a> {
    tracker: Option<&'a Arc<HaTracker>>,
    tenant: &'a str,
    scan: &'a Scan,
    began_ms: i64,
}

impl<'a> Forwarding<'a> {
    /// For a request whose replicas were checked, which begins the deliveries of those that are elected
    /// and known.
    pub(crate) fn checked(
        tracker: Option<&'a Arc<HaTracker>>,
        tenant: &'a str,
        scan: &'a Scan,
        began_ms: i64,
    ) -> Self {
        Self {
            tracker,
            tenant,
            scan,
            began_ms,
        }
    }

    /// It is answered.
    pub(crate) fn end(mut self, is_retryable: bool) {
        let delivery = match is_retryable {
            true => Delivery::Refused,
            false => Delivery::Settled,
        };
        let tracker = self.tracker.take();
        note(tracker, self.tenant, self.scan, delivery, self.began_ms);
    }

    /// Its end will be told by another one.
    pub(crate) fn hand_on(mut self) {
        self.tracker = None;
    }
}

impl Drop for Forwarding<'_> {
    fn drop(&mut self) {
        let tracker = self.tracker.take();
        let (scan, began_ms) = (self.scan, self.began_ms);
        note(tracker, self.tenant, scan, Delivery::Abandoned, began_ms);
    }
}

/// A request was refused for now before anything of it was forwarded.
pub(crate) fn refused(tracker: Option<&Arc<HaTracker>>, tenant: &str, scan: &Scan, began_ms: i64) {
    note(tracker, tenant, scan, Delivery::Refused, began_ms);
}

fn note(
    tracker: Option<&Arc<HaTracker>>,
    tenant: &str,
    scan: &Scan,
    delivery: Delivery,
    began_ms: i64,
) {
    let Some(tracker) = tracker else {
        return;
    };
    let mut now_ms = None;
    for group in &scan.groups {
        // Of a replica that is not elected, only a refusal matters.
        if group.verdict == Verdict::Drop && delivery != Delivery::Refused {
            continue;
        }
        let now_ms = *now_ms.get_or_insert_with(|| Clock::System.now_ms());
        let (cluster, replica) = (&group.cluster, &group.replica);
        tracker.end_delivery(tenant, cluster, replica, delivery, began_ms, now_ms);
    }
}
