//! From the tracker's answers to what is dropped and what the sender is told.

use std::fmt::Write as _;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ha_tracker::{ElectedReplica, HaTracker, Lookup, Outcome, Sighting, TrackerError};
use http::StatusCode;
use remote_write::{Counts, Group, Scan, Verdict, Version};
use tokio::time::Instant;

use super::answer::{PushAnswer, Written};
use super::tenants::{Discarded, Tenant};

/// Longest cluster and replica that is tracked, bytes: the key must fit every store, and both are
/// kept in memory.
const MAX_LABEL_VALUE: usize = 1024;
/// New clusters of one request that are looked up at once.
const CONCURRENT_LOOKUPS: usize = 16;

/// What judging takes for each group at most, besides the group itself, bytes.
pub(super) const BYTES_PER_GROUP: usize = 256;

/// What the tracker said of a request.
#[derive(Default)]
pub(super) struct Judged {
    /// Groups to take out after the scan.
    pub(super) discard: Vec<usize>,
    /// What was dropped because its replica is not elected.
    pub(super) deduplicated: Counts,
    deduplicated_groups: Vec<usize>,
    /// Who is elected instead of the first of those groups.
    first_elected: Option<ElectedReplica>,
    /// Groups refused for good, and why.
    refused: Vec<(usize, Discarded)>,
    first_refusal: Option<(Discarded, String)>,
}

/// The verdict during the scan: from the cache, without recording anything.
pub(super) fn peek(tracker: &HaTracker, tenant: &str, cluster: &str, replica: &str) -> Verdict {
    if too_long(cluster, replica) {
        return Verdict::Later;
    }
    match tracker.peek(tenant, cluster, replica) {
        Lookup::Elected => Verdict::Keep,
        Lookup::NotElected => Verdict::Drop,
        Lookup::Unknown => Verdict::Later,
    }
}

/// Records every replica of the request as seen, and settles what the scan left open. An error
/// refuses the whole request before anything of it is forwarded.
pub(super) async fn judge(
    tracker: &Arc<HaTracker>,
    tenant: &str,
    scan: &Scan,
    deadline: Instant,
) -> Result<Judged, PushAnswer> {
    let now_ms = ha_tracker::Clock::System.now_ms();
    let mut judged = Judged::default();
    let mut open = Vec::new();
    for (index, group) in scan.groups.iter().enumerate() {
        if let Some(problem) = &group.problem {
            judged.refuse(index, Discarded::HaLabelNotUtf8, || {
                format!(
                    "{problem}; the samples of such series were dropped, the rest of the request \
                     was not: fix the sender"
                )
            });
            continue;
        }
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
        match (group.verdict, tracker.check_cached(&sighting)) {
            (Verdict::Keep, Some(Outcome::Accepted)) => {}
            (Verdict::Drop, Some(Outcome::Deduplicated(elected))) => {
                judged.deduplicate(index, group, elected);
            }
            (Verdict::Later, Some(outcome)) => judged.settle(tenant, index, group, outcome),
            (Verdict::Later, None) => open.push((index, group, sighting)),
            // An election between scan and now. The sender's retry finds it settled.
            (Verdict::Keep | Verdict::Drop, _) => {
                return Err(PushAnswer::unavailable(format!(
                    "the elected replica of cluster {:?} changed while the request was processed; \
                     retry",
                    group.cluster
                )));
            }
        }
    }
    if open.is_empty() {
        return Ok(judged);
    }
    let settled = tokio::time::timeout_at(deadline, look_up(tracker, open))
        .await
        .map_err(|_| {
            PushAnswer::unavailable(
                "the HA tracker's store did not answer for a new cluster in time; retry later",
            )
        })?
        .map_err(|error| PushAnswer::unavailable(format!("{error}; retry later")))?;
    for (index, group, outcome) in settled {
        judged.settle(tenant, index, group, outcome);
    }
    Ok(judged)
}

/// A group that the store has to be asked for.
type Open<'a> = (usize, &'a Group, Sighting<'a>);

/// Asks for groups, so many at once; the others have no memory of theirs until their turn.
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
        earliest_ms: group.earliest_ms,
        now_ms,
    }
}

/// Samples and histograms, which is what Mimir counts as samples.
fn samples(counts: Counts) -> u64 {
    counts.samples + counts.histograms
}

/// `total` without `part`.
pub(super) fn minus(total: Counts, part: Counts) -> Counts {
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
            Outcome::Deduplicated(elected) => {
                self.discard.push(index);
                self.deduplicate(index, group, elected);
            }
            Outcome::TooManyClusters { limit } => {
                self.refuse(index, Discarded::TooManyHaClusters, || {
                    format!(
                        "tenant {tenant:?} has reached its limit of {limit} HA clusters \
                         (limits.ha_max_clusters); samples of the new cluster {:?} were dropped: \
                         raise the limit or fix the cluster label",
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
        self.deduplicated += group.counts;
        self.deduplicated_groups.push(index);
        self.first_elected.get_or_insert(elected);
    }

    fn refuse(&mut self, index: usize, reason: Discarded, message: impl FnOnce() -> String) {
        self.discard.push(index);
        self.refused.push((index, reason));
        self.first_refusal
            .get_or_insert_with(|| (reason, message()));
    }

    /// Counts what was dropped; to be called once the request is settled.
    pub(super) fn count(
        &self,
        tracker: Option<&Arc<HaTracker>>,
        tenant_name: &str,
        tenant: &Tenant,
        scan: &Scan,
    ) {
        for (index, reason) in &self.refused {
            if let Some(group) = scan.groups.get(*index) {
                tenant.discard(*reason, samples(group.counts));
            }
        }
        let Some(tracker) = tracker else {
            return;
        };
        for index in &self.deduplicated_groups {
            if let Some(group) = scan.groups.get(*index) {
                tracker.count_deduplicated(tenant_name, &group.cluster, samples(group.counts));
            }
        }
    }

    /// The answer to a request of which everything that was accepted has been stored.
    pub(super) fn answer(
        &self,
        tracker: Option<&Arc<HaTracker>>,
        request: (&str, Version),
        scan: &Scan,
        all_dropped: bool,
        written: Option<Written>,
    ) -> PushAnswer {
        let (tenant, version) = request;
        let answer = if let Some((reason, refusal)) = &self.first_refusal {
            PushAnswer::bad_request(refusal.clone()).because(reason.cause())
        } else if all_dropped {
            PushAnswer::new(
                StatusCode::ACCEPTED,
                self.deduplication_message(tracker, tenant, scan),
            )
        } else {
            let status = match version {
                Version::V1 => StatusCode::OK,
                Version::V2 => StatusCode::NO_CONTENT,
            };
            PushAnswer::new(status, "")
        };
        PushAnswer { written, ..answer }
    }

    /// Says what the failover waits for, if the elected replica is silent.
    fn deduplication_message(
        &self,
        tracker: Option<&Arc<HaTracker>>,
        tenant: &str,
        scan: &Scan,
    ) -> String {
        let first = self
            .deduplicated_groups
            .first()
            .and_then(|index| scan.groups.get(*index));
        let (Some(group), Some(elected)) = (first, &self.first_elected) else {
            return String::new();
        };
        let more = if self.deduplicated_groups.len() > 1 {
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
