//! Rate limits and the instance's bounds on what is in flight.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket. What it lets through may be larger than what it holds: it then stays closed
/// until the debt is paid, so that a request larger than the burst is delayed, never refused for
/// ever. The debt is at most one burst: no request closes the bucket for longer than two take.
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
    /// As [`TokenBucket::take`]; what is taken is given back when the charge is dropped.
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
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// What there was at the last look.
    #[cfg(test)]
    pub(super) fn left(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tokens
    }

    /// Gives back what was taken for a request that came to nothing, so that its retries are not
    /// charged again.
    fn give_back(&self, amount: u64) {
        // What is too much is cut off at the next `take`.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tokens += amount as f64;
    }
}

/// What a request was charged. Unless it is kept, it is given back: whatever ends the request, and
/// at whichever point, a sender that hangs up included.
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

/// Something of which only so much may be in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    current: AtomicU64,
    /// 0 = no limit.
    limit: u64,
}

/// Counts in flight until dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard<'a>(&'a InFlight, u64);

impl InFlight {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            current: AtomicU64::new(0),
            limit,
        }
    }

    /// Adds `amount` unless that would exceed the limit. One that alone exceeds it is let through
    /// when nothing else is in flight, else it could never succeed.
    pub(crate) fn enter(&self, amount: u64) -> Option<InFlightGuard<'_>> {
        // In one step: adding first and taking back would refuse others that fit meanwhile.
        let entered = self
            .current
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
                let after = before.saturating_add(amount);
                let fits = self.limit == 0 || before == 0 || after <= self.limit;
                fits.then_some(after)
            });
        entered.ok().map(|_| InFlightGuard(self, amount))
    }

    /// Whether nothing more would be let in now.
    pub(crate) fn is_full(&self) -> bool {
        self.limit > 0 && self.current() >= self.limit
    }

    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.current.fetch_sub(self.1, Ordering::Relaxed);
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

    #[test]
    fn what_is_in_flight_is_bounded_and_given_back() {
        let bytes = InFlight::new(100);
        let first = bytes.enter(60).unwrap();
        assert!(bytes.enter(60).is_none());
        assert_eq!(bytes.current(), 60);
        drop(first);
        let alone = bytes.enter(1000).expect("alone, it may exceed the limit");
        assert!(bytes.enter(1).is_none());
        drop(alone);
        assert_eq!(bytes.current(), 0);
    }

    #[test]
    fn what_fits_gets_in_while_others_are_refused() {
        let bytes = InFlight::new(100);
        let _base = bytes.enter(50).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100_000).for_each(|_| assert!(bytes.enter(1000).is_none())));
            scope.spawn(|| (0..100_000).for_each(|_| assert!(bytes.enter(50).is_some())));
        });
    }
}
