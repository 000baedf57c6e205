//! The hold: requests of standbys that were answered, and that no elected replica has made
//! superfluous yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smol_str::SmolStr;

use crate::Part;
use crate::terms::DONE_MS;

/// What a held request costs besides its body, bytes.
const OVERHEAD: u64 = 160;

/// A bound on bytes held, shared by many clusters: of a tenant, with that of the process above it.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    above: Option<Arc<Budget>>,
}

impl Budget {
    /// A budget of `limit` bytes, all of which also counts against the one `above`.
    pub fn new(limit: u64, above: Option<Arc<Budget>>) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            above,
        }
    }

    /// Another limit from now on. What is held stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let above = match &self.above {
            Some(above) => Some(Box::new(above.take(bytes)?)),
            None => None,
        };
        let limit = self.limit.load(Ordering::Relaxed);
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        taken.ok().map(|_| Share {
            budget: Arc::clone(self),
            bytes,
            _above: above,
        })
    }
}

/// Bytes of a budget; dropping it returns them.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
    _above: Option<Box<Share>>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A held request.
#[derive(Debug)]
pub(crate) struct Held<B> {
    pub(crate) number: u64,
    pub(crate) replica: SmolStr,
    oldest_ms: i64,
    newest_ms: i64,
    received_ms: i64,
    /// Samples up to this time need not be forwarded any more.
    done_ms: i64,
    pub(crate) body: B,
    share: Share,
}

impl<B: Clone> Held<B> {
    /// What is left of it after this time.
    pub(crate) fn part(&self, after_ms: i64) -> Part<B> {
        Part {
            after_ms: self.done_ms.max(after_ms),
            body: self.body.clone(),
        }
    }
}

impl<B> Held<B> {
    /// Its newest sample time, but before this time.
    pub(crate) fn newest_before(&self, before_ms: i64) -> i64 {
        self.newest_ms.min(before_ms.saturating_sub(1))
    }

    /// No sample that is still to be forwarded is older, ms; [`DONE_MS`] if none is left.
    fn next_ms(&self, after_ms: i64) -> i64 {
        let done_ms = self.done_ms.max(after_ms);
        if self.newest_ms <= done_ms {
            return DONE_MS;
        }
        self.oldest_ms.max(done_ms.saturating_add(1))
    }
}

/// The requests that one distributor holds of one cluster, in order of arrival.
#[derive(Debug)]
pub(crate) struct Hold<B> {
    held: VecDeque<Held<B>>,
    bytes: u64,
    budget: Arc<Budget>,
    numbers: u64,
}

/// A request to be held.
pub(crate) struct ToHold<'a> {
    pub(crate) replica: &'a str,
    pub(crate) oldest_ms: i64,
    pub(crate) newest_ms: i64,
    pub(crate) received_ms: i64,
}

impl<B> Hold<B> {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self {
            held: VecDeque::new(),
            bytes: 0,
            budget,
            numbers: 0,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Room for a body of this size; `None` if it would exceed `limit` bytes of this cluster, or a
    /// budget.
    pub(crate) fn reserve(&self, bytes: u64, limit: u64) -> Option<Share> {
        let bytes = bytes.saturating_add(OVERHEAD);
        if self.bytes.saturating_add(bytes) > limit {
            return None;
        }
        self.budget.take(bytes)
    }

    /// Holds a request.
    pub(crate) fn push(&mut self, one: &ToHold<'_>, share: Share, body: B) {
        self.bytes += share.bytes;
        self.numbers += 1;
        // Most requests are of the replica that sent the last one: its name is shared.
        let replica = match self.held.back() {
            Some(last) if last.replica == one.replica => last.replica.clone(),
            _ => one.replica.into(),
        };
        self.held.push_back(Held {
            number: self.numbers,
            replica,
            oldest_ms: one.oldest_ms,
            newest_ms: one.newest_ms,
            received_ms: one.received_ms,
            done_ms: i64::MIN,
            body,
            share,
        });
    }

    /// Drops the oldest; false if nothing is held.
    pub(crate) fn evict(&mut self) -> bool {
        let Some(gone) = self.held.pop_front() else {
            return false;
        };
        self.bytes -= gone.share.bytes;
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        true
    }

    /// Drops what is not wanted; returns how many that were.
    fn retain(&mut self, wanted: impl Fn(&Held<B>) -> bool) -> u64 {
        let (before, mut gone) = (self.held.len(), 0);
        self.held.retain(|one| {
            let stays = wanted(one);
            gone += if stays { 0 } else { one.share.bytes };
            stays
        });
        self.bytes -= gone;
        if self.held.is_empty() {
            // The memory of a burst is not kept for ever.
            self.held = VecDeque::new();
        }
        (before - self.held.len()) as u64
    }

    /// Drops what the watermark has passed.
    pub(crate) fn passed(&mut self, watermark_ms: i64) -> u64 {
        self.retain(|one| one.newest_ms > watermark_ms)
    }

    /// Drops what came before this time.
    pub(crate) fn expire(&mut self, before_ms: i64) -> u64 {
        // In order of arrival: nothing to do if the first one stays.
        if self
            .held
            .front()
            .is_none_or(|first| first.received_ms >= before_ms)
        {
            return 0;
        }
        self.retain(|one| one.received_ms >= before_ms)
    }

    /// Drops everything of a replica; returns how many were not forwarded completely.
    pub(crate) fn drop_replica(&mut self, replica: &str) -> u64 {
        self.retain(|one| one.replica != replica)
    }

    /// Drops what has no sample after this time any more, of one replica.
    pub(crate) fn drop_forwarded(&mut self, replica: &str, after_ms: i64) -> u64 {
        self.retain(|one| one.replica != replica || one.next_ms(after_ms) != DONE_MS)
    }

