//! Limits the push requests in flight.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::gauge::Gauge;

/// A limited quantity in flight.
#[derive(Debug)]
pub(crate) struct InFlight {
    current: AtomicU64,
    /// 0 = no limit.
    limit: AtomicU64,
    gauge: Gauge,
}

/// The place of a request in flight, free again when dropped.
#[derive(Debug)]
pub struct InFlightRequest<'a>(&'a InFlight, u64);

impl InFlight {
    /// Shows the current amount in `gauge`.
    pub(crate) fn new(limit: u64, gauge: Gauge) -> Self {
        Self {
            current: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            gauge,
        }
    }

    /// Adds `amount` unless that would exceed the limit. An amount that exceeds the limit by itself
    /// is admitted when nothing else is in flight, because otherwise it could never succeed.
    pub(crate) fn enter(&self, amount: u64) -> Option<InFlightRequest<'_>> {
        let limit = self.limit();
        // Atomic: adding first and subtracting again could refuse other requests that fit.
        let entered = self
            .current
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
                let after = before.saturating_add(amount);
                let fits = limit == 0 || before == 0 || after <= limit;
                fits.then_some(after)
            });
        entered.ok()?;
        self.gauge.inc_by(amount.cast_signed());
        Some(InFlightRequest(self, amount))
    }

    /// Whether the limit is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.limit() > 0 && self.current() >= self.limit()
    }

    pub(crate) fn current(&self) -> u64 {
        self.current.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on; what is in flight stays.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// What the gauge shows.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> i64 {
        self.gauge.get()
    }
}

impl Drop for InFlightRequest<'_> {
    fn drop(&mut self) {
        let Self(all, amount) = self;
        all.current.fetch_sub(*amount, Ordering::Relaxed);
        all.gauge.dec_by(amount.cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_is_bounded_and_given_back() {
        let bytes = InFlight::new(100, Gauge::default());
        let first = bytes.enter(60).unwrap();
        assert!(bytes.enter(60).is_none());
        assert_eq!(bytes.current(), 60);
        drop(first);
        let alone = bytes.enter(1000).expect("alone, it may exceed the limit");
        assert!(bytes.enter(1).is_none());
        drop(alone);
        assert_eq!(bytes.current(), 0);
        assert_eq!(bytes.shown(), 0);
    }

    #[test]
    fn what_fits_gets_in_while_others_are_refused() {
        let bytes = InFlight::new(100, Gauge::default());
        let _base = bytes.enter(50).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100_000).for_each(|_| assert!(bytes.enter(1000).is_none())));
            scope.spawn(|| (0..100_000).for_each(|_| assert!(bytes.enter(50).is_some())));
        });
    }
}
