//! How long senders are asked to wait before they try again.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use settings::{Kind, Report, format_duration, settings};

/// Senders write here how often they have tried, from 1.
pub const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

/// Part of a wait that is random, either way.
const JITTER: f64 = 0.5;

settings! {
    /// The Retry-After header of answers that ask the sender to try again.
    #[serde(deny_unknown_fields)]
    pub struct RetryAfterHeader {
        /// Ask senders to wait longer after each attempt, according to their Retry-Attempt header.
        /// When false, Retry-After is the time after which this instance expects to accept the
        /// request, at most 5s.
        #[setting(flag = "enabled", kind = Kind::Bool, default = "false")]
        pub enabled: bool,
        /// Wait after the first attempt. It doubles with each further attempt; a random jitter of up
        /// to half of it is added or subtracted.
        #[setting(flag = "min-backoff", kind = Kind::Duration, default = "6s", nonzero)]
        pub min_backoff: Duration,
        /// Longest wait; at least min_backoff. A replica that waits longer than
        /// ha_tracker_failover_timeout and ha_tracker_sender_backoff together counts as silent.
        #[setting(flag = "max-backoff", kind = Kind::Duration, default = "1m36s", nonzero)]
        pub max_backoff: Duration,
    }
}

impl RetryAfterHeader {
    /// The rules about the values.
    pub fn check(&self, report: &mut Report<'_>) {
        self.check_nonzero(report);
        if self.max_backoff < self.min_backoff && report.accepted(&["max_backoff", "min_backoff"]) {
            let problem = format!(
                "got {}; must be at least {}",
                format_duration(self.max_backoff),
                report.described("min_backoff", format_duration(self.min_backoff))
            );
            report.bad_together(&["max_backoff", "min_backoff"], problem);
        }
    }

    /// The value of the header, whole seconds. `known` is the wait that this instance knows to be
    /// needed; `attempt` is the sender's header, which counts as 1 if it is missing or not a number.
    /// This is Mimir's rule, except that the result is never below `known`.
    pub(crate) fn seconds(&self, known: u64, attempt: Option<&HeaderValue>) -> u64 {
        if !self.enabled {
            return known;
        }
        let random = rand::random_range(-JITTER..=JITTER);
        self.backoff_seconds(attempts(attempt), random).max(known)
    }

    /// `random` is the share that the wait is shifted by.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two durations"
    )]
    fn backoff_seconds(&self, attempt: i32, random: f64) -> u64 {
        let (min, max) = (
            self.min_backoff.as_secs_f64(),
            self.max_backoff.as_secs_f64(),
        );
        let wait = (min * 2.0_f64.powi(attempt - 1)).min(max);
        // The rules say that the shortest is not above the longest.
        let wait = (wait + wait * random).min(max).max(min);
        wait as u64
    }
}

/// At least 1.
fn attempts(header: Option<&HeaderValue>) -> i32 {
    let number = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    number.unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> RetryAfterHeader {
        RetryAfterHeader {
            enabled: true,
            ..RetryAfterHeader::default()
        }
    }

    #[test]
    fn a_wait_doubles_with_each_attempt_up_to_the_longest() {
        let waits = [1, 2, 3, 4, 5, 6, i32::MAX].map(|attempt| {
            let of = |random| enabled().backoff_seconds(attempt, random);
            (of(-JITTER), of(0.0), of(JITTER))
        });
        assert_eq!(
            waits,
            [
                (6, 6, 9),
                (6, 12, 18),
                (12, 24, 36),
                (24, 48, 72),
                (48, 96, 96),
                (48, 96, 96),
                (48, 96, 96),
            ]
        );
    }

    #[test]
    fn what_is_known_is_the_least_and_all_there_is_when_off() {
        let header = HeaderValue::from_static;
        assert_eq!(enabled().seconds(200, None), 200);
        assert!((6..=9).contains(&enabled().seconds(1, None)));
        assert!((48..=96).contains(&enabled().seconds(1, Some(&header("50")))));
        assert_eq!(RetryAfterHeader::default().seconds(3, None), 3);
        let read = ["2", " 7 ", "0", "-4", "1.5", "many", "99999999999"];
        let read = read.map(|text| attempts(Some(&header(text))));
        assert_eq!(read, [2, 7, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn the_longest_is_not_below_the_shortest() {
        let mut report = Report::default();
        let wrong = RetryAfterHeader {
            max_backoff: Duration::from_secs(1),
            ..enabled()
        };
        wrong.check(&mut report);
        let mistakes = report.into_result().unwrap_err().to_string();
        assert_eq!(
            mistakes,
            "max_backoff: got 1s; must be at least min_backoff 6s"
        );
        let mut report = Report::default();
        RetryAfterHeader::default().check(&mut report);
        assert!(report.is_empty());
    }
}
