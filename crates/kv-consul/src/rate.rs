//! Limits the rate of a watch's queries.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket: `burst` at once, `rate` a second.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// Time for one token; zero for no limit.
    interval: Duration,
    /// When the bucket will be full again.
    full_at: Instant,
    burst: u32,
}

impl RateLimit {
    pub(crate) fn new(rate: f64, burst: u32) -> Self {
        let interval = if rate > 0.0 {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)
        } else {
            Duration::ZERO
        };
        Self {
            interval,
            full_at: Instant::now(),
            burst: burst.max(1),
        }
    }

    /// Waits for a token and takes it.
    pub(crate) async fn wait(&mut self) {
        let now = Instant::now();
        let full_at = self.full_at.max(now);
        // A token is there when the bucket lacks less than the whole burst.
        let slack = self.interval.saturating_mul(self.burst - 1);
        let wait = full_at.saturating_duration_since(now).saturating_sub(slack);
        self.full_at = full_at
            .checked_add(self.interval)
            .unwrap_or_else(|| now + Duration::from_secs(86_400));
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waits(rate: f64, burst: u32, calls: usize) -> Vec<u64> {
        let mut limit = RateLimit::new(rate, burst);
        let mut waits = Vec::new();
        for _ in 0..calls {
            let start = Instant::now();
            limit.wait().await;
            waits.push(start.elapsed().as_millis() as u64);
        }
        waits
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_the_rate() {
        assert_eq!(waits(2.0, 1, 4).await, [0, 500, 500, 500]);
        assert_eq!(waits(1.0, 3, 5).await, [0, 0, 0, 1000, 1000]);
        assert_eq!(waits(0.0, 1, 3).await, [0, 0, 0]);
    }
}
