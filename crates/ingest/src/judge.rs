//! Decides from the tracker's results which series are dropped, and the answer to the sender.

use std::fmt::Write as _;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ha_tracker::{ElectedReplica, HaTracker, Lookup, Outcome, Sighting, TrackerError};
use remote_write::{Counts, Group, Scan, Verdict};
use tokio::time::Instant;

use crate::answer::{self, Rejection};
use crate::deliveries::Forwarding;
use crate::tenants::{Discarded, Items, Tenant};

/// Longest cluster and replica that is tracked, bytes: the key must fit every store, and both are
/// kept in memory.
const MAX_LABEL_VALUE: usize = 1024;
/// New clusters of one request that are looked up at once.
const CONCURRENT_LOOKUPS: usize = 16;

/// What judging takes for each group at most, besides the group itself, bytes.
pub(crate) const BYTES_PER_GROUP: usize = 256;

/// The tracker's results for a request.
#[derive(Default)]
pub(crate) struct Judged {
    /// The groups of the scan of which nothing is stored, by their index, in the order in which that
    /// was found.
    fates: Vec<(usize, Fate)>,
    /// Samples dropped because their replica is not elected.
    pub(crate) deduplicated: Counts,
    /// The elected replica of the first deduplicated group.
    first_elected: Option<ElectedReplica>,
    first_refusal: Option<(Discarded, String)>,
}

/// Why nothing of a group is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its replica is not elected.
    Deduplicated,
    /// It is refused for good.
    Refused(Discarded),
}

/// The verdict during the scan: from the cache, without recording anything.
pub(crate) fn peek(tracker: &HaTracker, tenant: &str, cluster: &str, replica: &str) -> Verdict {
    if too_long(cluster, replica) {
        return Verdict::Later;
    }
    let now_ms = ha_tracker::Clock::System.now_ms();
    match tracker.peek(tenant, cluster, replica, now_ms) {
        Lookup::Elected => Verdict::Keep,
        Lookup::NotElected => Verdict::Drop,
        Lookup::Unknown | Lookup::Overdue => Verdict::Later,
    }
}

/// Records every replica of the request as seen at `now_ms`, and decides the groups that the scan left
/// open. The deliveries of those that are elected begin. Without a tracker, every replica counts as
/// elected.
///
/// # Errors
/// The whole request is refused, before anything of it is forwarded.
pub(crate) async fn judge(
    tracker: Option<&Arc<HaTracker>>,
    tenant: &str,
    scan: &Scan,
    now_ms: i64,
    deadline: Instant,
) -> Result<Judged, Rejection> {
    let mut judged = Judged::default();
    let mut open = Vec::new();
    for (index, group) in scan.groups.iter().enumerate() {
        if let Some(problem) = &group.problem {
            judged.refuse(index, Discarded::HaLabelNotUtf8, || {
                format!(
                    "{problem}; samples of such series were dropped, the rest of the request was \
                     processed: fix the sender"
                )
            });
            continue;
        }
        let Some(tracker) = tracker else {
            continue;
        };
        if too_long(&group.cluster, &group.replica) {
            judged.refuse(index, Discarded::LabelValueTooLong, || {
                let start_of = |text: &str| text.chars().take(40).collect::<String>();
                format!(
                    "a cluster or replica label has more than {MAX_LABEL_VALUE} bytes \
                     (cluster {:?}…, replica {:?}…); shorten it",
                    start_of(&group.cluster),
                    start_of(&group.replica),
                )
            });
            continue;
        }
        let sighting = sighting(tenant, group, now_ms);
        match (group.verdict, tracker.check_delivery(&sighting)) {
            (Verdict::Keep | Verdict::Within(_), Some(Outcome::Accepted)) => {}
            (Verdict::Drop, Some(Outcome::Deduplicated(elected))) => {
                judged.deduplicate(index, group, elected);
            }
            (Verdict::Later, Some(outcome)) => judged.settle(tenant, index, group, outcome),
            (Verdict::Later, None) => open.push((index, group, sighting)),
            // An election between scan and now, or one that is due since. The sender's retry finds it
            // settled.
            (Verdict::Keep | Verdict::Within(_) | Verdict::Drop, _) => {
                return Err(Rejection::unavailable(format!(
                    "the elected replica of cluster {:?} changed while the request was processed; \
                     retry",
                    group.cluster
                )));
            }
        }
    }
    let Some(tracker) = tracker.filter(|_| !open.is_empty()) else {
        return Ok(judged);
    };
    // The sender can hang up meanwhile.
    let forwarding = Forwarding::checked(Some(tracker), tenant, scan, now_ms);
    let looked_up = tokio::time::timeout_at(deadline, look_up(tracker, open)).await;
    forwarding.hand_on();
    let settled = looked_up
        .map_err(|_| {
            Rejection::unavailable(
                "the HA tracker's store did not answer for a new cluster, or one whose elected replica \
                 is overdue, in time; retry later",
            )
        })?
        .map_err(|error| Rejection::unavailable(format!("{error}; retry later")))?;
    for (index, group, outcome) in settled {
        tracker.begin_delivery(tenant, &group.cluster, &group.replica, now_ms);
        judged.settle(tenant, index, group, outcome);
    }
    Ok(judged)
}

