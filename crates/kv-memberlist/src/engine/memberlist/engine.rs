//! The engine that the protocol's crate, and what is around it, make.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kv_core::{Tasks, lock};
use memberlist_protocol::codec::{Compression, Wire};
use memberlist_protocol::membership::{Config, Node, Priority};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::drive::drive;
use super::net::{Exchange, Outgoing, Sockets, accept, exchange_states, send_packets};
use super::options::{Timeouts, Tls};
use super::ring::Ring;
use super::roster::Roster;
use super::rules::OfView;
use super::shared::{Contact, Foreigners, Shared};
use crate::engine::history::MessageHistory;
use crate::engine::{
    CatchUp, ContactInfo, Copies, Engine, EntrySink, MemberChange, MemberId, Members,
};
use crate::link::foreign::Foreigner;
use crate::metrics::Metrics;
use crate::status::{History, MemberState, OtherKey};
use crate::view::entry::EntryText;

/// Time between two checks of something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Members whose whole state a joiner asks for, at most.
const MAX_ASKED: usize = 4;

/// How long the answers of members are waited for after a stall.
const AFTER_STALL: Duration = Duration::from_secs(5);

/// Packets that wait for a connection, at most.
const MAX_QUEUED: usize = 512;

/// Exchanges of states that wait to begin, at most.
const MAX_EXCHANGES: usize = 64;

/// Addresses that were contacted, and what came of it, that are remembered at most.
const MAX_CONTACTS: usize = 1024;

/// What an engine is made of.
pub(crate) struct Parts {
    pub(crate) node: Config,
    /// Where other members reach this one.
    pub(crate) advertised: SocketAddr,
    pub(crate) sockets: Sockets,
    /// What the member draws comes from it.
    pub(crate) rng: StdRng,
    pub(crate) wire: Wire,
    pub(crate) compression: Option<Compression>,
    /// Packets that are written at the same time, at most.
    pub(crate) writers: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) tls: Option<Tls>,
    /// Of the values.
    pub(crate) codec: &'static str,
    /// How long tombstones are kept.
    pub(crate) keep_tombstones: Duration,
    /// Bytes of sent, and as many of received, messages to keep; 0 for none.
    pub(crate) history_bytes: usize,
    pub(crate) sink: Arc<dyn EntrySink>,
    pub(crate) metrics: Metrics,
}

struct MemberlistEngine {
    shared: Arc<Shared>,
    exchanges: mpsc::Sender<Exchange>,
    /// Lock order: after the ring.
    roster: Mutex<Roster>,
    own_state: Mutex<MemberState>,
}

/// Starts to take part in the ring. The tasks that this takes are added to those of the member.
pub(crate) fn start(parts: Parts, tasks: &mut Tasks) -> Arc<dyn Engine> {
    let node = Node::new(parts.node, parts.rng, Duration::ZERO);
    let ring = Ring::new(
        node,
        OfView::new(parts.sink, parts.codec, parts.keep_tombstones),
    );
    let shared = Arc::new(Shared {
        ring: Mutex::new(ring),
        changed: Notify::new(),
        began: Instant::now(),
        advertised: parts.advertised,
        dial: parts.sockets.dial,
        codec: parts.codec,
        wire: parts.wire,
        compression: parts.compression,
        timeouts: parts.timeouts,
        tls: parts.tls,
        metrics: parts.metrics,
        history: MessageHistory::of_size(parts.history_bytes),
        contacts: Mutex::default(),
        has_heard: AtomicBool::new(false),
        foreigners: Foreigners::default(),
    });
    let (outgoing, packets) = mpsc::channel::<Outgoing>(MAX_QUEUED);
    let (exchanges, begun) = mpsc::channel(MAX_EXCHANGES);
    for listener in parts.sockets.listeners {
        tasks.spawn(accept(listener, Arc::clone(&shared)));
    }
    tasks.spawn(send_packets(packets, Arc::clone(&shared), parts.writers));
    tasks.spawn(exchange_states(begun, Arc::clone(&shared)));
    tasks.spawn(drive(Arc::clone(&shared), outgoing, exchanges.clone()));
    let engine = MemberlistEngine {
        shared,
        exchanges,
        roster: Mutex::default(),
        own_state: Mutex::new(MemberState::Joining),
    };
    engine.poll();
    Arc::new(engine)
}

impl MemberlistEngine {
    fn poll(&self) -> Vec<MemberChange> {
        let own = *lock(&self.own_state);
        let (ring, now) = self.shared.ring();
        let (own_waiting, relayed) = (
            ring.node().waiting(Priority::Own),
            ring.node().waiting(Priority::Relayed),
        );
        let metrics = &self.shared.metrics;
        metrics.queued.set(own_waiting.0 as i64);
        metrics.queued_gossip.set(relayed.0 as i64);
        metrics.queued_bytes.set((own_waiting.1 + relayed.1) as i64);
        lock(&self.roster).poll(ring.node(), own, now)
    }

    /// Begins an exchange; false if too many wait already.
    fn begin(&self, with: SocketAddr, join: bool) -> bool {
        self.exchanges.try_send(Exchange { with, join }).is_ok()
    }

    fn open(&self) -> usize {
        let contacts = lock(&self.shared.contacts);
        let open = contacts
            .values()
            .filter(|contact| matches!(contact, Contact::Open));
        open.count()
    }

