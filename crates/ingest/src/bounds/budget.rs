//! The memory limit of all push requests together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::answer::{RETRY_AFTER, Rejection};
use crate::cause::Cause;
use crate::instance_limit::InstanceLimit;

/// A request that uses at most this much memory is small, bytes: enough for usual senders'
/// requests.
const SMALL: u64 = 2 << 20;
/// Part of the limit that is reserved for small requests, so that a few senders of large or endless
/// ones do not keep all others out.
const RESERVED_PART: u64 = 4;
/// With a tiny limit, small means less, or the reserve would suffice for one request only.
const SMALL_PART: u64 = 32;

/// The memory of the push requests in flight: compressed and decoded bodies, what the scan notes,
/// what waits for the downstream.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicU64,
    /// Bytes; 0 = no limit.
    limit: AtomicU64,
}

/// The memory of one request; released when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            held: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        }
    }

    /// For a request that uses nothing yet.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held {
            budget: self,
            bytes: 0,
        }
    }

    /// Bytes that all requests hold.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// From now on; what is held stays.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The total that a request may bring the use to, if it uses this many bytes itself.
    fn limit_for(&self, bytes: u64) -> u64 {
        match self.limit.load(Ordering::Relaxed) {
            0 => u64::MAX,
            limit if bytes <= SMALL.min(limit / SMALL_PART) => limit,
            limit => limit - limit / RESERVED_PART,
        }
    }
}

impl Held<'_> {
    /// Must be called before this many further bytes are allocated.
    ///
    /// # Errors
    /// The limit for requests of this size is reached: the request, of which nothing was forwarded
    /// yet, is refused.
    pub fn grow(&mut self, more: u64) -> Result<(), Rejection> {
        let mine = self.bytes.saturating_add(more);
        let limit = self.budget.limit_for(mine);
        if mine > limit {
            return Err(too_large(mine, limit));
        }
        // Atomic: adding first and subtracting again could refuse other requests that fit.
        let held = &self.budget.held;
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            let after = before.saturating_add(more);
            (after <= limit).then_some(after)
        })
        .map_err(|held| exhausted(held, more, limit))?;
        self.bytes = mine;
        Ok(())
    }

    /// Must be called after this many bytes have been released.
    pub fn shrink(&mut self, less: u64) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.budget.held.fetch_sub(less, Ordering::Relaxed);
    }

    /// Makes it so many bytes, which are no more than now.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        self.shrink(self.bytes.saturating_sub(bytes));
    }

    /// Bytes that the request holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A retry cannot succeed.
fn too_large(bytes: u64, limit: u64) -> Rejection {
    Rejection::refused(
        Cause::TooLarge,
        format!(
            "the request needs at least {bytes} bytes of memory, more than the {limit} bytes \
             that one request may use \
             (distributor.instance_limits.max_inflight_push_requests_bytes); send smaller \
             batches (max_samples_per_send) or raise the limit"
        ),
    )
}

fn exhausted(held: u64, more: u64, limit: u64) -> Rejection {
    let message = format!(
        "push requests use {held} bytes of memory on this instance; {more} more would exceed its \
         limit, which is {limit} for a request of this size \
         (distributor.instance_limits.max_inflight_push_requests_bytes); retry later"
    );
    Rejection::overloaded(
        InstanceLimit::InflightPushRequestsBytes,
        RETRY_AFTER,
        &message,
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::answer::PushAnswer;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_held_is_counted_and_given_back() {
        let budget = Budget::new(100 * MIB);
        let mut first = budget.hold();
        first.grow(10).unwrap();
        first.grow(5).unwrap();
        let mut second = budget.hold();
        second.grow(7).unwrap();
        assert_eq!((budget.held(), first.bytes()), (22, 15));
        first.shrink(4);
        assert_eq!(budget.held(), 18);
        first.shrink_to(100);
        assert_eq!(budget.held(), 18);
        drop(first);
        drop(second);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_is_refused_is_not_counted_and_can_be_asked_for_later() {
        let budget = Budget::new(100 * MIB);
        let mut first = budget.hold();
        first.grow(50 * MIB).unwrap();
        let mut second = budget.hold();
        second.grow(20 * MIB).unwrap();
        let refused = PushAnswer::from(second.grow(10 * MIB).unwrap_err());
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.wait().is_some(), "{refused:?}");
        assert!(
            refused
                .message()
                .contains("max_inflight_push_requests_bytes"),
            "{refused:?}"
        );
        assert_eq!((budget.held(), second.bytes()), (70 * MIB, 20 * MIB));
        drop(first);
        second.grow(10 * MIB).unwrap();
    }

    #[test]
    fn large_requests_leave_room_for_small_ones() {
        let budget = Budget::new(100 * MIB);
        let mut large: Vec<_> = (0..8).map(|_| budget.hold()).collect();
        let grown = large.iter_mut().filter_map(|held| held.grow(10 * MIB).ok());
        assert_eq!(grown.count(), 7);
        let mut small: Vec<_> = (0..16).map(|_| budget.hold()).collect();
        let grown = small.iter_mut().filter_map(|held| held.grow(2 * MIB).ok());
        assert_eq!(grown.count(), 15);
        // One that was small does not become large there.
        assert!(small[0].grow(2 * MIB).is_err());
        assert_eq!(budget.held(), 100 * MIB);
    }

    #[test]
    fn what_can_never_be_held_is_told_so() {
        let budget = Budget::new(100 * MIB);
        let mut held = budget.hold();
        held.grow(70 * MIB).unwrap();
        let refused = PushAnswer::from(held.grow(10 * MIB).unwrap_err());
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(refused.wait(), None);
        assert!(held.grow(u64::MAX).is_err());
        assert_eq!(budget.held(), 70 * MIB);
    }

    #[test]
    fn no_limit_refuses_nothing() {
        let budget = Budget::new(0);
        let mut held = budget.hold();
        held.grow(u64::MAX / 2).unwrap();
        assert_eq!(budget.held(), u64::MAX / 2);
    }

    #[test]
    fn what_fits_gets_in_while_others_are_refused() {
        let budget = Budget::new(100 * MIB);
        let mut base = budget.hold();
        base.grow(60 * MIB).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..100_000).for_each(|_| assert!(budget.hold().grow(70 * MIB).is_err()));
            });
            scope
                .spawn(|| (0..100_000).for_each(|_| assert!(budget.hold().grow(10 * MIB).is_ok())));
        });
    }
}
