//! Bounded retries with jittered pauses.

use std::time::Duration;

/// How often a call is tried and how long it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts of one call, the first included. 0 counts as 1.
    pub attempts: u32,
    /// Pauses after a write that lost against another's.
    pub conflict: Backoff,
    /// Pauses after a failure.
    pub failure: Backoff,
    /// Bound of the whole call, pauses included.
    pub deadline: Duration,
}

/// Pauses that double from the first to the longest. Each varies randomly by half, so that callers
/// that failed together do not retry together.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// Mean of the first pause.
    pub first: Duration,
    /// Mean of the longest.
    pub longest: Duration,
}

impl Backoff {
    /// All pauses have this mean.
    pub const fn constant(pause: Duration) -> Self {
        Self {
            first: pause,
            longest: pause,
        }
    }

    /// The pause after `failures` failures in a row, at least one; drawn again at each call.
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let mean = self
            .first
            .saturating_mul(1 << doublings)
            .min(self.longest.max(self.first));
        let drawn = mean.as_secs_f64() * rand::random_range(0.5..1.5);
        Duration::try_from_secs_f64(drawn).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_jittered() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_millis(350),
        };
        for (failures, mean_ms) in [(0, 100), (1, 100), (2, 200), (3, 350), (1000, 350)] {
            let mean = Duration::from_millis(mean_ms);
            let drawn: Vec<Duration> = (0..200).map(|_| backoff.pause(failures)).collect();
            assert!(
                drawn
                    .iter()
                    .all(|pause| *pause >= mean / 2 && *pause <= mean * 3 / 2),
                "{failures} failures: {drawn:?}"
            );
            assert!(drawn.iter().any(|pause| *pause != drawn[0]), "no jitter");
        }
    }

    #[test]
    fn no_pause_is_too_long() {
        let never = Backoff::constant(Duration::MAX);
        let longest = (0..100).map(|failures| never.pause(failures)).max();
        assert_eq!(longest, Some(Duration::MAX));
    }
}
