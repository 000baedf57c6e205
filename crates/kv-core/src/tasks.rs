//! Background tasks: an owner for the tasks of a component, and the error of a task that ended.

use std::fmt;

use tokio::task::{JoinError, JoinSet};

/// A background task ended although it was not stopped. Its component can no longer be relied on: a
/// program should exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailed {
    /// Which task, as the subject of a sentence: `a task of the HA tracker`.
    pub task: &'static str,
    /// How it ended.
    pub cause: FailureCause,
}

/// How a task ended unexpectedly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureCause {
    /// It panicked: a bug. The panic's message.
    Panicked(String),
    /// It returned: a bug.
    EndedEarly,
    /// It cannot continue, for a reason that is not a bug. The text names the task.
    Fatal(String),
}

impl fmt::Display for TaskFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task;
        match &self.cause {
            FailureCause::Panicked(error) => write!(f, "{task} panicked: {error}"),
            FailureCause::EndedEarly => write!(f, "{task} ended early"),
            FailureCause::Fatal(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for TaskFailed {}

impl TaskFailed {
    /// `task` ended for this reason, which names it.
    pub fn fatal(task: &'static str, reason: impl Into<String>) -> Self {
        Self {
            task,
            cause: FailureCause::Fatal(reason.into()),
        }
    }

    /// Translates the end of a spawned task.
    pub fn ended(task: &'static str, outcome: Result<FailureCause, JoinError>) -> Self {
        let cause = outcome.unwrap_or_else(|error| FailureCause::Panicked(error.to_string()));
        Self { task, cause }
    }
}

/// Owns the background tasks of one component. Dropping it aborts them.
#[derive(Debug)]
pub struct Tasks {
    /// As [`TaskFailed::task`].
    name: &'static str,
    running: JoinSet<FailureCause>,
}

impl Tasks {
    /// No tasks yet. Errors call each of them `name`, such as `a task of the HA tracker`.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            running: JoinSet::new(),
        }
    }

    /// Starts a task that runs until it is stopped. Must be called in a tokio runtime.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async {
            task.await;
            FailureCause::EndedEarly
        });
    }

    /// Starts a task that ends only if it cannot continue, with a reason that names the task.
    pub fn spawn_fallible(&mut self, task: impl Future<Output = String> + Send + 'static) {
        self.running
            .spawn(async { FailureCause::Fatal(task.await) });
    }

    /// Waits for a task that ends before the tasks are stopped; forever if there are none left.
    /// [`Send`], and cancel safe.
    pub async fn failed(&mut self) -> TaskFailed {
        match self.running.join_next().await {
            Some(outcome) => TaskFailed::ended(self.name, outcome),
            None => std::future::pending().await,
        }
    }

    /// Waits for the end of tasks that were told to stop. A panic is logged. [`Send`]. If it is
    /// cancelled, the tasks are aborted.
    pub async fn stopped(mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "{} panicked", self.name);
            }
        }
    }

    /// Aborts all tasks and waits until they are gone. [`Send`]. If it is cancelled, they are aborted
    /// all the same.
    pub async fn abort(mut self) {
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_task_is_told_in_a_sentence() {
        let mut tasks = Tasks::new("a task of the test");
        tasks.spawn(async { panic!("no value") });
        let failed = tasks.failed().await;
        assert!(matches!(failed.cause, FailureCause::Panicked(_)));
        let text = failed.to_string();
        assert!(text.starts_with("a task of the test panicked: "), "{text}");
        assert!(text.contains("no value"), "{text}");
        tasks.spawn(async {});
        let failed = tasks.failed().await;
        assert_eq!(failed.to_string(), "a task of the test ended early");
        tasks.spawn_fallible(async { "the test lost its port".to_owned() });
        let failed = tasks.failed().await;
        let expected = TaskFailed::fatal("a task of the test", "the test lost its port");
        assert_eq!(failed, expected);
        assert_eq!(failed.to_string(), "the test lost its port");
    }

    #[tokio::test]
    async fn tasks_that_go_on_do_not_fail_and_end_when_aborted() {
        let alive = std::sync::Arc::new(());
        let mut tasks = Tasks::new("a task of the test");
        let held = std::sync::Arc::clone(&alive);
        tasks.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let failed = futures::FutureExt::now_or_never(tasks.failed());
        assert_eq!(failed, None);
        tasks.abort().await;
        assert_eq!(std::sync::Arc::strong_count(&alive), 1);
    }

    #[tokio::test]
    async fn the_end_of_stopped_tasks_is_waited_for() {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = Tasks::new("a task of the test");
        tasks.spawn(async {
            let _ = stopped.await;
        });
        drop(stop);
        tasks.stopped().await;
    }
}
