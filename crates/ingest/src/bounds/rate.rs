//! Rate limits.

use std::sync::Mutex;
use std::time::Duration;

use kv_core::lock;
use tokio::time::Instant;

/// A token bucket. It may admit more than it has; it then refuses requests until the debt is paid
/// off, so that a request larger than the burst is delayed, but never refused forever. The debt is
/// at most one burst: no request closes the bucket for longer than two take.
#[derive(Debug)]
pub(crate) struct TokenBucket(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// `None` before the first use: the bucket is then full.
    filled_at: Option<Instant>,
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self(Mutex::new(Bucket {
            tokens: 0.0,
            filled_at: None,
        }))
    }
}

impl TokenBucket {
    /// As [`TokenBucket::take`]; the charge is returned when it is dropped.
    pub(crate) fn charge(
        &self,
        amount: u64,
        rate: f64,
        burst: u64,
    ) -> Result<Charge<'_>, Duration> {
        self.take(amount, rate, burst)?;
        let is_limited = rate > 0.0;
        Ok(Charge {
            from: [is_limited.then_some(self), None],
            amount,
        })
    }

    /// Takes `amount`, or says how long until it could. `rate` is per second; `burst` is what can
    /// come at once (one second's worth if 0). A `rate` of 0 is no limit.
    fn take(&self, amount: u64, rate: f64, burst: u64) -> Result<(), Duration> {
        if rate <= 0.0 || amount == 0 {
            return Ok(());
        }
        let burst = if burst == 0 { rate } else { burst as f64 };
        let amount = amount as f64;
        let now = Instant::now();
        let mut bucket = lock(&self.0);
        bucket.tokens = match bucket.filled_at {
            None => burst,
            Some(filled_at) => {
                let gained = now.saturating_duration_since(filled_at).as_secs_f64() * rate;
                (bucket.tokens + gained).min(burst)
            }
        };
        bucket.filled_at = Some(now);
        let needed = amount.min(burst);
        if bucket.tokens < needed {
            let wait = (needed - bucket.tokens) / rate;
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        bucket.tokens = (bucket.tokens - amount).max(-burst);
        Ok(())
    }

    /// Tokens at the last use.
    #[cfg(test)]
    pub(crate) fn left(&self) -> f64 {
        lock(&self.0).tokens
    }

    /// Returns the charge of a request that failed, so that its retries are not charged again.
    fn give_back(&self, amount: u64) {
        // An excess is cut off at the next `take`.
        lock(&self.0).tokens += amount as f64;
    }
}

/// The charge of a request. Unless it is kept, it is returned when dropped, however the request
/// ends, also if the sender disconnects.
#[derive(Debug)]
#[must_use]
pub(crate) struct Charge<'a> {
    from: [Option<&'a TokenBucket>; 2],
    amount: u64,
}

impl<'a> Charge<'a> {
    /// Both, of the same amount, from a bucket each.
    pub(crate) fn and(mut self, mut other: Self) -> Self {
        let [second, _] = std::mem::take(&mut other.from);
        let [first, _] = std::mem::take(&mut self.from);
        Self {
            from: [first, second],
            amount: self.amount,
        }
    }

    /// The request has come to its end.
    pub(crate) fn keep(mut self) {
        self.from = [None, None];
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        for bucket in self.from.iter().flatten() {
            bucket.give_back(self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_lets_its_burst_through_and_then_its_rate() {
        let bucket = TokenBucket::default();
        assert_eq!(bucket.take(100, 10.0, 100), Ok(()));
        let wait = bucket.take(10, 10.0, 100).unwrap_err();
        assert_eq!(wait.as_millis(), 1000);
        tokio::time::advance(wait).await;
        assert_eq!(bucket.take(10, 10.0, 100), Ok(()));
        assert!(bucket.take(1, 10.0, 100).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_burst_is_let_through_at_once_and_paid_for_later() {
        let bucket = TokenBucket::default();
        assert_eq!(bucket.take(250, 10.0, 100), Ok(()));
        let wait = bucket.take(100, 10.0, 100).unwrap_err();
        assert_eq!(wait.as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_taken_again() {
        let bucket = TokenBucket::default();
        for _ in 0..10 {
            assert_eq!(bucket.take(100, 10.0, 100), Ok(()));
            bucket.give_back(100);
        }
    }

    #[tokio::test]
    async fn no_rate_is_no_limit() {
        let bucket = TokenBucket::default();
        for _ in 0..100 {
            assert_eq!(bucket.take(u64::MAX, 0.0, 0), Ok(()));
        }
    }
}