    /// Nothing that is held of a replica after `after_ms` is older, ms; [`DONE_MS`] if nothing.
    pub(crate) fn next_ms(&self, replica: &str, after_ms: i64) -> i64 {
        let of_it = self.held.iter().filter(|one| one.replica == replica);
        let next = of_it.map(|one| one.next_ms(after_ms));
        next.min().unwrap_or(DONE_MS)
    }

    /// Those of a replica with samples after `after_ms` and before `before_ms`.
    pub(crate) fn between<'a>(
        &'a self,
        replica: &'a str,
        after_ms: i64,
        before_ms: i64,
    ) -> impl Iterator<Item = &'a Held<B>> {
        let of_it = self.held.iter().filter(move |one| one.replica == replica);
        of_it.filter(move |one| one.next_ms(after_ms) < before_ms)
    }

    /// The samples before `before_ms` of this one are forwarded.
    pub(crate) fn forwarded(&mut self, number: u64, before_ms: i64) {
        // Numbers grow, without gaps only until something is dropped in between.
        let at = self.held.partition_point(|one| one.number < number);
        if let Some(one) = self.held.get_mut(at).filter(|one| one.number == number) {
            one.done_ms = before_ms.saturating_sub(1);
        }
    }

    /// The replica of the oldest that reaches from before `until_ms` to after `known_ms`.
    pub(crate) fn covering(&self, known_ms: i64, until_ms: i64) -> Option<&SmolStr> {
        let mut all = self.held.iter();
        all.find(|one| one.newest_ms > known_ms && one.oldest_ms < until_ms)
            .map(|one| &one.replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(replica: &'static str, oldest_ms: i64, newest_ms: i64) -> ToHold<'static> {
        ToHold {
            replica,
            oldest_ms,
            newest_ms,
            received_ms: newest_ms,
        }
    }

    fn push(hold: &mut Hold<u32>, one: &ToHold<'_>, limit: u64, body: u32) -> bool {
        let share = hold.reserve(40, limit);
        share.map(|share| hold.push(one, share, body)).is_some()
    }

    fn hold(limit: u64) -> (Hold<u32>, Arc<Budget>, Arc<Budget>) {
        let process = Arc::new(Budget::new(limit, None));
        let tenant = Arc::new(Budget::new(u64::MAX, Some(Arc::clone(&process))));
        (Hold::new(Arc::clone(&tenant)), tenant, process)
    }

    #[test]
    fn every_bound_is_kept_and_returned() {
        let (mut hold, tenant, process) = hold(500);
        assert!(push(&mut hold, &one("b", 1, 2), 1000, 1));
        assert!(push(&mut hold, &one("b", 2, 3), 1000, 2));
        // The process's.
        assert!(!push(&mut hold, &one("b", 3, 4), 1000, 3));
        assert_eq!(
            (hold.bytes(), tenant.used(), process.used()),
            (400, 400, 400)
        );
        assert!(hold.evict());
        // The cluster's.
        assert!(!push(&mut hold, &one("b", 3, 4), 399, 3));
        assert_eq!(
            (hold.bytes(), tenant.used(), process.used()),
            (200, 200, 200)
        );
        process.set_limit(u64::MAX);
        tenant.set_limit(300);
        assert!(!push(&mut hold, &one("b", 3, 4), 1000, 3));
        assert_eq!(process.used(), 200);
        drop(hold);
        assert_eq!((tenant.used(), process.used()), (0, 0));
    }

    #[test]
    fn what_is_forwarded_in_part_is_held_from_there_on() {
        let (mut hold, ..) = hold(10_000);
        assert!(push(&mut hold, &one("b", 10, 30), 10_000, 1));
        assert!(push(&mut hold, &one("c", 5, 6), 10_000, 2));
        assert!(push(&mut hold, &one("b", 25, 40), 10_000, 3));
        assert_eq!(hold.next_ms("b", NEVER), 10);
        assert_eq!(hold.next_ms("b", 12), 13);
        assert_eq!(hold.next_ms("b", 40), DONE_MS);
        let bodies = |hold: &Hold<u32>, after, before| -> Vec<u32> {
            hold.between("b", after, before)
                .map(|one| one.body)
                .collect()
        };
        assert_eq!(bodies(&hold, NEVER, 25), [1]);
        assert_eq!(bodies(&hold, NEVER, 26), [1, 3]);
        assert_eq!(bodies(&hold, 30, 50), [3]);
        hold.forwarded(1, 31);
        assert_eq!(hold.next_ms("b", NEVER), 25);
        assert_eq!(hold.drop_forwarded("b", NEVER), 1);
        assert_eq!(hold.len(), 2);
        hold.forwarded(3, 31);
        assert_eq!(hold.next_ms("b", NEVER), 31);
        assert_eq!(hold.drop_replica("b"), 1);
        assert_eq!(hold.len(), 1);
    }

    #[test]
    fn what_is_superfluous_or_too_old_goes() {
        let (mut hold, ..) = hold(10_000);
        for at in [10, 20, 30] {
            assert!(push(&mut hold, &one("b", at, at), 10_000, 1));
        }
        assert_eq!(hold.covering(10, 30).map(SmolStr::as_str), Some("b"));
        assert_eq!(hold.covering(30, 40), None);
        assert_eq!(hold.passed(10), 1);
        assert_eq!(hold.expire(20), 0);
        assert_eq!(hold.expire(21), 1);
        assert_eq!(hold.bytes(), 200);
        assert!(hold.evict() && !hold.evict() && hold.is_empty());
    }

    const NEVER: i64 = i64::MIN;
}
