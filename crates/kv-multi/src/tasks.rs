//! The tasks of a multi store: those that mirror, and the one that compares and backfills. A task
//! may only touch its parameters.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kv_core::{LogThrottle, Value};
use tokio_util::sync::CancellationToken;

use crate::MultiConfig;
use crate::comparer::Comparer;
use crate::comparison::Comparison;
use crate::mirror::{Job, Mirror, Task};
use crate::outcomes::{GIVEN_UP, Outcomes};
use crate::roles::Roles;

/// Pause after a backfill that made progress, before the next comparison.
const AFTER_COPYING: Duration = Duration::from_millis(200);

/// A backfill copies for this long, then compares again: other processes copy too, and its data
/// must not be outdated. Seconds.
const ROUND_S: u32 = 5;

/// Keys that a backfill queues at a time, and the most that it leaves waiting in the queue.
const BATCH: usize = 64;

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

/// Writes pending changes, one key at a time, until shutdown. One write takes at most `timeout`.
pub(crate) async fn mirror<V: Value>(
    queue: Arc<Mirror<V>>,
    outcomes: Arc<Outcomes>,
    timeout: Duration,
    shutdown: CancellationToken,
) {
    while let Some(job) = shutdown.run_until_cancelled(queue.next()).await {
        let problem = run(&job, timeout, &shutdown).await;
        outcomes.record(&job.key, &job.task, problem);
        queue.finished(&job.key);
    }
}

/// Why the job failed, if it did.
async fn run<V: Value>(
    job: &Job<V>,
    timeout: Duration,
    shutdown: &CancellationToken,
) -> Option<String> {
    let writing = async {
        // Other keys wait in the queue in the meantime, each with its last write.
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
        () = shutdown.cancelled() => Some(GIVEN_UP.to_owned()),
    }
}

/// While mirroring is on, repeatedly compares the stores and copies the entries that the secondary
/// lacks.
pub(crate) struct Backfill<V> {
    roles: Arc<Roles<V>>,
    comparer: Arc<Comparer<V>>,
    queue: Arc<Mirror<V>>,
    config: MultiConfig,
    log: LogThrottle,
}

impl<V: Value> Backfill<V> {
    pub(crate) fn new(
        roles: Arc<Roles<V>>,
        comparer: Arc<Comparer<V>>,
        queue: Arc<Mirror<V>>,
        config: MultiConfig,
    ) -> Self {
        Self {
            roles,
            comparer,
            queue,
            config,
            log: LogThrottle::default(),
        }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut states = self.roles.subscribe();
        loop {
            let state = states.borrow_and_update().clone();
            let work = async {
                if state.mirror_enabled {
                    self.keep_equal().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                changed = states.changed() => if changed.is_err() { return },
                () = work => {}
            }
        }
    }

    async fn keep_equal(&self) {
        let interval = self.config.compare_interval;
        let mut behind_before: Option<usize> = None;
        loop {
            let route = self.roles.route(&self.roles.state());
            route.primary_usable.cancelled().await;
            route.secondary_usable.cancelled().await;
            let pause = match self.comparer.compare(Duration::ZERO).await {
                Ok(comparison) if comparison.behind() == 0 => {
                    behind_before = None;
                    interval
                }
                Ok(comparison) => {
                    self.copy(&comparison).await;
                    // Keys that cannot be copied are not tried again without a pause.
                    let behind = comparison.behind();
                    let progresses = behind_before.is_none_or(|before| behind < before);
                    behind_before = Some(behind);
                    if progresses { AFTER_COPYING } else { interval }
                }
                Err(error) => {
                    if let Some(suppressed) = self.log.admit() {
                        tracing::warn!(%error, suppressed, "the stores could not be compared");
                    }
                    interval
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn copy(&self, comparison: &Comparison<V>) {
        let (from, to) = (comparison.primary, comparison.secondary);
        tracing::info!(
            keys = comparison.behind(),
            from,
            to,
            "copying keys that the secondary store lacks"
        );
        let route = self.roles.route(&self.roles.state());
        let rate = self.config.backfill_rate.max(1);
        let mut left = comparison.behind();
        let round = rate.saturating_mul(ROUND_S) as usize;
        let this_time = comparison.behind.get(..round.min(left)).unwrap_or_default();
        for batch in this_time.chunks(BATCH) {
            self.comparer.show_pending(comparison.generation, left);
            self.pending_at_most(BATCH).await;
            for (key, value) in batch {
                // If the queue is full, the key is already in it, or the next comparison finds it
                // again.
                let _ = self.queue.push(key, Task::Copy(value.clone()), &route);
            }
            left -= batch.len();
            let pause = batch.len() as f64 / f64::from(rate);
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        }
        self.comparer.show_pending(comparison.generation, left);
        self.pending_at_most(0).await;
    }

    /// Waits until at most `keys` are pending, or for the timeout: with many writes the queue may
    /// never be that short, and the backfill must continue.
    async fn pending_at_most(&self, keys: usize) {
        let waiting = self.queue.pending_at_most(keys);
        let _ = tokio::time::timeout(self.config.mirror_timeout, waiting).await;
    }
}
