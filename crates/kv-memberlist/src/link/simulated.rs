//! A network in memory, with faults.
//!
//! A seed and the earlier packets determine which packets are lost, delayed and overtaken.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kv_core::lock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Arrival, LastError, Link, Reception, Standing, Via};
use crate::seal::refusal::Refusal;

/// What the network does to packets.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub duplication: f64,
    /// The delay of each packet is drawn from this range: with one wider than zero, packets overtake
    /// each other.
    pub delay: (Duration, Duration),
}

impl Faults {
    /// Every packet arrives at once, once.
    pub const NONE: Self = Self {
        loss: 0.0,
        duplication: 0.0,
        delay: (Duration::ZERO, Duration::ZERO),
    };
}

/// A network. Clones are the same network.
#[derive(Clone)]
pub struct SimulatedNetwork {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    packets: AtomicU64,
    bytes: AtomicU64,
}

struct State {
    random: StdRng,
    faults: Faults,
    inboxes: HashMap<SocketAddr, Arc<dyn Reception>>,
    listeners: HashMap<SocketAddr, Accepting>,
    /// Groups that hear only each other; empty: all hear all.
    groups: Vec<HashSet<SocketAddr>>,
}

/// Where connections to an address go.
pub(crate) type Accepting = mpsc::UnboundedSender<(DuplexStream, SocketAddr)>;

/// What becomes of a segment of a connection.
pub(crate) enum Segment {
    Arrives(Duration),
    Lost,
}

/// A host on the network that is not a member.
pub struct Stranger {
    network: SimulatedNetwork,
    hears: mpsc::UnboundedReceiver<Vec<u8>>,
    _link: Arc<dyn Link>,
}

struct Ear(mpsc::UnboundedSender<Vec<u8>>);

impl Stranger {
    /// Sends a packet with a forged source address, as is possible with datagrams.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        self.network.carry(from, to, packet);
    }

    /// The packets that have arrived.
    pub fn heard(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.hears.try_recv().ok()).collect()
    }
}

impl Reception for Ear {
    fn deliver(&self, arrival: Arrival) -> Standing {
        let _ = self.0.send(arrival.packet);
        Standing::Stranger
    }

    fn refuse(&self, _: SocketAddr, _: Refusal) {}
}

struct SimulatedLink {
    address: SocketAddr,
    inbox: Arc<dyn Reception>,
    network: SimulatedNetwork,
    /// When streams were refused, for addresses whose last stream was.
    refused: Mutex<HashMap<SocketAddr, Instant>>,
}

