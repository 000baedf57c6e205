//! Asks about the clusters of a request, and reports how it ended.

use std::sync::Arc;
use std::time::Duration;

use ha_failover::{Accepted, Decision, Outcome, Request, Wait};
use remote_write::{Counts, Group, Scan, Verdict, Version};
use tokio::time::Instant;

use super::held::{self, Failovers, HeldBody};
use super::metrics::FailoverMetrics;
use crate::answer::{self, Rejection};
use crate::codec::Content;

/// How long a request waits for what takes a moment: the first of a term, mostly. After that, its
/// sender is asked to try again.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// The accepted groups of a request. Dropping it says that parts of them may be stored.
#[derive(Default)]
pub(crate) struct Admitted {
    /// Nearly always one, which takes no memory.
    first: Option<Accepted<HeldBody>>,
    others: Vec<Accepted<HeldBody>>,
    /// Its only group is a standby's: nothing of it is forwarded now.
    pub(crate) standby: Option<Standby>,
}

/// Why samples of a standby need not be forwarded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standby {
    /// They are held.
    Held,
    /// The elected replica has delivered up to their time.
    Passed,
}

impl Standby {
    /// The outcome of a request all of which is a standby's, made of the one that it would have had.
    pub(crate) fn outcome(self, usual: answer::Outcome) -> answer::Outcome {
        let answer::Outcome::Deduplicated { mut message } = usual else {
            return usual;
        };
        if message.is_empty() {
            message.push_str("deduplicated: another replica is elected");
        }
        if self == Self::Held {
            message.push_str("; its samples are held for a failover");
        }
        answer::Outcome::Deduplicated { message }
    }
}

impl Admitted {
    fn add(&mut self, accepted: Accepted<HeldBody>) {
        match self.first {
            None => self.first = Some(accepted),
            Some(_) => self.others.push(accepted),
        }
    }

    /// The request is not forwarded: certainly nothing of it is stored.
    pub(crate) fn not_stored(self) {
        self.end(Outcome::NotStored);
    }

    /// The downstream has answered.
    pub(crate) fn answered(self, is_retryable: bool) {
        self.end(match is_retryable {
            true => Outcome::Unknown,
            false => Outcome::Done,
        });
    }

    fn end(self, outcome: Outcome) {
        for accepted in self.first.into_iter().chain(self.others) {
            accepted.finish(outcome);
        }
    }
}

/// A request after the tracker's decision, as far as it is needed here.
#[derive(Clone, Copy)]
pub(crate) struct Judgement<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) version: Version,
    pub(crate) scan: &'a Scan,
    pub(crate) content: &'a Content,
    pub(crate) deadline: Instant,
}

/// Asks about each group of a request that was not refused: `is_refused` tells of the others, by their
/// index. Waits for a moment if this distributor is about to join a cluster's term.
///
/// # Errors
/// The sender is to try again: nothing of the request may be forwarded, and nothing of it is held.
pub(crate) async fn admit(
    failovers: &Arc<Failovers>,
    metrics: &FailoverMetrics,
    judgement: Judgement<'_>,
    is_refused: impl Fn(usize) -> bool,
) -> Result<Admitted, Rejection> {
    let mut admitted = Admitted::default();
    let scan = judgement.scan;
    for (index, group) in scan.groups.iter().enumerate() {
        if is_refused(index) {
            continue;
        }
        let ended = admit_group(failovers, metrics, judgement, group, &mut admitted).await;
        if let Err(rejection) = ended {
            admitted.not_stored();
            return Err(rejection);
        }
    }
    Ok(admitted)
}

async fn admit_group(
    failovers: &Arc<Failovers>,
    metrics: &FailoverMetrics,
    judgement: Judgement<'_>,
    group: &Group,
    admitted: &mut Admitted,
) -> Result<(), Rejection> {
    let Judgement {
        tenant,
        version,
        scan,
        content,
        deadline,
    } = judgement;
    let Some((oldest_ms, newest_ms)) = group.earliest_ms.zip(group.latest_ms) else {
        return Ok(());
    };
    let is_alone = scan.groups.len() == 1 && scan.other == Counts::default();
    let body = HeldBody::of(version, content, scan).filter(|_| is_alone);
    let can_hold = body.is_some();
    if !can_hold && group.verdict == Verdict::Drop {
        metrics.not_held.inc();
        return Ok(());
    }
    let request = Request {
        replica: &group.replica,
        oldest_ms,
        newest_ms,
        bytes: held::bytes_of(content),
    };
    let until = deadline.min(Instant::now() + MAX_WAIT);
    let body = || match &body {
        Some(body) => body(),
        // Accepted or sent again: what is held of it is nothing.
        None => HeldBody::empty(version),
    };
    let decision = failovers
        .judge(tenant, &group.cluster, &request, body, until)
        .await;
    match decision {
        // The tenant's mode changed to classic.
        None => {}
        Some(Decision::Accept { after_ms, accepted }) => {
            if !is_cut_at(group, after_ms) {
                accepted.finish(Outcome::NotStored);
                return Err(changed(group));
            }
            admitted.add(accepted);
        }
        Some(Decision::Deduplicate) if is_alone => admitted.standby = Some(Standby::Passed),
        Some(Decision::Held) if can_hold => admitted.standby = Some(Standby::Held),
        Some(Decision::Deduplicate | Decision::Held) => return Err(changed(group)),
        Some(Decision::RetryLater { after, why }) => {
            metrics.defer(why);
            return Err(later(group, after, why));
        }
    }
    Ok(())
}

/// Whether the scan left out what it must.
fn is_cut_at(group: &Group, after_ms: Option<i64>) -> bool {
    match (group.verdict, after_ms) {
        (Verdict::Drop, _) => false,
        (Verdict::Within(window), Some(after_ms)) => window.after_ms == after_ms,
        (Verdict::Within(_), None) => group.outside == Counts::default(),
        (Verdict::Keep | Verdict::Later, after_ms) => after_ms.is_none(),
    }
}

/// An election between scan and now. The sender's retry finds it settled.
fn changed(group: &Group) -> Rejection {
    Rejection::unavailable(format!(
        "the elected replica of cluster {:?} changed while the request was processed; retry",
        group.cluster
    ))
}

fn later(group: &Group, wait: Duration, why: Wait) -> Rejection {
    Rejection::Unavailable {
        wait,
        cause: None,
        message: format!(
            "cluster {:?}, replica {:?}: retry later: {} (limits.ha_failover_mode is lossless: the \
             sender's queue keeps the samples)",
            group.cluster,
            group.replica,
            why.why(),
        ),
    }
}
