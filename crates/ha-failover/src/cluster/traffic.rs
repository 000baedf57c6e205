//! What one distributor saw of the elected replica in one term: recorded by many requests at once,
//! without the lock of the cluster's state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use smol_str::SmolStr;

use crate::terms::NEVER_MS;
use crate::{Fate, Outcome, Request, Settings};

/// Nothing more is accepted; the rest is the number of requests in flight.
const CLOSED: u64 = 1 << 63;

/// Times are Unix ms, [`NEVER_MS`] for none.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The elected replica; `None` before the first election.
    replica: Option<SmolStr>,
    /// Requests in flight, and [`CLOSED`].
    in_flight: AtomicU64,
    /// Newest sample time that may be stored.
    forwarded_ms: AtomicI64,
    /// Newest sample time that the downstream acknowledged.
    acknowledged_ms: AtomicI64,
    /// When its last request came.
    seen_ms: AtomicI64,
    /// When the downstream last refused it, if it acknowledged nothing since.
    refused_ms: AtomicI64,
    /// Whether its last request was refused, by us or by the downstream.
    was_refused: AtomicBool,
    /// When its connection last broke while a request was open, if nothing was acknowledged since.
    abandoned_ms: AtomicI64,
    /// When any request of the cluster came.
    active_ms: AtomicI64,
    /// Copies for requests that are judged without the lock: [`super::ClusterState::after_ms`], and of
    /// the settings.
    after_ms: AtomicI64,
    ahead_ms: AtomicI64,
    pause_ms: AtomicI64,
}

impl Traffic {
    /// Of a term that begins; closed.
    pub(super) fn new(replica: Option<SmolStr>, active_ms: i64) -> Self {
        let never = || AtomicI64::new(NEVER_MS);
        Self {
            replica,
            in_flight: AtomicU64::new(CLOSED),
            forwarded_ms: never(),
            acknowledged_ms: never(),
            seen_ms: never(),
            refused_ms: never(),
            was_refused: AtomicBool::new(false),
            abandoned_ms: never(),
            active_ms: AtomicI64::new(active_ms),
            after_ms: never(),
            ahead_ms: AtomicI64::new(0),
            pause_ms: AtomicI64::new(0),
        }
    }

    /// From now on requests are accepted without the lock.
    pub(super) fn open(&self, after_ms: i64, most_pause_ms: i64, settings: &Settings) {
        set(&self.after_ms, after_ms);
        set(&self.ahead_ms, settings.ahead_ms);
        set(&self.pause_ms, most_pause_ms);
        if self.in_flight.load(Ordering::Relaxed) & CLOSED != 0 {
            self.in_flight.fetch_and(!CLOSED, Ordering::Release);
        }
    }

    /// From now on none is.
    pub(super) fn close(&self) {
        if self.in_flight.load(Ordering::Relaxed) & CLOSED == 0 {
            self.in_flight.fetch_or(CLOSED, Ordering::AcqRel);
        }
    }

