//! `GET /debug/pprof/profile?seconds=N`: where the process spends its CPU time.
//!
//! The profiler interrupts the threads that compute, 99 times a second each, and unwinds their stacks. It
//! belongs to the process, so that one profile is made at a time.

use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use tokio_util::sync::CancellationToken;

use super::answer::{Refused, answer};
use super::format;

/// Samples per second of CPU time. Not 100, which other timers have.
const FREQUENCY: i32 = 99;
const DEFAULT: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(120);
/// A thread that is interrupted there may hold a lock that unwinding needs.
const NOT_UNWOUND: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// The handler. `shutdown` ends a profile that is being made.
pub(super) async fn profile(
    State(shutdown): State<CancellationToken>,
    RawQuery(query): RawQuery,
) -> Response {
    let made = tokio::select! {
        made = make(query.as_deref().unwrap_or_default()) => made,
        () = shutdown.cancelled() => Err(Refused::Busy("the process is shutting down".to_owned())),
    };
    answer("profile", made)
}

/// The profiler stops when the future is dropped.
async fn make(query: &str) -> Result<Vec<u8>, Refused> {
    let duration = duration_of(query)?;
    let busy =
        |error: pprof::Error| Refused::Busy(format!("cannot profile now: {error}; retry later"));
    let guard: ProfilerGuard<'static> = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY)
        .blocklist(&NOT_UNWOUND)
        .build()
        .map_err(busy)?;
    tracing::info!(seconds = duration.as_secs(), "recording a CPU profile");
    tokio::time::sleep(duration).await;
    // Symbols are looked up, which takes seconds at first.
    let encode = move || {
        let report = guard.report().build().map_err(busy)?;
        Ok(format::encode(&report, duration, FREQUENCY))
    };
    let encoded = tokio::task::spawn_blocking(encode).await;
    encoded.unwrap_or_else(|ended| Err(Refused::Busy(ended.to_string())))
}

fn duration_of(query: &str) -> Result<Duration, Refused> {
    let mut duration = DEFAULT;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let seconds = pair.strip_prefix("seconds=").ok_or_else(|| {
            Refused::BadQuery(format!(
                "unknown parameter {pair:?}: only seconds is allowed"
            ))
        })?;
        let whole = seconds.parse().ok().map(Duration::from_secs);
        duration = whole
            .filter(|duration| (Duration::from_secs(1)..=LONGEST).contains(duration))
            .ok_or_else(|| {
                let most = LONGEST.as_secs();
                Refused::BadQuery(format!("seconds must be a number from 1 to {most}"))
            })?;
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bounded_time_is_asked_for() {
        assert_eq!(duration_of(""), Ok(DEFAULT));
        assert_eq!(duration_of("seconds=2"), Ok(Duration::from_secs(2)));
        for wrong in [
            "seconds=0",
            "seconds=121",
            "seconds=x",
            "second=2",
            "seconds=-1",
        ] {
            assert!(
                matches!(duration_of(wrong), Err(Refused::BadQuery(_))),
                "{wrong}"
            );
        }
    }
}
