//! The queue of writes to the secondary.
//!
//! At most one change per key waits, however many writes there are, and at most one per key is in
//! progress: a slow secondary costs memory in proportion to the keys, and the last write of a key
//! is the last to arrive.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use kv_core::{StoreError, Value, lock};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::change::Change;
use crate::roles::Route;

/// Keys that are written to the secondary at the same time.
pub(crate) const WORKERS: usize = 16;

/// Most keys that may wait. Beyond that, a write counts as a failed mirror write, and the next
/// comparison finds the difference.
const MAX_WAITING: usize = 100_000;

/// What to do with a key.
pub(crate) enum Task<V> {
    /// Mirror a write.
    Follow(Change<V>),
    /// Copy a value of the primary.
    Copy(V),
}

pub(crate) struct Job<V> {
    pub(crate) key: String,
    pub(crate) task: Task<V>,
    pub(crate) route: Route<V>,
    /// Cancelled when the work must be given up.
    pub(crate) given_up: CancellationToken,
}

struct Queue<V> {
    /// Keys that wait and are not in progress, oldest first.
    order: VecDeque<String>,
    waiting: HashMap<String, (Task<V>, Route<V>)>,
    under_way: HashSet<String>,
    /// Tokens of the work in progress.
    given_up: CancellationToken,
}

impl<V> Queue<V> {
    /// Keys that wait or are in progress.
    fn pending(&self) -> usize {
        let both = self
            .under_way
            .iter()
            .filter(|key| self.waiting.contains_key(*key));
        self.waiting.len() + self.under_way.len() - both.count()
    }
}

/// The queue between writers of the primary and the tasks that write to the secondary.
pub(crate) struct Mirror<V> {
    /// Locked alone.
    queue: Mutex<Queue<V>>,
    /// The length of the queue; set while the queue is locked, so that it cannot be outdated.
    gauge: Gauge,
    more: Notify,
    done: Notify,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} keys are already waiting to be mirrored")]
pub(crate) struct Full;

impl<V: Value> Mirror<V> {
    /// `gauge` shows how many keys are pending.
    pub(crate) fn new(gauge: Gauge) -> Self {
        let queue = Queue {
            order: VecDeque::new(),
            waiting: HashMap::new(),
            under_way: HashSet::new(),
            given_up: CancellationToken::new(),
        };
        Self {
            queue: Mutex::new(queue),
            gauge,
            more: Notify::new(),
            done: Notify::new(),
        }
    }

    /// # Errors
    /// The queue is full; returns the task.
    pub(crate) fn push(
        &self,
        key: &str,
        task: Task<V>,
        route: &Route<V>,
    ) -> Result<(), (Task<V>, Full)> {
        let mut queue = lock(&self.queue);
        if let Some((waiting, _)) = queue.waiting.get_mut(key) {
            // The waiting change already includes the copy.
            if let Task::Follow(change) = task {
                if let Task::Follow(before) = waiting {
                    before.join(change);
                } else {
                    *waiting = Task::Follow(change);
                }
            }
            return Ok(());
        }
        if queue.waiting.len() >= MAX_WAITING {
            return Err((task, Full));
        }
        queue.waiting.insert(key.to_owned(), (task, route.clone()));
        if !queue.under_way.contains(key) {
            queue.order.push_back(key.to_owned());
            self.more.notify_one();
        }
        self.show(&queue);
        Ok(())
    }

    /// The next task; [`Mirror::finished`] must follow.
    pub(crate) async fn next(&self) -> Job<V> {
        loop {
            {
                let mut queue = lock(&self.queue);
                if let Some(key) = queue.order.pop_front()
                    && let Some((task, route)) = queue.waiting.remove(&key)
                {
                    queue.under_way.insert(key.clone());
                    if !queue.order.is_empty() {
                        // A permit is stored for one waiter only.
                        self.more.notify_one();
                    }
                    return Job {
                        key,
                        task,
                        route,
                        given_up: queue.given_up.clone(),
                    };
                }
            }
            self.more.notified().await;
        }
    }

    pub(crate) fn finished(&self, key: &str) {
        let mut queue = lock(&self.queue);
        queue.under_way.remove(key);
        if queue.waiting.contains_key(key) {
            queue.order.push_back(key.to_owned());
            self.more.notify_one();
        }
        self.show(&queue);
        drop(queue);
        self.done.notify_waiters();
    }

    /// Keys that wait or are in progress.
    pub(crate) fn pending(&self) -> usize {
        lock(&self.queue).pending()
    }

    /// Waits until at most `keys` are pending.
    pub(crate) async fn pending_at_most(&self, keys: usize) {
        loop {
            let mut done = std::pin::pin!(self.done.notified());
            done.as_mut().enable();
            if self.pending() <= keys {
                return;
            }
            done.await;
        }
    }

    /// Removes and returns the waiting tasks, and cancels those in progress.
    pub(crate) fn give_up(&self) -> Vec<(String, Task<V>)> {
        let mut queue = lock(&self.queue);
        queue.order.clear();
        let waited = queue.waiting.drain().map(|(key, (task, _))| (key, task));
        let waited = waited.collect();
        std::mem::take(&mut queue.given_up).cancel();
        self.show(&queue);
        waited
    }

    fn show(&self, queue: &Queue<V>) {
        let pending = i64::try_from(queue.pending()).unwrap_or(i64::MAX);
        self.gauge.set(pending);
    }
}

impl<V: Value> Job<V> {
    /// Runs the task.
    pub(crate) async fn run(&self) -> Result<(), StoreError> {
        let change = match &self.task {
            Task::Follow(change) => change.clone(),
            Task::Copy(value) => Change::at_least(value.clone()),
        };
        let mut update = |existing: Option<&V>| change.apply(existing);
        self.route.secondary.cas(&self.key, &mut update).await?;
        Ok(())
    }
}
