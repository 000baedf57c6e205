//! The queue of packets that have arrived: members first, and each sender in turn.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use kv_core::lock;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::{Bucket, Rate};
use crate::link::Standing;
use crate::seal::packet::Envelope;

/// Most packets of members that wait.
const MEMBERS: Bounds = Bounds {
    packets: 1024,
    bytes: 16 << 20,
};
/// The same for guests: addresses that do not belong to a member.
const GUESTS: Bounds = Bounds {
    packets: 256,
    bytes: 1 << 20,
};
/// Packets of all guests. Each may cost a pass over all entries of this member; a joiner needs two
/// or three before it is a member.
const GUEST_RATE: Rate = Rate {
    per_second: 20,
    at_once: 100,
};
/// A packet of a member that has waited for longer is not read: newer ones, which say more, wait behind
/// it. Otherwise a member that has too little CPU for all packets would read each of them as late as
/// the queue is long, and answer what its senders have long had answered by others.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// A larger packet is read however late: what it brings, a snapshot say, would be sent again.
const LARGE: usize = 16 << 10;
/// While packets of members wait, one packet of a guest is read after this many of theirs.
const MEMBERS_PER_GUEST: u32 = 8;

/// Most packets that wait.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    packets: usize,
    bytes: usize,
}

/// A packet, and its source according to the network.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: SocketAddr,
    pub(crate) envelope: Envelope,
}

#[derive(Default)]
pub(super) struct Queue {
    lanes: Mutex<Lanes>,
    filled: Notify,
}

struct Lanes {
    members: Lane,
    guests: Lane,
    guest_rate: Bucket,
    /// Packets of members since the last one of a guest.
    in_a_row: u32,
    /// Packets that were too late, and are not counted yet.
    late: u64,
}

/// Senders are served in turn, so that each waits for at most one packet of each other sender.
struct Lane {
    by_sender: HashMap<SocketAddr, VecDeque<(Instant, Arrived)>>,
    turns: VecDeque<SocketAddr>,
    packets: usize,
    bytes: usize,
    most: Bounds,
}

impl Queue {
    /// Whether it was queued without dropping any packet; otherwise it, or another packet, was
    /// dropped.
    pub(super) fn push(&self, standing: Standing, waiting: Arrived) -> bool {
        let room = {
            let mut lanes = lock(&self.lanes);
            let lane = match standing {
                Standing::Member => &mut lanes.members,
                Standing::Guest | Standing::Stranger => &mut lanes.guests,
            };
            lane.push(waiting)
        };
        self.filled.notify_one();
        room
    }

    /// How many packets were not read because they had waited for too long, since the last call.
    pub(super) fn take_late(&self) -> u64 {
        std::mem::take(&mut lock(&self.lanes).late)
    }

    /// The next packet. Cancel safe.
    pub(super) async fn next(&self) -> Arrived {
        loop {
            let filled = self.filled.notified();
            let pause = {
                let mut lanes = lock(&self.lanes);
                if let Some(waiting) = lanes.pop() {
                    return waiting;
                }
                (lanes.guests.packets > 0).then(|| lanes.guest_rate.pause())
            };
            match pause {
                Some(pause) => drop(tokio::time::timeout(pause, filled).await),
                None => filled.await,
            }
        }
    }
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            members: Lane::new(MEMBERS),
            guests: Lane::new(GUESTS),
            guest_rate: Bucket::new(GUEST_RATE),
            in_a_row: 0,
            late: 0,
        }
    }
}

impl Lanes {
    fn pop(&mut self) -> Option<Arrived> {
        let is_guests_turn = self.members.packets == 0 || self.in_a_row >= MEMBERS_PER_GUEST;
        if self.guests.packets > 0 && is_guests_turn && self.guest_rate.take() {
            self.in_a_row = 0;
            return self.guests.pop().map(|(_, waiting)| waiting);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        loop {
            let (at, waiting) = self.members.pop()?;
            if at.elapsed() <= MAX_WAIT || waiting.envelope.size() > LARGE {
                return Some(waiting);
            }
            self.late += 1;
        }
    }
}

impl Lane {
    fn new(most: Bounds) -> Self {
        Self {
            by_sender: HashMap::new(),
            turns: VecDeque::new(),
            packets: 0,
            bytes: 0,
            most,
        }
    }

    /// A packet of the sender with the most waiting packets is dropped.
    fn push(&mut self, waiting: Arrived) -> bool {
        let sender = waiting.envelope.reply_to;
        self.packets += 1;
        self.bytes += waiting.envelope.size();
        let queue = self.by_sender.entry(sender).or_default();
        if queue.is_empty() {
            self.turns.push_back(sender);
        }
        queue.push_back((Instant::now(), waiting));
        let mut room = true;
        while self.packets > self.most.packets || self.bytes > self.most.bytes {
            room = false;
            let Some(longest) = self.longest() else {
                break;
            };
            self.drop_last_of(longest);
        }
        room
    }