/// A group for which the store is needed.
type Open<'a> = (usize, &'a Group, Sighting<'a>);

/// Checks groups, this many at a time; the others need no memory until their turn.
async fn look_up<'a>(
    tracker: &Arc<HaTracker>,
    open: Vec<Open<'a>>,
) -> Result<Vec<(usize, &'a Group, Outcome)>, TrackerError> {
    let mut settled = Vec::with_capacity(open.len());
    let mut open = open.into_iter();
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < CONCURRENT_LOOKUPS
            && let Some(group) = open.next()
        {
            running.push(look_up_one(tracker, group));
        }
        match running.next().await {
            Some(outcome) => settled.push(outcome?),
            None => return Ok(settled),
        }
    }
}

async fn look_up_one<'a>(
    tracker: &Arc<HaTracker>,
    (index, group, sighting): Open<'a>,
) -> Result<(usize, &'a Group, Outcome), TrackerError> {
    Ok((index, group, tracker.check(&sighting).await?))
}

fn too_long(cluster: &str, replica: &str) -> bool {
    cluster.len() > MAX_LABEL_VALUE || replica.len() > MAX_LABEL_VALUE
}

fn sighting<'a>(tenant: &'a str, group: &'a Group, now_ms: i64) -> Sighting<'a> {
    Sighting {
        tenant,
        cluster: &group.cluster,
        replica: &group.replica,
        newest_ms: group.latest_ms,
        now_ms,
    }
}

/// `total` without `part`.
pub(crate) fn minus(total: Counts, part: Counts) -> Counts {
    Counts {
        series: total.series - part.series,
        samples: total.samples - part.samples,
        histograms: total.histograms - part.histograms,
        exemplars: total.exemplars - part.exemplars,
    }
}