    /// Whether requests are in flight. If it is closed and none are, what they have recorded is final.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) & !CLOSED != 0
    }

    pub(super) fn forwarded_ms(&self) -> i64 {
        self.forwarded_ms.load(Ordering::Relaxed)
    }

    pub(super) fn acknowledged_ms(&self) -> i64 {
        self.acknowledged_ms.load(Ordering::Relaxed)
    }

    pub(super) fn seen_ms(&self) -> i64 {
        self.seen_ms.load(Ordering::Relaxed)
    }

    pub(super) fn refused_ms(&self) -> Option<i64> {
        Some(self.refused_ms.load(Ordering::Relaxed)).filter(|ms| *ms != NEVER_MS)
    }

    pub(super) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed)
    }

    pub(super) fn active_ms(&self) -> i64 {
        self.active_ms.load(Ordering::Relaxed)
    }

    /// A request of this replica came.
    pub(super) fn came(&self, is_elected: bool, now_ms: i64) {
        set(&self.active_ms, now_ms);
        if is_elected {
            set(&self.seen_ms, now_ms);
        }
    }

    /// A request of the elected replica is refused here.
    pub(super) fn refuse(&self) {
        self.was_refused.store(true, Ordering::Relaxed);
    }

    /// Samples up to this time may be stored.
    pub(super) fn forwarded(&self, newest_ms: i64) {
        self.forwarded_ms.fetch_max(newest_ms, Ordering::Relaxed);
    }

    /// Takes a request in; `None` if it is closed.
    pub(super) fn enter(self: &Arc<Self>, request: &Request<'_>, now_ms: i64) -> Option<Fate> {
        let add = |count: u64| (count & CLOSED == 0).then_some(count + 1);
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, add)
            .ok()?;
        let after_ms = self.after_ms.load(Ordering::Relaxed);
        let ahead_ms = now_ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed));
        Some(Fate::Accept {
            ticket: Ticket {
                traffic: Arc::clone(self),
                newest_ms: request.newest_ms.min(ahead_ms),
                began_ms: now_ms,
            },
            after_ms: (request.oldest_ms <= after_ms).then_some(after_ms),
        })
    }

    fn end(&self, ticket: &Ticket, outcome: Outcome, now_ms: i64) -> bool {
        if outcome != Outcome::NotStored {
            self.forwarded(ticket.newest_ms);
        }
        match outcome {
            Outcome::Done => {
                self.acknowledged_ms
                    .fetch_max(ticket.newest_ms, Ordering::Relaxed);
                set(&self.refused_ms, NEVER_MS);
                set(&self.abandoned_ms, NEVER_MS);
                if self.was_refused() {
                    self.was_refused.store(false, Ordering::Relaxed);
                }
            }
            Outcome::NotStored | Outcome::Unknown => {
                set(&self.refused_ms, now_ms);
                self.refuse();
            }
            Outcome::Abandoned => {
                // As the tracker has it: only the repetition of one that was not stored is followed by
                // a longer wait.
                let before_ms = self.abandoned_ms.swap(now_ms, Ordering::Relaxed);
                if before_ms != NEVER_MS && before_ms < ticket.began_ms {
                    self.refuse();
                }
            }
        }
        let before = self.in_flight.fetch_sub(1, Ordering::AcqRel);
        before & CLOSED != 0
    }
}

/// Without a write if nothing changes: the requests of a millisecond share the cache line.
fn set(time: &AtomicI64, ms: i64) {
    if time.load(Ordering::Relaxed) != ms {
        time.store(ms, Ordering::Relaxed);
    }
}

/// An accepted request that is not finished.
#[derive(Debug, Clone)]
pub struct Ticket {
    traffic: Arc<Traffic>,
    newest_ms: i64,
    began_ms: i64,
}

impl Ticket {
    /// The request ended. To be called exactly once. If it returns true, the claim under which it was
    /// accepted is being closed: [`super::ClusterState::ended`] is to be called, too.
    #[must_use]
    pub fn end(&self, outcome: Outcome, now_ms: i64) -> bool {
        self.traffic.end(self, outcome, now_ms)
    }

    pub(super) fn is_of(&self, traffic: &Arc<Traffic>) -> bool {
        Arc::ptr_eq(&self.traffic, traffic)
    }

    /// What may be stored of its term.
    pub(super) fn forwarded_ms(&self) -> i64 {
        self.traffic.forwarded_ms()
    }
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.is_of(&other.traffic)
            && (self.newest_ms, self.began_ms) == (other.newest_ms, other.began_ms)
    }
}

impl Eq for Ticket {}

/// The way of requests for which an open claim is enough, beside the lock of the cluster's state.
#[derive(Debug)]
pub struct Lane(ArcSwap<Traffic>);

impl Lane {
    pub(super) fn new(traffic: &Arc<Traffic>) -> Self {
        Self(ArcSwap::new(Arc::clone(traffic)))
    }

    pub(super) fn set(&self, traffic: &Arc<Traffic>) {
        self.0.store(Arc::clone(traffic));
    }

