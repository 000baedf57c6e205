//! How long terms last.

use std::time::Duration;

use crate::ElectionError;

/// The longest timeout.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Times of an election; the same for all its participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// A participant that has not renewed its term for this long is replaced. Default 15 s. At most a
    /// day.
    pub timeout: Duration,
    /// Time between two renewals. Default a fifth of the default timeout, 3 s. At most half of the
    /// timeout.
    pub renewal: Duration,
    /// The work of a term ends this long before another can be elected, so that it has stopped by
    /// then. Default 1 s. Less than half of the timeout.
    pub margin: Duration,
    /// For stores without a quorum, such as gossip: how long a newly elected participant waits and
    /// then looks whether it still is, before its work begins. Longer than a write takes to reach
    /// all. Default 0, which is right for etcd and Consul.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            renewal: Duration::from_secs(3),
            margin: Duration::from_secs(1),
            settle: Duration::ZERO,
        }
    }
}

impl Timing {
    /// For this timeout, with the other times in proportion.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self {
            timeout,
            renewal: timeout / 5,
            margin: timeout / 15,
            settle: Duration::ZERO,
        }
    }

    /// The same, for a store in which a write takes up to `settle` to reach all.
    #[must_use]
    pub fn and_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ElectionError> {
        let half = self.timeout / 2;
        let rules = [
            (
                "timeout",
                self.timeout,
                !self.timeout.is_zero() && self.timeout <= LONGEST,
                "more than 0, and at most a day",
            ),
            (
                "renewal",
                self.renewal,
                !self.renewal.is_zero() && self.renewal <= half,
                "more than 0, and at most half of the timeout",
            ),
            (
                "margin",
                self.margin,
                self.margin < half,
                "less than half of the timeout",
            ),
            (
                "settle",
                self.settle,
                self.settle < half,
                "less than half of the timeout",
            ),
        ];
        for (what, got, is_good, rule) in rules {
            if !is_good {
                return Err(ElectionError::Timing { what, got, rule });
            }
        }
        Ok(())
    }

    /// How long the work may go on after the beginning of a successful write.
    pub(crate) fn term(&self) -> Duration {
        self.timeout - self.margin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_cannot_work_are_named() {
        Timing::default().check().unwrap();
        Timing::with_timeout(Duration::from_secs(2))
            .check()
            .unwrap();
        let second = Duration::from_secs(1);
        let none = Timing {
            timeout: Duration::ZERO,
            ..Timing::default()
        };
        assert!(
            none.check()
                .unwrap_err()
                .to_string()
                .starts_with("timeout is 0ns")
        );
        let endless = Timing::with_timeout(Duration::MAX).check().unwrap_err();
        let text = endless.to_string();
        assert!(text.ends_with("more than 0, and at most a day"), "{text}");
        let rare = Timing {
            renewal: 2 * second,
            ..Timing::with_timeout(3 * second)
        };
        let text = rare.check().unwrap_err().to_string();
        assert_eq!(
            text,
            "renewal is 2s; it must be more than 0, and at most half of the timeout"
        );
        let long = Timing::with_timeout(3 * second).and_settle(2 * second);
        assert!(!long.check().unwrap_err().is_retryable());
    }
}