    /// Calls `look` with all copies.
    fn with_copies(&self, look: &mut dyn FnMut(&mut Ring, &MemberId, &BTreeSet<MemberId>)) {
        let (mut ring, _) = self.shared.ring();
        let (own, others) = {
            let roster = lock(&self.roster);
            (roster.own().cloned(), roster.others())
        };
        if let Some(own) = own {
            look(&mut ring, &own, &others);
        }
    }
}

#[async_trait]
impl Engine for MemberlistEngine {
    fn advertised(&self) -> SocketAddr {
        self.shared.advertised
    }

    fn own_state(&self) -> MemberState {
        *lock(&self.own_state)
    }

    async fn announce(&self, state: MemberState) {
        {
            let mut own = lock(&self.own_state);
            if matches!(*own, MemberState::Leaving | MemberState::Left) && state < *own {
                return;
            }
            *own = state;
        }
        if state == MemberState::Left {
            let (mut ring, now) = self.shared.ring();
            ring.node_mut().leave(now);
        }
        self.shared.changed.notify_one();
        self.poll();
    }

    async fn announced(&self) {
        // Who is alive is known to all by gossip; only the end is waited for.
        while self.own_state() == MemberState::Left && !self.shared.ring().0.node().has_left() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn poll_members(&self) -> Vec<MemberChange> {
        self.poll()
    }

    fn health_score(&self) -> Option<u32> {
        Some(self.shared.ring().0.node().health_score())
    }

    fn members(&self) -> Members {
        lock(&self.roster).members().clone()
    }

    async fn copy_counts(&self) -> Vec<(MemberId, usize)> {
        let entries = self.shared.ring().0.len();
        let roster = lock(&self.roster);
        let alive = roster.members().iter().filter(|record| record.is_alive);
        alive.map(|record| (record.id.clone(), entries)).collect()
    }

    async fn publish(&self, take: &mut (dyn FnMut() -> Vec<EntryText> + Send)) {
        let (mut ring, _) = self.shared.ring();
        for entry in take() {
            ring.hold(entry);
        }
    }

    async fn withdraw(
        &self,
        choose: &mut (dyn for<'a> FnMut(&'a dyn Copies) -> Vec<String> + Send),
    ) {
        // Every member keeps every entry: there is nothing to withdraw.
        self.with_copies(&mut |ring, own, others| {
            let _kept = choose(&ring.copies(own, others));
        });
    }

    async fn forget(&self, choose: &mut (dyn FnMut() -> Vec<String> + Send)) {
        let (mut ring, _) = self.shared.ring();
        ring.forget(&choose());
    }

    async fn visit(&self, look: &mut (dyn for<'a> FnMut(&'a dyn Copies) + Send)) {
        self.with_copies(&mut |ring, own, others| look(&ring.copies(own, others)));
    }

    fn exchange(&self, _with: SocketAddr) {
        // A round of gossip tells what is new; an exchange would tell all that there is.
        let (mut ring, now) = self.shared.ring();
        ring.node_mut().gossip_soon(now);
        drop(ring);
        self.shared.changed.notify_one();
    }

    fn expect(&self, _addresses: &[SocketAddr]) {}

    fn contact(&self, address: SocketAddr) {
        let mut contacts = lock(&self.shared.contacts);
        if contacts.len() >= MAX_CONTACTS {
            contacts.retain(|_, contact| matches!(contact, Contact::Open));
        }
        let is_open = matches!(contacts.get(&address), Some(Contact::Open));
        if !is_open && contacts.len() < MAX_CONTACTS && self.begin(address, true) {
            contacts.insert(address, Contact::Open);
        }
    }

    fn contact_info(&self, address: SocketAddr) -> ContactInfo {
        let last_error = match lock(&self.shared.contacts).get(&address) {
            Some(Contact::Failed(error)) => Some(error.clone()),
            _ => None,
        };
        ContactInfo {
            is_full: false,
            last_error,
            is_closed: false,
        }
    }

    fn last_foreigner(&self) -> Option<Foreigner> {
        self.shared.foreigners.last()
    }

    fn has_heard_any(&self) -> bool {
        self.shared.has_heard.load(Ordering::Relaxed)
    }

    async fn catch_up(&self, why: CatchUp<'_>, progress: &(dyn Fn(String) + Send + Sync)) {
        let within = match why {
            // An exchange of states has brought what one member holds. The others that were asked
            // may hold something that is on its way to it: their answers are waited for.
            CatchUp::Joining { .. } => self.shared.timeouts.stream * 2,
            CatchUp::AfterStall => {
                self.poll();
                let members = self.members();
                for with in members.addresses().sample(&mut rand::rng(), MAX_ASKED) {
                    self.contact(with);
                }
                AFTER_STALL
            }
        };
        progress("waiting for the answers of members that were asked for all entries".to_owned());
        let answered = async {
            while self.open() > 0 {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let _late = tokio::time::timeout(within, answered).await;
        self.poll();
    }

    fn note_stall(&self) {}

    fn other_keys(&self) -> Vec<OtherKey> {
        self.shared.ring().0.other_keys()
    }

    fn history(&self) -> Option<History> {
        self.shared.history.as_ref().map(MessageHistory::snapshot)
    }
}