    /// What becomes of a request; `None` if only [`super::ClusterState::request`] can tell. No lock.
    pub fn judge(&self, request: &Request<'_>, now_ms: i64) -> Option<Fate> {
        let traffic = self.0.load();
        let replica = traffic.replica.as_deref()?;
        if replica != request.replica {
            // Unless it is closed, in which case its sender is to wait.
            let is_open = traffic.in_flight.load(Ordering::Relaxed) & CLOSED == 0;
            let has_passed = request.newest_ms <= traffic.acknowledged_ms();
            return (is_open && has_passed).then(|| {
                traffic.came(false, now_ms);
                Fate::Deduplicate
            });
        }
        let ahead_ms = traffic.ahead_ms.load(Ordering::Relaxed);
        let pause_ms = request.oldest_ms.saturating_sub(traffic.forwarded_ms());
        let is_usual = request.newest_ms <= now_ms.saturating_add(ahead_ms)
            && pause_ms <= traffic.pause_ms.load(Ordering::Relaxed);
        if !is_usual {
            return None;
        }
        let accepted = traffic.enter(request, now_ms)?;
        traffic.came(true, now_ms);
        Some(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(replica: &'static str, at_ms: i64) -> Request<'static> {
        Request {
            replica,
            oldest_ms: at_ms,
            newest_ms: at_ms,
            bytes: 1,
        }
    }

    fn ticket(fate: Option<Fate>) -> Ticket {
        match fate {
            Some(Fate::Accept { ticket, .. }) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_accepted_before_the_close_is_waited_for() {
        let traffic = Arc::new(Traffic::new(Some("a".into()), 0));
        let lane = Lane::new(&traffic);
        traffic.forwarded(1_000);
        assert_eq!(lane.judge(&request("a", 1_000), 1_000), None, "closed");
        traffic.open(NEVER_MS, 30_000, &Settings::default());
        let one = ticket(lane.judge(&request("a", 2_000), 2_000));
        let two = ticket(lane.judge(&request("a", 2_001), 2_000));
        assert!(!one.end(Outcome::Done, 2_010));
        assert_eq!(
            lane.judge(&request("b", 2_000), 2_010),
            Some(Fate::Deduplicate)
        );
        assert_eq!(lane.judge(&request("b", 2_001), 2_010), None);
        traffic.close();
        assert_eq!(lane.judge(&request("a", 2_002), 2_020), None);
        assert_eq!(lane.judge(&request("b", 2_000), 2_020), None);
        assert!(traffic.is_in_flight());
        assert!(two.end(Outcome::Unknown, 2_030));
        assert!(!traffic.is_in_flight());
        assert_eq!(
            (traffic.forwarded_ms(), traffic.acknowledged_ms()),
            (2_001, 2_000)
        );
    }

    #[test]
    fn many_threads_and_one_that_closes_agree_on_what_is_in_flight() {
        let traffic = Arc::new(Traffic::new(Some("a".into()), 0));
        let lane = Lane::new(&traffic);
        traffic.forwarded(0);
        traffic.open(NEVER_MS, 30_000, &Settings::default());
        let accepted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // Until it is closed.
                    for at_ms in 1.. {
                        let Some(fate) = lane.judge(&request("a", at_ms % 20_000), 20_000) else {
                            return;
                        };
                        accepted.fetch_add(1, Ordering::Relaxed);
                        let _ = ticket(Some(fate)).end(Outcome::Done, 20_000);
                    }
                });
            }
            while accepted.load(Ordering::Relaxed) < 10_000 {
                std::thread::yield_now();
            }
            traffic.close();
        });
        assert!(!traffic.is_in_flight());
        assert_eq!(traffic.forwarded_ms(), traffic.acknowledged_ms());
        assert!(traffic.forwarded_ms() > 0);
    }

    #[test]
    fn a_connection_that_broke_is_no_refusal_unless_it_broke_again() {
        let traffic = Arc::new(Traffic::new(Some("a".into()), 0));
        let lane = Lane::new(&traffic);
        traffic.forwarded(0);
        traffic.open(NEVER_MS, 30_000, &Settings::default());
        let both = [1, 2].map(|at_ms| ticket(lane.judge(&request("a", at_ms), at_ms)));
        for one in both {
            let _ = one.end(Outcome::Abandoned, 100);
        }
        assert!(!traffic.was_refused());
        assert_eq!(traffic.refused_ms(), None);
        let again = ticket(lane.judge(&request("a", 1), 200));
        let _ = again.end(Outcome::Abandoned, 300);
        assert!(traffic.was_refused());
        let last = ticket(lane.judge(&request("a", 1), 400));
        let _ = last.end(Outcome::Done, 500);
        assert!(!traffic.was_refused());
    }
}
