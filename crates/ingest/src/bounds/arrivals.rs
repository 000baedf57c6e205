//! Bodies that are arriving: a request does not count as in flight before its body has arrived, and
//! the number of arriving bodies is limited.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ahash::RandomState;
use bytes::Buf;
use futures::future::poll_immediate;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::answer::Rejection;

/// Most arriving bodies, over all connections. Each costs a few kilobytes besides the bytes that
/// have arrived, which the memory limit counts.
const MAX: usize = 4096;
/// The same of one connection. With HTTP/1.1 there is one; with HTTP/2 a proxy may bring those of
/// many senders, which come as fast as the network, so that few are waited for at a time.
const MAX_OF_CONNECTION: usize = 128;
/// How long a body may stall: longer than several retransmissions of a lost packet take.
const STALL: Duration = Duration::from_secs(10);
/// Least average rate of a body after that time, bytes per second.
const SLOWEST: u64 = 1024;
/// How long a body may take at any rate.
const LONGEST: Duration = Duration::from_secs(60);
/// Bytes of a body that are read before other tasks get their turn. A fast sender would otherwise
/// occupy a worker of the runtime until tokio's budget is used up, which is tens of megabytes.
const TURN: u64 = 128 << 10;

/// All arriving bodies.
#[derive(Debug)]
pub(crate) struct Arrivals {
    waiting: Mutex<Waiting>,
    start: Instant,
}

#[derive(Debug, Default)]
struct Waiting {
    gauge: Gauge,
    bodies: HashMap<u64, Arc<Slot>, RandomState>,
    /// How many of `bodies` each connection has.
    connections: HashMap<Option<SocketAddr>, usize, RandomState>,
    next: u64,
}

#[derive(Debug)]
struct Slot {
    connection: Option<SocketAddr>,
    /// When data of the body last arrived, ms after [`Arrivals::start`].
    progress_ms: AtomicU64,
    gives_way: Notify,
}

/// One body that is received.
#[derive(Debug)]
pub struct Arrival<'a> {
    all: &'a Arrivals,
    connection: Option<SocketAddr>,
    /// When it was first waited for: no clock is read for a body that is already there.
    begun: Option<Instant>,
    /// When data last arrived; none if that was since the last wait.
    last: Option<Instant>,
    bytes: u64,
    /// Of these, those of this turn.
    in_turn: u64,
    /// Its place, once it was waited for.
    slot: Option<(u64, Arc<Slot>)>,
}

impl Arrivals {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let gauge = Gauge::default();
        registry.register(
            "cortex_distributor_awaited_push_bodies",
            "Push requests whose body has not arrived completely; they do not count as in flight",
            gauge.clone(),
        );
        let waiting = Waiting {
            gauge,
            ..Waiting::default()
        };
        Self {
            waiting: Mutex::new(waiting),
            start: Instant::now(),
        }
    }

    /// Of a request that came over this connection.
    pub(crate) fn begin(&self, connection: Option<SocketAddr>) -> Arrival<'_> {
        Arrival {
            all: self,
            connection,
            begun: None,
            last: None,
            bytes: 0,
            in_turn: 0,
            slot: None,
        }
    }

    /// Number of arriving bodies.
    pub(crate) fn count(&self) -> usize {
        self.waiting().bodies.len()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        kv_core::lock(&self.waiting)
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Waiting {
    /// Takes a place. If there is none, the body that has stalled for the longest time loses its
    /// place: one of the same connection, if that has too many.
    fn enter(&mut self, connection: Option<SocketAddr>, now_ms: u64) -> (u64, Arc<Slot>) {
        let of_connection = self.connections.get(&connection).copied();
        if of_connection.unwrap_or_default() >= MAX_OF_CONNECTION {
            self.make_room(|slot| slot.connection == connection);
        } else if self.bodies.len() >= MAX {
            self.make_room(|_| true);
        }
        let slot = Arc::new(Slot {
            connection,
            progress_ms: AtomicU64::new(now_ms),
            gives_way: Notify::new(),
        });
        let number = self.next;
        self.next += 1;
        self.bodies.insert(number, Arc::clone(&slot));
        *self.connections.entry(connection).or_default() += 1;
        self.gauge.inc();
        (number, slot)
    }

    fn make_room(&mut self, may_go: impl Fn(&Slot) -> bool) {
        let slowest = self
            .bodies
            .iter()
            .filter(|(_, slot)| may_go(slot))
            .min_by_key(|(number, slot)| (slot.progress_ms.load(Ordering::Relaxed), **number));
        if let Some((&number, slot)) = slowest {
            slot.gives_way.notify_one();
            self.leave(number);
        }
    }

    /// Does nothing if it was given up before.
    fn leave(&mut self, number: u64) {
        let Some(slot) = self.bodies.remove(&number) else {
            return;
        };
        self.gauge.dec();
        if let Some(count) = self.connections.get_mut(&slot.connection) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&slot.connection);
            }
        }
    }
}

