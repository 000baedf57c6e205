//! Samples without both HA labels: stored, and not deduplicated, which may not be what was meant.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use remote_write::{OneLabel, Scan};

use crate::cause::Cause;
use crate::config::PushLimits;
use crate::counters::add;
use crate::refusals::{Occurrence, Refusals};

/// Those of one tenant of which [`Refusals`] have not heard: they are told once a second, so that
/// requests of one tenant do not wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    neither: AtomicU64,
    cluster: AtomicU64,
    replica: AtomicU64,
    /// Seconds since the start, and one, when they were last told.
    told_s: AtomicU64,
}

/// Where they come from.
pub(crate) struct Source<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) client: Option<IpAddr>,
    pub(crate) now_s: u64,
}

impl Untold {
    /// Adds those of a request.
    pub(crate) fn add(
        &self,
        scan: &Scan,
        source: &Source<'_>,
        limits: &PushLimits,
        refusals: &Refusals,
    ) {
        let samples = scan.other.samples + scan.other.histograms;
        if samples == 0 {
            return;
        }
        let one = scan.one_label;
        let none = samples - one.cluster - one.replica - scan.both_labels;
        if none + one.cluster + one.replica == 0 {
            return;
        }
        add(&self.neither, none);
        add(&self.cluster, one.cluster);
        add(&self.replica, one.replica);
        let told_s = self.told_s.load(Ordering::Relaxed);
        let is_due = told_s <= source.now_s
            && self
                .told_s
                .compare_exchange(
                    told_s,
                    source.now_s + 1,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if !is_due {
            return;
        }
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let one = OneLabel {
            cluster: take(&self.cluster),
            replica: take(&self.replica),
        };
        tell(take(&self.neither), one, source, limits, refusals);
    }
}

fn tell(
    neither: u64,
    one: OneLabel,
    source: &Source<'_>,
    limits: &PushLimits,
    refusals: &Refusals,
) {
    let (cluster, replica) = (&limits.ha_cluster_label, &limits.ha_replica_label);
    let note = |cause, count, message: &str| {
        let occurrence = Occurrence {
            tenant: source.tenant,
            cause,
            count,
            status: 0,
            message,
            client: source.client,
        };
        refusals.note(true, &occurrence);
    };
    if neither > 0 {
        let message = format!(
            "they have neither the label {cluster:?} nor {replica:?}; give the senders both as \
             external labels, or turn accept_ha_samples off for the tenant if it has no HA pairs"
        );
        note(Cause::NoHaLabels, neither, &message);
    }
    // Only one of two mistakes is shown; the other one appears when it is corrected.
    let message = match (one.cluster, one.replica) {
        (0, 0) => return,
        (_, 0) => format!(
            "they have the label {cluster:?} but not {replica:?}; give each replica its own as an \
             external label"
        ),
        _ => format!(
            "they have the label {replica:?} but not {cluster:?}, and keep it; give all replicas \
             of a pair the same as an external label"
        ),
    };
    note(Cause::OneHaLabel, one.cluster + one.replica, &message);
}
