//! What is in the maps of chitchat, and how they are changed and read.
//!
//! A value under [`COPY`] and a key is that member's copy of an entry; [`STATE`] is what the member
//! says of itself, [`MARK`] a moment that it marked.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState,
};
use kv_core::lock;

use super::contacts::Digest;
use super::inspect::{COPY, MARK, MAY_CHANGE, STATE};
use super::snapshot::parts::Maps;
use super::socket::Sockets;
use super::wire::Wire;
use crate::engine::{Copies, EntrySink, MemberId, Sender};
use crate::status::MemberState;
use crate::view::entry::EntryText;

/// All members speak to each other whatever this says; the cluster label is checked before.
const CLUSTER: &str = "kv-memberlist";

/// chitchat's suspicion grows with the silence of a member in multiples of the usual time between
/// its heartbeats, which come several times per round. It decides only whom gossip prefers, and
/// begins the time after which a member is forgotten; who is dead is decided by [`super::liveness`].
const PHI: f64 = 60.0;

/// After this, a member that a digest named has been told to chitchat, or never will be.
const UNKNOWN: Duration = Duration::from_secs(1);

/// How long other members are told that a copy is gone, in rounds, and at least. A member that missed
/// it is sent the whole map again. chitchat looks at each of these memories in each exchange, so they
/// should be few; and a member that hears nothing for a third of the time is considered dead.
const DROPPED_COPY_ROUNDS: u32 = 75;
const DROPPED_COPY_AT_LEAST: Duration = Duration::from_secs(15);

/// How this member takes part.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) gossip_interval: Duration,
    /// How long a dead member's map is kept.
    pub(super) remember: Duration,
    /// Whether it would change to another protocol.
    pub(super) may_change: bool,
}

/// This member's part in gossip. A task of chitchat's does the work; dropping this stops it.
pub(super) struct Gossip {
    identity: Identity,
    wire: Arc<Wire>,
    sink: Arc<dyn EntrySink>,
    /// Replaced when chitchat's task has to be started again. Lock order: held for a moment only,
    /// and also by tasks that hold chitchat's own lock.
    ///
    /// That one, inside of the handle, comes before all others of this crate: the sink is told of
    /// copies while it is held, as are the view (see [`crate::view::View`]) and [`Wire::contacts`]
    /// locked.
    running: Mutex<Arc<ChitchatHandle>>,
}

/// What a member lacks.
#[derive(Debug, Clone, Default)]
pub(super) struct Missing {
    /// Changes of the members' maps, of which later ones may have replaced earlier ones.
    pub(super) versions: u64,
    /// Whose maps these are.
    pub(super) maps: HashSet<ChitchatId>,
}

/// What gossip says of a member.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) id: MemberId,
    pub(super) heartbeat: u64,
    /// What it says of itself; `None` if that has not arrived.
    pub(super) state: Option<MemberState>,
    /// Whether it would change to another protocol.
    pub(super) may_change: bool,
    pub(super) is_self: bool,
}

/// The copies in all maps.
struct AllCopies<'a> {
    own: MemberId,
    maps: Vec<(MemberId, &'a NodeState)>,
}

impl<'a> AllCopies<'a> {
    fn of(chitchat: &'a Chitchat) -> Self {
        let maps = chitchat.node_states().iter();
        Self {
            own: member_id(chitchat.self_chitchat_id()),
            maps: maps.map(|(id, map)| (member_id(id), map)).collect(),
        }
    }
}

impl Copies for AllCopies<'_> {
    fn own_id(&self) -> &MemberId {
        &self.own
    }

    fn for_each(
        &self,
        of: &dyn Fn(&MemberId) -> bool,
        show: &mut dyn FnMut(&MemberId, &str, &str),
    ) {
        for (id, map) in self.maps.iter().filter(|(id, _)| of(id)) {
            for (key, text) in map.key_values() {
                if let Some(key) = key.strip_prefix(COPY) {
                    show(id, key, text);
                }
            }
        }
    }

    fn any_other(&self, key: &str, is_wanted: &dyn Fn(&MemberId, &str) -> bool) -> bool {
        let published = [COPY, key].concat();
        self.maps.iter().any(|(id, map)| {
            *id != self.own && map.get(&published).is_some_and(|text| is_wanted(id, text))
        })
    }
}