impl Arrival<'_> {
    /// The next part of the body, `None` at its end.
    ///
    /// # Errors
    /// The body stalled, was too slow, or lost its place to another one.
    pub async fn frame<B>(
        &mut self,
        body: &mut B,
    ) -> Result<Option<Result<Frame<B::Data>, B::Error>>, Rejection>
    where
        B: Body + Unpin,
    {
        if self.in_turn >= TURN {
            self.in_turn = 0;
            yield_now().await;
        }
        let mut next = body.frame();
        // Most bodies arrive together with their heads: those need no place, and so no lock.
        let frame = match poll_immediate(&mut next).await {
            Some(frame) => frame,
            None => self.wait(next).await?,
        };
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            self.bytes += bytes;
            self.in_turn += bytes;
            self.last = None;
            if let Some((_, slot)) = &self.slot {
                let now = Instant::now();
                self.last = Some(now);
                slot.progress_ms.store(self.all.ms(now), Ordering::Relaxed);
            }
        }
        Ok(frame)
    }

    async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Rejection> {
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        let last = *self.last.get_or_insert(now);
        let (until, too_slow) = self.until(begun, last);
        let slot = match &self.slot {
            Some((_, slot)) => slot,
            None => {
                let now_ms = self.all.ms(last);
                let slot = self.all.waiting().enter(self.connection, now_ms);
                &self.slot.insert(slot).1
            }
        };
        tokio::select! {
            biased;
            next = next => Ok(next),
            () = slot.gives_way.notified() => Err(self.refuse(&format!(
                "was given up because it had received no data for the longest time: this \
                 instance waits for at most {MAX} bodies, {MAX_OF_CONNECTION} of one connection"
            ))),
            () = sleep_until(until) => Err(self.refuse(&too_slow)),
        }
    }

    /// How long to wait for the next part, and the problem if it has not arrived by then.
    fn until(&self, begun: Instant, last: Instant) -> (Instant, String) {
        let slowest = begun + STALL + Duration::from_secs(self.bytes / SLOWEST);
        let stall = last + STALL;
        let longest = begun + LONGEST;
        let until = slowest.min(stall).min(longest);
        let problem = if until == longest {
            format!("did not arrive within {LONGEST:?}")
        } else if until == stall {
            format!("stalled for {STALL:?}")
        } else {
            format!("arrived with less than {SLOWEST} bytes per second")
        };
        (until, problem)
    }

    fn refuse(&self, problem: &str) -> Rejection {
        Rejection::body_not_received(format!(
            "the request body {problem} ({} bytes have arrived); retry",
            self.bytes
        ))
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if let Some((number, _)) = self.slot.take() {
            self.all.waiting().leave(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Poll;

    use bytes::Bytes;
    use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
    use futures::poll;
    use http_body_util::StreamBody;

    use super::*;

    type Part = Result<Frame<Bytes>, Infallible>;

    /// A body, and what sends it.
    fn body() -> (UnboundedSender<Part>, StreamBody<UnboundedReceiver<Part>>) {
        let (sender, receiver) = unbounded();
        (sender, StreamBody::new(receiver))
    }

    /// The receiver may have been dropped.
    fn send(sender: &UnboundedSender<Part>, bytes: usize) {
        let part = Frame::data(Bytes::from(vec![0; bytes]));
        let _ = sender.unbounded_send(Ok(part));
    }

    async fn read(
        arrivals: &Arrivals,
        body: StreamBody<UnboundedReceiver<Part>>,
    ) -> Result<u64, String> {
        let mut body = body;
        let mut arrival = arrivals.begin(None);
        while let Some(frame) = arrival.frame(&mut body).await.map_err(|a| a.to_string())? {
            assert!(frame.is_ok());
        }
        Ok(arrival.bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_there_takes_no_place() {
        let arrivals = Arrivals::register(&mut Registry::default());
        let (sender, body) = body();
        send(&sender, 10);
        send(&sender, 10);
        drop(sender);
        assert_eq!(read(&arrivals, body).await, Ok(20));
        assert_eq!(arrivals.waiting().next, 0);
    }

    #[tokio::test]
    async fn a_body_that_is_there_lets_others_have_their_turn() {
        let arrivals = Arrivals::register(&mut Registry::default());
        let (sender, mut body) = body();
        let parts = 10;
        for _ in 0..parts {
            send(&sender, TURN as usize);
        }
        drop(sender);
        let mut arrival = arrivals.begin(None);
        for part in 0..=parts {
            let mut next = std::pin::pin!(arrival.frame(&mut body));
            if part > 0 {
                assert!(poll!(&mut next).is_pending(), "{part}");
            }
            assert_eq!(next.await.unwrap().is_none(), part == parts);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_brings_nothing_is_given_up_before_what_brings_something() {
        let arrivals = Arrivals::register(&mut Registry::default());
        let (_silent, silent_body) = body();
        let (trickle, trickle_body) = body();
        let (slow, slow_body) = body();
        let drip = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                send(&trickle, 1);
                send(&slow, 4096);
            }
        };
        let begun = Instant::now();
        let ended = async |body| {
            let error = read(&arrivals, body).await.unwrap_err();
            (begun.elapsed().as_secs(), error)
        };
        let reading =
            futures::future::join3(ended(silent_body), ended(trickle_body), ended(slow_body));
        let ((silent, trickled, slowed), ()) = futures::future::join(reading, drip).await;
        assert_eq!(silent.0, 10);
        assert!(silent.1.contains("stalled for 10s"), "{silent:?}");
        assert_eq!(trickled.0, 10);
        assert!(trickled.1.contains("1024 bytes per second"), "{trickled:?}");
        assert_eq!(slowed.0, 60);
        assert!(slowed.1.contains("within 60s"), "{slowed:?}");
        assert_eq!(arrivals.count(), 0);
        assert!(arrivals.waiting().connections.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_takes_no_places_of_others() {
        let arrivals = Arrivals::register(&mut Registry::default());
        let connection = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let mut waiting = Vec::new();
        for number in 0..=MAX_OF_CONNECTION {
            let (sender, mut body) = body();
            let arrivals = &arrivals;
            let from = connection(if number == 0 { 1 } else { 2 });
            let mut one = Box::pin(async move {
                let mut arrival = arrivals.begin(from);
                arrival.frame(&mut body).await.map(drop)
            });
            assert!(poll!(&mut one).is_pending());
            tokio::time::advance(Duration::from_millis(1)).await;
            waiting.push((sender, one));
        }
        assert_eq!(arrivals.count(), MAX_OF_CONNECTION + 1);
        // One more of the second connection: its oldest goes, not that of the first.
        let (_sender, mut body) = body();
        let mut more = Box::pin(async {
            let mut arrival = arrivals.begin(connection(2));
            arrival.frame(&mut body).await.map(drop)
        });
        assert!(poll!(&mut more).is_pending());
        assert_eq!(arrivals.count(), MAX_OF_CONNECTION + 1);
        assert!(poll!(&mut waiting[0].1).is_pending());
        assert!(poll!(&mut waiting[2].1).is_pending());
        let Poll::Ready(Err(refused)) = poll!(&mut waiting[1].1) else {
            panic!("it was not given up");
        };
        assert!(refused.message().contains("was given up"), "{refused:?}");
        assert_eq!(refused.status().as_u16(), 503);
        drop((waiting, more));
        assert_eq!(arrivals.count(), 0);
        assert!(arrivals.waiting().connections.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_brings_something_stays() {
        let arrivals = Arrivals::register(&mut Registry::default());
        let mut slots: Vec<_> = (0..MAX as u64)
            .map(|number| {
                let port = u16::try_from(number % 1000).unwrap();
                let connection = Some(SocketAddr::from(([127, 0, 0, 1], port)));
                arrivals.waiting().enter(connection, number)
            })
            .collect();
        slots[0].1.progress_ms.store(1_000_000, Ordering::Relaxed);
        let newest = arrivals.waiting().enter(None, MAX as u64);
        slots.push(newest);
        assert_eq!(arrivals.count(), MAX);
        let is_here = |slot: &(u64, Arc<Slot>)| arrivals.waiting().bodies.contains_key(&slot.0);
        assert!(is_here(&slots[0]) && !is_here(&slots[1]) && is_here(&slots[2]));
        assert!(is_here(&slots[MAX]));
    }
}
