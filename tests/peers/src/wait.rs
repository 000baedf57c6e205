//! Waiting for a condition.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// For what takes milliseconds when nothing else runs.
pub const SHORT: Duration = Duration::from_secs(20);
/// For what includes starting servers on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(50);

/// Polls `check` until it is `Ok`, and returns what it holds.
///
/// `Err` describes the state, for the message when `timeout` passes.
///
/// # Panics
/// When the time is over, with `what` and the last state.
pub async fn wait_for<T, F, C>(what: &str, timeout: Duration, check: F) -> T
where
    F: FnMut() -> C,
    C: Future<Output = Result<T, String>>,
{
    match comes_true(what, timeout, check).await {
        Ok(value) => value,
        Err(problem) => panic!("{problem}"),
    }
}

/// [`wait_for`] for those who go on without it.
///
/// # Errors
/// When the time is over, with `what` and the last state.
pub async fn comes_true<T, F, C>(what: &str, timeout: Duration, mut check: F) -> Result<T, String>
where
    F: FnMut() -> C,
    C: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + timeout;
    let mut last = "no answer yet".to_owned();
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(state)) => last = state,
            Err(_) => {
                return Err(format!(
                    "waited {timeout:?} for: {what}; the last check hung; before: {last}"
                ));
            }
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {timeout:?} for: {what}; last: {last}"));
        }
        sleep(INTERVAL).await;
    }
}