fn member_id(id: &ChitchatId) -> MemberId {
    MemberId {
        name: Arc::clone(&id.node_id),
        run: id.generation_id,
        address: id.gossip_advertise_addr,
    }
}

impl Gossip {
    pub(super) async fn start(
        identity: Identity,
        wire: Arc<Wire>,
        sink: Arc<dyn EntrySink>,
    ) -> anyhow::Result<Self> {
        let handle = spawn(&identity, &wire, &sink, MemberState::Joining).await?;
        Ok(Self {
            identity,
            wire,
            sink,
            running: Mutex::new(Arc::new(handle)),
        })
    }

    fn handle(&self) -> Arc<ChitchatHandle> {
        Arc::clone(&lock(&self.running))
    }

    /// Waits until chitchat's task ends, which only a bug makes it do; says how.
    pub(super) async fn ended(&self) -> String {
        match self.handle().termination_watcher().await {
            Ok(()) => "it ended".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Starts chitchat again, as another run of this member with an empty map.
    pub(super) async fn restart(&self, state: MemberState) -> anyhow::Result<()> {
        let handle = spawn(&self.identity, &self.wire, &self.sink, state).await?;
        *lock(&self.running) = Arc::new(handle);
        Ok(())
    }

    /// Has everything published again that the map held before a restart.
    pub(super) fn publish_again(&self) {
        self.sink.publish_again();
    }

    /// Time between two rounds.
    pub(super) fn interval(&self) -> Duration {
        self.identity.gossip_interval
    }

    /// Begins an exchange with whatever listens at the address. Over a stream, so that
    /// [`Wire::last_error`] knows if nothing does.
    pub(super) fn contact(&self, address: SocketAddr) {
        self.wire.use_stream_once(address);
        self.exchange(address);
    }

    /// Begins an exchange with a member.
    pub(super) fn exchange(&self, address: SocketAddr) {
        if let Err(error) = self.handle().gossip(address) {
            tracing::debug!(%error, "gossip is not running");
        }
    }

    /// Changes this member's own map; nothing else can meanwhile.
    async fn change<T>(&self, change: impl FnOnce(&mut Chitchat) -> T) -> T {
        loop {
            let handle = self.handle();
            let chitchat = handle.chitchat();
            let mut chitchat = chitchat.lock().await;
            // Started again while this waited: what is written to the old one, no member sees.
            if !Arc::ptr_eq(&handle, &self.handle()) {
                continue;
            }
            let result = change(&mut chitchat);
            let version = chitchat.self_node_state().max_version();
            self.wire.contacts().set_own_version(version);
            return result;
        }
    }

    /// Says what this member does.
    pub(super) async fn say(&self, state: MemberState) {
        self.change(|chitchat| chitchat.self_node_state().set(STATE, state.as_str()))
            .await;
    }

    /// Gives this member's map a new version, by which recent digests of others are told from old
    /// ones.
    pub(super) async fn mark(&self) -> u64 {
        self.change(|chitchat| {
            let own = chitchat.self_node_state();
            let version = own.max_version();
            own.set(MARK, version);
            own.max_version()
        })
        .await
    }

    /// See [`crate::engine::Engine::publish`].
    pub(super) async fn publish(&self, take: &mut (dyn FnMut() -> Vec<EntryText> + Send)) {
        self.change(|chitchat| {
            let own = chitchat.self_node_state();
            for EntryText { key, text, .. } in take() {
                own.set([COPY, &key].concat(), text);
            }
        })
        .await;
    }

    /// See [`crate::engine::Engine::withdraw`].
    pub(super) async fn withdraw(
        &self,
        choose: &mut (dyn for<'a> FnMut(&'a dyn Copies) -> Vec<String> + Send),
    ) {
        self.change(|chitchat| {
            let keys = choose(&AllCopies::of(chitchat));
            let own = chitchat.self_node_state();
            for key in keys {
                let published = [COPY, &key].concat();
                if own.contains_key(&published) {
                    own.delete(&published);
                }
            }
        })
        .await;
    }

    /// See [`crate::engine::Engine::visit`].
    pub(super) async fn visit(&self, look: &mut (dyn for<'a> FnMut(&'a dyn Copies) + Send)) {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        look(&AllCopies::of(&chitchat));
    }