impl SimulatedNetwork {
    /// A network whose faults follow from `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    random: StdRng::seed_from_u64(seed),
                    faults,
                    inboxes: HashMap::new(),
                    listeners: HashMap::new(),
                    groups: Vec::new(),
                }),
                packets: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
            }),
        }
    }

    /// A link at this address.
    pub(crate) fn connect(&self, address: SocketAddr, inbox: Arc<dyn Reception>) -> Arc<dyn Link> {
        self.lock().inboxes.insert(address, Arc::clone(&inbox));
        Arc::new(SimulatedLink {
            address,
            inbox,
            network: self.clone(),
            refused: Mutex::default(),
        })
    }

    /// A host at this address that is not a member; it sends packets on request and records those
    /// that it receives.
    pub fn stranger(&self, address: SocketAddr) -> Stranger {
        let (heard, hears) = mpsc::unbounded_channel();
        let link = self.connect(address, Arc::new(Ear(heard)));
        Stranger {
            network: self.clone(),
            hears,
            _link: link,
        }
    }

    /// From now on, packets suffer this.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// From now on, members hear only members of their own group; those in no group hear none.
    /// No groups: all hear all.
    pub fn partition(&self, groups: Vec<HashSet<SocketAddr>>) {
        self.lock().groups = groups;
    }

    /// Packets and bytes sent so far.
    pub fn traffic(&self) -> (u64, u64) {
        (
            self.shared.packets.load(Ordering::Relaxed),
            self.shared.bytes.load(Ordering::Relaxed),
        )
    }

    /// Randomness for a member, which follows from the seed.
    pub(crate) fn random(&self) -> StdRng {
        StdRng::from_rng(&mut self.lock().random)
    }

    pub(crate) fn open(&self, address: SocketAddr, accepting: Accepting) {
        self.lock().listeners.insert(address, accepting);
    }

    /// Unless another one listens there by now.
    pub(crate) fn close(&self, address: SocketAddr, accepting: &Accepting) {
        let mut state = self.lock();
        let listener = state.listeners.get(&address);
        if listener.is_some_and(|listener| listener.same_channel(accepting)) {
            state.listeners.remove(&address);
        }
    }

    pub(crate) fn listener(&self, address: SocketAddr) -> Option<Accepting> {
        self.lock().listeners.get(&address).cloned()
    }

    /// Sends a segment of a connection; none of its bytes are counted if it only begins or ends one.
    pub(crate) fn segment(&self, from: SocketAddr, to: SocketAddr, bytes: usize) -> Segment {
        if bytes > 0 {
            self.count(bytes);
        }
        match self
            .lock()
            .fate(from, to)
            .and_then(|delays| delays.first().copied())
        {
            Some(delay) => Segment::Arrives(delay),
            None => Segment::Lost,
        }
    }

    fn count(&self, bytes: usize) {
        self.shared.packets.fetch_add(1, Ordering::Relaxed);
        let bytes = bytes as u64;
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Whether a connection is refused there: the address is reachable, but nothing listens.
    fn refuses(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let state = self.lock();
        state.are_together(from, to) && !state.inboxes.contains_key(&to)
    }

    fn carry(&self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        self.count(packet.len());
        let (inbox, delays) = {
            let mut state = self.lock();
            let Some(delays) = state.fate(from, to) else {
                return;
            };
            let Some(inbox) = state.inboxes.get(&to).cloned() else {
                return;
            };
            (inbox, delays)
        };
        for delay in delays {
            let arrival = Arrival {
                from,
                stream: false,
                packet: packet.to_vec(),
            };
            if delay.is_zero() {
                inbox.deliver(arrival);
            } else {
                let inbox = Arc::clone(&inbox);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    inbox.deliver(arrival);
                });
            }
        }
    }
}

impl State {
    /// Whether these two are not on different sides of a partition.
    fn are_together(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let both = |group: &HashSet<SocketAddr>| group.contains(&from) && group.contains(&to);
        self.groups.is_empty() || self.groups.iter().any(both)
    }

    /// The delay of each copy of a packet that arrives; `None` if it cannot.
    fn fate(&mut self, from: SocketAddr, to: SocketAddr) -> Option<Vec<Duration>> {
        if !self.are_together(from, to) {
            return None;
        }
        let Faults {
            loss,
            duplication,
            delay: (least, most),
        } = self.faults;
        if self.random.random_bool(loss) {
            return None;
        }
        let copies = 1 + usize::from(self.random.random_bool(duplication));
        let delays = (0..copies).map(|_| {
            if most > least {
                self.random.random_range(least..most)
            } else {
                least
            }
        });
        Some(delays.collect())
    }
}

impl Link for SimulatedLink {
    fn send(&self, to: SocketAddr, packet: Vec<u8>, via: Via) {
        if via == Via::Stream {
            let mut refused = lock(&self.refused);
            if self.network.refuses(self.address, to) {
                refused.insert(to, Instant::now());
            } else {
                refused.remove(&to);
            }
        }
        self.network.carry(self.address, to, &packet);
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn last_error(&self, to: SocketAddr) -> Option<LastError> {
        lock(&self.refused).get(&to).map(|at| LastError {
            text: "connection refused".to_owned(),
            at: *at,
            is_refusal: true,
        })
    }
}

impl Drop for SimulatedLink {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let inbox = state.inboxes.get(&self.address);
        // A member that was started at the same address in the meantime stays.
        if inbox.is_some_and(|inbox| Arc::ptr_eq(inbox, &self.inbox)) {
            state.inboxes.remove(&self.address);
        }
    }
}
