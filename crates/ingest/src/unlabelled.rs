//! Samples without both HA labels: stored, and not deduplicated, which may not be what was meant.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// Seconds since the start, and one, when the first came; 0 before.
    since_s: AtomicU64,
    /// Whether a series with both labels ever came.
    had_both: AtomicBool,
}

/// For so long, seconds, a tenant may send nothing with both labels before that is said: the first
/// samples of a fleet come within a scrape interval.
const NEVER_AFTER_S: u64 = 60;

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
        if !scan.groups.is_empty() && !self.had_both.load(Ordering::Relaxed) {
            self.had_both.store(true, Ordering::Relaxed);
        }
        let samples = scan.other.samples + scan.other.histograms;
        if samples == 0 {
            return;
        }
        if self.since_s.load(Ordering::Relaxed) == 0 {
            self.since_s.store(source.now_s + 1, Ordering::Relaxed);
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
        let neither = take(&self.neither);
        let since_s = self.since_s.load(Ordering::Relaxed);
        let never =
            !self.had_both.load(Ordering::Relaxed) && source.now_s + 1 >= since_s + NEVER_AFTER_S;
        match never {
            true => {
                let all = neither + one.cluster + one.replica;
                tell_of_none(all, source, limits, refusals);
            }
            false => tell(neither, one, source, limits, refusals),
        }
    }
}

/// The whole tenant may be meant to be deduplicated, and is not.
fn tell_of_none(count: u64, source: &Source<'_>, limits: &PushLimits, refusals: &Refusals) {
    let message = format!(
        "no series of tenant {:?} carries both {:?} and {:?}, so nothing of it is deduplicated; \
         compare the external labels of its senders with limits.ha_cluster_label and \
         limits.ha_replica_label. vmagent drops labels that begin with `__`: with it, use another \
         replica label, such as prometheus_replica",
        source.tenant, limits.ha_cluster_label, limits.ha_replica_label
    );
    let occurrence = Occurrence {
        tenant: source.tenant,
        cause: Cause::NeverHaLabels,
        count,
        status: 0,
        message: &message,
        client: source.client,
    };
    refusals.note(true, &occurrence);
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

#[cfg(test)]
mod tests {
    use remote_write::{Decides, HaLabelNames, HaRule, Scratch, Verdict, Version, scan_in_place};

    use super::*;

    /// What a 1.0 request of one series with these labels, one sample each, scans to.
    fn scanned(labels: &[(&str, &str)]) -> Scan {
        let field = |number: u8, content: Vec<u8>| {
            [
                vec![number << 3 | 2, u8::try_from(content.len()).unwrap()],
                content,
            ]
            .concat()
        };
        let label = |(name, value): &(&str, &str)| {
            field(
                1,
                [field(1, (*name).into()), field(2, (*value).into())].concat(),
            )
        };
        let mut labels: Vec<u8> = labels.iter().flat_map(label).collect();
        labels.extend(field(2, vec![0x10, 1]));
        let mut message = field(1, labels);
        let names = HaLabelNames {
            cluster: "cluster",
            replica: "__replica__",
        };
        let rule = HaRule {
            names,
            decides: Decides::EachSeries,
        };
        let mut keep = |_: &str, _: &str| Verdict::Keep;
        let scratch = &mut Scratch::default();
        scan_in_place(Version::V1, &mut message, Some(rule), scratch, &mut keep).unwrap()
    }

    fn causes_at(times_s: &[u64], scans: &[Scan]) -> Vec<Cause> {
        let (untold, refusals, limits) = (
            Untold::default(),
            Refusals::default(),
            PushLimits::default(),
        );
        for (now_s, scan) in times_s.iter().zip(scans) {
            let source = Source {
                tenant: "t",
                client: None,
                now_s: *now_s,
            };
            untold.add(scan, &source, &limits, &refusals);
        }
        refusals
            .list()
            .iter()
            .map(|refusal| refusal.cause)
            .collect()
    }

    #[test]
    fn a_tenant_without_a_labelled_series_is_told_of_after_a_minute() {
        let plain = || scanned(&[("__name__", "up")]);
        let early = causes_at(&[5, 30], &[plain(), plain()]);
        assert_eq!(early, [Cause::NoHaLabels]);
        let late = causes_at(&[5, 65], &[plain(), scanned(&[("cluster", "c")])]);
        assert_eq!(late, [Cause::NoHaLabels, Cause::NeverHaLabels]);
        let both = scanned(&[("__replica__", "r"), ("cluster", "c")]);
        let mixed = causes_at(&[5, 10, 65], &[plain(), both, plain()]);
        assert_eq!(mixed, [Cause::NoHaLabels]);
    }
}