    /// All members that gossip remembers, this one included.
    pub(super) async fn peers(&self) -> Vec<Peer> {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        let own = chitchat.self_chitchat_id();
        self.wire
            .contacts()
            .remembers(chitchat.node_states().keys());
        chitchat
            .node_states()
            .iter()
            .map(|(id, map)| Peer {
                id: member_id(id),
                heartbeat: map.heartbeat().into(),
                state: map.get(STATE).and_then(parse_state),
                may_change: map.get(MAY_CHANGE).is_some(),
                is_self: id == own,
            })
            .collect()
    }

    /// How many copies each member publishes.
    pub(super) async fn copy_counts(&self) -> Vec<(MemberId, usize)> {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        chitchat
            .node_states()
            .iter()
            .map(|(id, map)| (member_id(id), map.iter_prefix(COPY).count()))
            .collect()
    }

    /// What this member lacks of what another said that it held; `None` if it is nothing.
    pub(super) async fn missing(&self, digest: &Digest) -> Option<Missing> {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        // A member that chitchat still does not know it has forgotten, and learns of no more.
        let is_settled = digest.at.elapsed() >= UNKNOWN;
        let mut missing = Missing::default();
        let mut is_behind = false;
        for (id, version) in &digest.versions {
            if id == chitchat.self_chitchat_id() || *version == 0 {
                continue;
            }
            match chitchat.node_state(id) {
                Some(map) if map.max_version() < *version => {
                    missing.versions += version - map.max_version();
                    missing.maps.insert(id.clone());
                    is_behind = true;
                }
                Some(_) => {}
                None => is_behind |= !is_settled,
            }
        }
        is_behind.then_some(missing)
    }

    /// All maps, for a snapshot.
    pub(super) async fn maps(&self) -> Maps {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        Maps::of(&chitchat)
    }

    /// The version of this member's own map.
    pub(super) async fn own_version(&self) -> u64 {
        let chitchat = self.handle().chitchat();
        let mut chitchat = chitchat.lock().await;
        chitchat.self_node_state().max_version()
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.handle().abort();
    }
}

async fn spawn(
    identity: &Identity,
    wire: &Arc<Wire>,
    sink: &Arc<dyn EntrySink>,
    state: MemberState,
) -> anyhow::Result<ChitchatHandle> {
    let id = ChitchatId::new(
        identity.name.as_str(),
        u64::try_from(crate::clock::now_ms()).unwrap_or(0),
        wire.advertised(),
    );
    wire.contacts().begin(&id);
    let interval = identity.gossip_interval;
    let config = ChitchatConfig {
        chitchat_id: id.clone(),
        cluster_id: CLUSTER.to_owned(),
        gossip_interval: interval,
        listen_addr: wire.advertised(),
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            sampling_window_size: 100,
            max_interval: interval * 50,
            initial_interval: interval,
            dead_node_grace_period: identity.remember,
        },
        marked_for_deletion_grace_period: (interval * DROPPED_COPY_ROUNDS)
            .max(DROPPED_COPY_AT_LEAST),
        catchup_callback: None,
        // chitchat hands a clone of every member's whole map that passes this to a watcher that
        // nothing reads, at every change.
        extra_liveness_predicate: Some(Box::new(|_| false)),
    };
    let mut first = vec![(STATE.to_owned(), state.as_str().to_owned())];
    if identity.may_change {
        first.push((MAY_CHANGE.to_owned(), "1".to_owned()));
    }
    let handle = chitchat::spawn_chitchat(config, first, &Sockets(Arc::clone(wire))).await?;
    handle
        .with_chitchat(|chitchat| {
            let (told, own) = (Arc::clone(sink), id.clone());
            chitchat
                .subscribe_event(COPY, move |event| {
                    if *event.node != own {
                        let _news = told.receive(event.key, event.value, Sender::Ours);
                    }
                })
                .forever();
            // What arrived before the subscription.
            for (other, map) in chitchat.node_states() {
                if *other != id {
                    for (key, value) in map.iter_prefix(COPY) {
                        if let Some(key) = key.strip_prefix(COPY) {
                            let _news = sink.receive(key, &value.value, Sender::Ours);
                        }
                    }
                }
            }
        })
        .await;
    Ok(handle)
}

fn parse_state(text: &str) -> Option<MemberState> {
    [
        MemberState::Joining,
        MemberState::Active,
        MemberState::Leaving,
        MemberState::Left,
    ]
    .into_iter()
    .find(|state| state.as_str() == text)
}