    fn longest(&self) -> Option<SocketAddr> {
        let length = |(sender, queue): (&SocketAddr, &VecDeque<_>)| (queue.len(), *sender);
        self.by_sender
            .iter()
            .map(length)
            .max()
            .map(|(_, sender)| sender)
    }

    fn drop_last_of(&mut self, sender: SocketAddr) {
        let Some(queue) = self.by_sender.get_mut(&sender) else {
            return;
        };
        if let Some((_, dropped)) = queue.pop_back() {
            self.packets -= 1;
            self.bytes -= dropped.envelope.size();
        }
        if queue.is_empty() {
            self.by_sender.remove(&sender);
            self.turns.retain(|other| *other != sender);
        }
    }

    fn pop(&mut self) -> Option<(Instant, Arrived)> {
        let sender = self.turns.pop_front()?;
        let queue = self.by_sender.get_mut(&sender)?;
        let waiting = queue.pop_front()?;
        if queue.is_empty() {
            self.by_sender.remove(&sender);
        } else {
            self.turns.push_back(sender);
        }
        self.packets -= 1;
        self.bytes -= waiting.1.envelope.size();
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use futures::FutureExt;

    use super::*;
    use crate::seal::keyring::Keyring;
    use crate::seal::packet::Sealer;

    fn waiting(sender: u16, size: usize) -> Arrived {
        let sender: SocketAddr = ([10, 0, 0, 1], sender).into();
        let sealer = Sealer::new(Keyring::default(), String::new(), true, false);
        let packet = sealer.seal(sender, &vec![7; size]);
        Arrived {
            from: sender,
            envelope: sealer.unseal(packet).unwrap(),
        }
    }

    fn senders(queue: &Queue) -> Vec<u16> {
        std::iter::from_fn(|| queue.next().now_or_never())
            .map(|waiting| waiting.envelope.reply_to.port())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn senders_take_turns_and_members_come_first() {
        let queue = Queue::default();
        for _ in 0..3 {
            queue.push(Standing::Guest, waiting(9, 10));
            queue.push(Standing::Member, waiting(1, 10));
        }
        queue.push(Standing::Member, waiting(2, 10));
        assert_eq!(senders(&queue), [1, 2, 1, 1, 9, 9, 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_drops_what_floods() {
        let queue = Queue::default();
        for _ in 0..5 {
            assert!(queue.push(Standing::Member, waiting(2, 10)));
        }
        let full = |_: &usize| queue.push(Standing::Member, waiting(1, 10));
        assert_eq!((0..5000).filter(full).count(), MEMBERS.packets - 5);
        assert!(!queue.push(Standing::Member, waiting(3, 10)));
        let served = senders(&queue);
        assert_eq!(served.len(), MEMBERS.packets);
        assert_eq!(&served[..4], [2, 1, 3, 2]);
        assert_eq!(served.iter().filter(|&&sender| sender == 2).count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_for_too_long_is_not_read() {
        let queue = Queue::default();
        for _ in 0..5 {
            queue.push(Standing::Member, waiting(1, 10));
        }
        queue.push(Standing::Member, waiting(3, LARGE));
        tokio::time::advance(MAX_WAIT).await;
        queue.push(Standing::Member, waiting(2, 10));
        queue.push(Standing::Guest, waiting(9, 10));
        // One is read in time.
        assert_eq!(queue.next().await.envelope.reply_to.port(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(senders(&queue), [3, 2, 9]);
        assert_eq!((queue.take_late(), queue.take_late()), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_bounded_as_well() {
        let queue = Queue::default();
        let size = 100_000;
        let full = |_: &usize| queue.push(Standing::Member, waiting(1, size));
        assert_eq!((0..500).filter(full).count(), MEMBERS.bytes / (size + 13));
    }

    #[tokio::test(start_paused = true)]
    async fn guests_are_served_at_a_rate() {
        let queue = Queue::default();
        for sender in 1..=200 {
            queue.push(Standing::Guest, waiting(sender, 10));
        }
        assert_eq!(senders(&queue).len(), GUEST_RATE.at_once as usize);
        let began = Instant::now();
        for _ in 0..GUEST_RATE.per_second {
            queue.next().await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_millis(1100));
    }

    #[tokio::test(start_paused = true)]
    async fn members_that_never_stop_leave_guests_a_share() {
        let queue = Queue::default();
        queue.push(Standing::Guest, waiting(9, 10));
        for _ in 0..20 {
            queue.push(Standing::Member, waiting(1, 10));
        }
        let at = senders(&queue).iter().position(|&sender| sender == 9);
        assert_eq!(at, Some(MEMBERS_PER_GUEST as usize));
    }
}