impl Judged {
    fn settle(&mut self, tenant: &str, index: usize, group: &Group, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => {}
            Outcome::Deduplicated(elected) => self.deduplicate(index, group, elected),
            Outcome::TooManyClusters { limit } => {
                self.refuse(index, Discarded::TooManyHaClusters, || {
                    format!(
                        "tenant {tenant:?} has reached its limit of {limit} HA clusters \
                         (limits.ha_max_clusters); samples of the new cluster {:?} were dropped: \
                         raise the limit or fix the cluster label \
                         (err-mimir-tenant-too-many-ha-clusters)",
                        group.cluster
                    )
                });
            }
            Outcome::NotStorable(error) => {
                self.refuse(index, Discarded::HaClusterNotStorable, || {
                    format!("{error}; samples were dropped: fix the cluster label")
                });
            }
        }
    }

    fn deduplicate(&mut self, index: usize, group: &Group, elected: ElectedReplica) {
        self.fates.push((index, Fate::Deduplicated));
        self.deduplicated += group.counts;
        self.first_elected.get_or_insert(elected);
    }

    fn refuse(&mut self, index: usize, reason: Discarded, message: impl FnOnce() -> String) {
        self.fates.push((index, Fate::Refused(reason)));
        self.first_refusal
            .get_or_insert_with(|| (reason, message()));
    }

    /// Whether a group is refused for good, by its index.
    pub(crate) fn refuses(&self, group: usize) -> bool {
        self.fates
            .iter()
            .any(|(index, fate)| *index == group && *fate != Fate::Deduplicated)
    }

    /// The groups of which nothing is stored.
    fn groups<'a>(&'a self, scan: &'a Scan) -> impl Iterator<Item = (&'a Group, Fate)> {
        self.fates
            .iter()
            .filter_map(|(index, fate)| Some((scan.groups.get(*index)?, *fate)))
    }

    /// Removes series that the scan had kept until the decision, and that are not stored.
    pub(crate) fn discard(&self, scan: &mut Scan, message: &mut [u8]) {
        // Nearly always none, which takes no memory.
        let kept: Vec<usize> = self
            .fates
            .iter()
            .map(|(index, _)| *index)
            .filter(|index| {
                let group = scan.groups.get(*index);
                group.is_some_and(|group| group.verdict == Verdict::Later)
            })
            .collect();
        scan.discard_in_place(message, &kept);
    }

    /// Counts dropped samples; must be called once the request is decided.
    pub(crate) fn count(
        &self,
        tracker: Option<&Arc<HaTracker>>,
        tenant_name: &str,
        tenant: &Tenant,
        scan: &Scan,
    ) {
        for (group, fate) in self.groups(scan) {
            let items = Items::from(group.counts);
            match (fate, tracker) {
                (Fate::Refused(reason), _) => tenant.discard(reason, items),
                (Fate::Deduplicated, Some(tracker)) => {
                    tracker.count_deduplicated(tenant_name, &group.cluster, items.samples);
                }
                (Fate::Deduplicated, None) => {}
            }
        }
        if let Some((reason, _)) = &self.first_refusal
            && scan.kept_series() == 0
            && scan.metadata == 0
        {
            tenant.discard_request(reason.cause());
        }
    }

    /// The outcome of a request whose accepted samples have all been stored.
    pub(crate) fn outcome(
        self,
        tracker: Option<&Arc<HaTracker>>,
        tenant: &str,
        scan: &Scan,
        all_dropped: bool,
    ) -> answer::Outcome {
        if all_dropped && self.first_refusal.is_none() {
            return answer::Outcome::Deduplicated {
                message: self.deduplication_message(tracker, tenant, scan),
            };
        }
        match self.first_refusal {
            Some((reason, refusal)) => {
                answer::Outcome::Rejected(Rejection::refused(reason.cause(), refusal))
            }
            None => answer::Outcome::Stored,
        }
    }

    /// Says what the failover is waiting for, if the elected replica is silent.
    fn deduplication_message(
        &self,
        tracker: Option<&Arc<HaTracker>>,
        tenant: &str,
        scan: &Scan,
    ) -> String {
        let mut deduplicated = self
            .groups(scan)
            .filter(|(_, fate)| *fate == Fate::Deduplicated);
        let (Some((group, _)), Some(elected)) = (deduplicated.next(), &self.first_elected) else {
            return String::new();
        };
        let more = if deduplicated.next().is_some() {
            " (and others)"
        } else {
            ""
        };
        let mut message = format!(
            "deduplicated: replica {:?} of cluster {:?} is not elected, {:?} is{more}",
            group.replica,
            group.cluster,
            elected.name(),
        );
        let now_ms = ha_tracker::Clock::System.now_ms();
        let outlook = tracker.and_then(|tracker| {
            tracker.failover_outlook(tenant, &group.cluster, &group.replica, now_ms)
        });
        if let Some(outlook) = outlook {
            let _ = write!(message, "; {outlook}");
        }
        message
    }
}
