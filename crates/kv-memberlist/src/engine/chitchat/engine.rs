//! The engine that chitchat, and what is around it, make.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kv_core::{Tasks, lock};
use tokio::sync::watch;
use tokio::time::Instant;

use super::catch_up;
use super::gossip::{Gossip, Identity};
use super::liveness::Liveness;
use super::own_state::OwnState;
use super::snapshot::serve::serve;
use super::supervisor::keep_running;
use super::wire::Wire;
use crate::admission::Admission;
use crate::engine::{
    CatchUp, ContactInfo, Copies, Engine, EntrySink, MemberChange, MemberId, Members,
};
use crate::link::Link;
use crate::link::foreign::{Answered, ForeignProtocol, Foreigner};
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::status::{History, MemberState};
use crate::view::entry::EntryText;

/// Time between two looks whether others know what this member announced.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What an engine is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    /// Where other members reach this one.
    pub(crate) advertised: SocketAddr,
    pub(crate) gossip_interval: Duration,
    /// How long a member that has left, or is dead, is remembered.
    pub(crate) remember: Duration,
    /// Whether this member would change to another protocol.
    pub(crate) may_change: bool,
    /// Bytes of sent, and as many of received, messages to keep; 0 for none.
    pub(crate) history_bytes: usize,
    pub(crate) admission: Arc<Admission>,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) sink: Arc<dyn EntrySink>,
    /// A member that is not ready gives no snapshot.
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) metrics: Metrics,
}

struct ChitchatEngine {
    gossip: Arc<Gossip>,
    wire: Arc<Wire>,
    /// Lock order: alone, but for what [`Admission`] locks.
    liveness: Mutex<Liveness>,
    own_state: Arc<OwnState>,
    /// How often this process did not run for a while.
    stalls: AtomicU64,
}

/// Starts to take part in gossip. The tasks that this takes are added to those of the member.
pub(crate) async fn start(parts: Parts, tasks: &mut Tasks) -> anyhow::Result<Arc<dyn Engine>> {
    let wire = Arc::new(Wire::new(
        parts.admission,
        parts.link,
        parts.advertised,
        parts.history_bytes,
    ));
    let identity = Identity {
        name: parts.name,
        gossip_interval: parts.gossip_interval,
        remember: parts.remember,
        may_change: parts.may_change,
    };
    let gossip = Arc::new(Gossip::start(identity, Arc::clone(&wire), parts.sink).await?);
    let own_state = Arc::new(OwnState::new());
    let mut liveness = Liveness::new(parts.gossip_interval);
    liveness.poll(gossip.peers().await);
    tasks.spawn_fallible(keep_running(
        Arc::clone(&gossip),
        Arc::clone(&own_state),
        parts.metrics.restarts.clone(),
    ));
    let (phase, own) = (parts.phase, Arc::clone(&own_state));
    let may_serve = move || own.get() == MemberState::Active && *phase.borrow() == Phase::Ready;
    tasks.spawn(serve(
        Arc::clone(&gossip),
        Arc::clone(&wire),
        parts.metrics,
        may_serve,
    ));
    Ok(Arc::new(ChitchatEngine {
        gossip,
        wire,
        liveness: Mutex::new(liveness),
        own_state,
        stalls: AtomicU64::new(0),
    }))
}

impl ChitchatEngine {
    /// Living members that are not known to have this version of this one's map.
    fn unaware_of(&self, version: u64) -> Vec<SocketAddr> {
        let members = self.members();
        let contacts = self.wire.contacts();
        members
            .addresses()
            .filter(|address| contacts.own_version_at(*address) < version)
            .collect()
    }
}

#[async_trait]
impl Engine for ChitchatEngine {
    fn advertised(&self) -> SocketAddr {
        self.wire.advertised()
    }

    fn own_state(&self) -> MemberState {
        self.own_state.get()
    }

    async fn announce(&self, state: MemberState) {
        if state == MemberState::Active {
            // What it still lacks may come from any other member.
            self.wire.receiving().end();
        }
        if self.own_state.set(state) {
            self.gossip.say(state).await;
        }
    }

    async fn announced(&self) {
        let version = self.gossip.own_version().await;
        let mut asked: Option<Instant> = None;
        loop {
            let unaware = self.unaware_of(version);
            if unaware.is_empty() {
                return;
            }
            if asked.is_none_or(|at| at.elapsed() >= self.gossip.interval()) {
                asked = Some(Instant::now());
                for address in unaware {
                    self.gossip.exchange(address);
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn poll_members(&self) -> Vec<MemberChange> {
        let peers = self.gossip.peers().await;
        let mut liveness = lock(&self.liveness);
        let changes = liveness.poll(peers);
        let alive: Vec<SocketAddr> = liveness.members().addresses().collect();
        self.wire.admission().set_members(alive);
        changes
    }

    fn members(&self) -> Members {
        lock(&self.liveness).members()
    }

    async fn copy_counts(&self) -> Vec<(MemberId, usize)> {
        self.gossip.copy_counts().await
    }

    async fn publish(&self, take: &mut (dyn FnMut() -> Vec<EntryText> + Send)) {
        self.gossip.publish(take).await;
    }

    async fn withdraw(
        &self,
        choose: &mut (dyn for<'a> FnMut(&'a dyn Copies) -> Vec<String> + Send),
    ) {
        self.gossip.withdraw(choose).await;
    }

    async fn forget(&self, choose: &mut (dyn FnMut() -> Vec<String> + Send)) {
        self.gossip.withdraw(&mut |_| choose()).await;
    }

    async fn visit(&self, look: &mut (dyn for<'a> FnMut(&'a dyn Copies) + Send)) {
        self.gossip.visit(look).await;
    }

    fn exchange(&self, with: SocketAddr) {
        self.gossip.exchange(with);
    }

    fn expect(&self, addresses: &[SocketAddr]) {
        self.wire.admission().name(addresses);
    }

    fn contact(&self, address: SocketAddr) {
        self.gossip.contact(address);
    }

    fn contact_info(&self, address: SocketAddr) -> ContactInfo {
        ContactInfo {
            is_full: self.wire.contacts().has_no_room(address),
            last_error: self.wire.last_error(address).map(|error| error.text),
            is_closed: self.wire.was_closed(address),
        }
    }

    async fn ask(&self, address: SocketAddr, label: &str) -> Option<Answered> {
        self.wire.ask(address, label).await
    }

    async fn identify(&self, address: SocketAddr, label: &str) -> Option<ForeignProtocol> {
        self.wire.identify(address, label).await
    }

    fn last_foreigner(&self) -> Option<Foreigner> {
        self.wire.admission().last_foreigner()
    }

    fn has_heard_any(&self) -> bool {
        self.wire.contacts().has_heard_any()
    }

    async fn catch_up(&self, why: CatchUp<'_>, progress: &(dyn Fn(String) + Send + Sync)) {
        let parts = catch_up::Parts {
            gossip: &self.gossip,
            wire: &self.wire,
            liveness: &self.liveness,
            stalls: &self.stalls,
        };
        catch_up::catch_up(parts, why, progress).await;
    }

    fn note_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    fn history(&self) -> Option<History> {
        self.wire.history()
    }
}
