//! The tasks of a multi store: those that mirror, and the one that compares and backfills.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use kv_core::Mergeable;
use tokio_util::sync::CancellationToken;

use crate::compare::Comparison;
use crate::mirror::{Job, Task};
use crate::status::MirrorFailure;
use crate::store::{Shared, lock};

/// Pause after a backfill that got on, before the next comparison.
const AFTER_COPYING: Duration = Duration::from_millis(200);

/// A backfill copies for so long, then compares again: others copy, too, and what it copies must not
/// be old. Seconds.
const ROUND_S: u32 = 5;

/// Keys that a backfill hands over at a time, and leaves to wait in the queue at most.
const BATCH: usize = 64;

/// Why something was left undone that could have gone on.
pub(crate) const GIVEN_UP: &str = "not written in time for a switch or the shutdown";

/// Cancels `usable` when the store can be used; ends at shutdown.
pub(crate) async fn announce(
    can_be_used: BoxFuture<'static, ()>,
    usable: CancellationToken,
    shutdown: CancellationToken,
) {
    if shutdown.run_until_cancelled(can_be_used).await.is_some() {
        usable.cancel();
        shutdown.cancelled().await;
    }
}

/// Writes what is pending, one key at a time, until shutdown.
pub(crate) async fn mirror<V>(shared: Arc<Shared<V>>)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    while let Some(job) = shared
        .shutdown
        .run_until_cancelled(shared.mirror.next())
        .await
    {
        let problem = run(&shared, &job).await;
        ended(&shared, &job.key, &job.task, problem);
        shared.mirror.finished(&job.key);
    }
}

/// What kept the job from being done, if anything.
async fn run<V>(shared: &Shared<V>, job: &Job<V>) -> Option<String>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let timeout = shared.config.mirror_timeout;
    let writing = async {
        // The keys of others wait in the queue meanwhile, each with its last write.
        job.route.secondary_usable.cancelled().await;
        match tokio::time::timeout(timeout, job.run()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!(
                "{}: no answer within mirror_timeout ({timeout:?})",
                job.route.secondary.name()
            )),
        }
    };
    tokio::select! {
        biased;
        problem = writing => problem,
        () = job.given_up.cancelled() => Some(GIVEN_UP.to_owned()),
        () = shared.shutdown.cancelled() => Some(GIVEN_UP.to_owned()),
    }
}

/// Counts what was done, or why it was not.
pub(crate) fn ended<V>(shared: &Shared<V>, key: &str, task: &Task<V>, problem: Option<String>) {
    let metrics = &shared.metrics;
    match (task, problem) {
        (Task::Follow(_), None) => {
            metrics.mirror_writes.inc();
        }
        (Task::Follow(_), Some(error)) => {
            metrics.mirror_writes.inc();
            metrics.mirror_errors.inc();
            if let Some(unsaid) = shared.mirror_complaint.due() {
                tracing::warn!(
                    key,
                    error,
                    unsaid,
                    "a write was not mirrored to the secondary store"
                );
            }
            *lock(&shared.last_error) = Some(MirrorFailure {
                at: SystemTime::now(),
                key: key.to_owned(),
                error,
            });
        }
        (Task::Copy(_), None) => {
            metrics.backfill_copied.inc();
        }
        (Task::Copy(_), Some(error)) => {
            metrics.backfill_failed.inc();
            if let Some(unsaid) = shared.backfill_complaint.due() {
                tracing::warn!(
                    key,
                    error,
                    unsaid,
                    "a key could not be copied to the secondary store; it is tried again after the next comparison"
                );
            }
        }
    }
}

/// While mirroring is on: compares the stores, copies what the secondary lacks, and again; until
/// shutdown.
pub(crate) async fn backfill<V>(shared: Arc<Shared<V>>)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let mut states = shared.states.subscribe();
    loop {
        let state = states.borrow_and_update().clone();
        let work = async {
            if state.mirror_enabled {
                keep_equal(&shared).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
            () = work => {}
        }
    }
}

async fn keep_equal<V>(shared: &Shared<V>)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let interval = shared.config.compare_interval;
    let mut behind_before = usize::MAX;
    loop {
        let route = shared.route(&shared.state());
        route.primary_usable.cancelled().await;
        route.secondary_usable.cancelled().await;
        let pause = match shared.compare(Duration::ZERO).await {
            Ok(comparison) if comparison.behind() == 0 => {
                behind_before = usize::MAX;
                interval
            }
            Ok(comparison) => {
                copy(shared, &comparison).await;
                // What cannot be copied is not tried again and again without a pause.
                let gets_on = comparison.behind() < behind_before;
                behind_before = comparison.behind();
                if gets_on { AFTER_COPYING } else { interval }
            }
            Err(error) => {
                if let Some(unsaid) = shared.compare_complaint.due() {
                    tracing::warn!(%error, unsaid, "the stores could not be compared");
                }
                interval
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn copy<V>(shared: &Shared<V>, comparison: &Comparison<V>)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let (from, to) = (comparison.primary, comparison.secondary);
    tracing::info!(
        keys = comparison.behind(),
        from,
        to,
        "copying what the secondary store lacks"
    );
    let route = shared.route(&shared.state());
    let rate = f64::from(shared.config.backfill_rate.max(1));
    let mut left = comparison.behind();
    let round = shared.config.backfill_rate.max(1).saturating_mul(ROUND_S) as usize;
    let this_time = comparison.behind.get(..round.min(left)).unwrap_or_default();
    for batch in this_time.chunks(BATCH) {
        shared.backfill_pending(comparison.generation, left);
        pending_at_most(shared, BATCH).await;
        for (key, value) in batch {
            // A full queue holds the key already, or leaves it to the next comparison.
            let _ = shared.mirror.push(key, Task::Copy(value.clone()), &route);
        }
        left -= batch.len();
        tokio::time::sleep(Duration::from_secs_f64(batch.len() as f64 / rate)).await;
    }
    shared.backfill_pending(comparison.generation, left);
    pending_at_most(shared, 0).await;
}

/// Waits until not more than `keys` are pending, or for the time-out: with many writes under way
/// that moment may never come, and the backfill is to go on.
async fn pending_at_most<V>(shared: &Shared<V>, keys: usize)
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let waiting = shared.mirror.pending_at_most(keys);
    let _ = tokio::time::timeout(shared.config.mirror_timeout, waiting).await;
}
