//! Work that takes long enough to delay other tasks of the same thread.

use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::answer::Rejection;

/// Requests that decode to more than this are processed where they do not delay other requests of
/// the same thread, bytes. As much of a usual request takes a quarter of a millisecond to decompress and
/// scan; full of unknown clusters, it takes far longer.
pub(crate) const LONG_WORK: usize = 2 << 20;

/// Whether so many bytes wait for a turn.
pub(crate) fn is_long(bytes: usize) -> bool {
    bytes > LONG_WORK
}

/// Limits concurrent long work, which would otherwise take the processor from everything else:
/// small requests, gossip, `/ready`.
#[derive(Debug)]
pub(crate) struct LongWork {
    turns: Semaphore,
}

/// The right to do [`LongWork::run`]'s work now.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    /// None for short work.
    _permit: Option<SemaphorePermit<'a>>,
    is_long: bool,
}

impl LongWork {
    /// On half of the processors.
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            turns: Semaphore::new(processors.div_ceil(2)),
        }
    }

    /// Waits for a turn to process this many bytes; first come, first served.
    pub(crate) async fn turn(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Turn<'_>, Rejection> {
        if !is_long(bytes) {
            return Ok(Turn {
                _permit: None,
                is_long: false,
            });
        }
        match tokio::time::timeout_at(deadline, self.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(Turn {
                _permit: Some(permit),
                is_long: true,
            }),
            _ => Err(Rejection::unavailable(
                "this instance is busy with other large push requests; retry later, or send \
                 smaller batches (max_samples_per_send)",
            )),
        }
    }
}

impl Turn<'_> {
    /// Does the work; long work is done such that other tasks of this thread move to other threads.
    pub(crate) fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        if !self.is_long {
            return work();
        }
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            _ => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_work_waits_for_its_turn_and_short_work_does_not() {
        let work = LongWork::new();
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut turns = Vec::new();
        while work.turns.available_permits() > 0 {
            turns.push(work.turn(LONG_WORK + 1, deadline).await.unwrap());
        }
        assert!(!turns.is_empty());
        let short = work.turn(LONG_WORK, deadline).await.unwrap();
        assert_eq!(short.run(|| 7), 7);
        let refused = work.turn(LONG_WORK + 1, deadline).await.unwrap_err();
        assert_eq!(refused.status(), http::StatusCode::SERVICE_UNAVAILABLE);
        turns.pop();
        let later = Instant::now() + Duration::from_secs(1);
        assert_eq!(work.turn(LONG_WORK + 1, later).await.unwrap().run(|| 8), 8);
    }
}
