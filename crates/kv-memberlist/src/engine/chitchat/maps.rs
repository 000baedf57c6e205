//! All that knows chitchat: each member publishes a map, and sees the maps of all others.
//!
//! chitchat's part is to spread maps and heartbeats. What the maps mean is decided elsewhere: a
//! value under [`COPY`] and a key is that member's copy of an entry; [`STATE`] is what the member
//! says of itself.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState,
};

use super::socket;
use super::wire::{Digest, Wire};
use crate::MemberState;
use crate::engine::chitchat::snapshot::Maps;
use crate::view::Holder;

/// What a copy's key begins with.
pub(crate) const COPY: &str = "k";

/// Under which a member says what it does.
const STATE: &str = "~state";

/// Under which a member marks a moment.
const MARK: &str = "~mark";

/// All members speak to each other whatever this says; the cluster label is checked before.
const CLUSTER: &str = "kv-memberlist";

/// chitchat's suspicion grows with the silence of a member in multiples of the usual time between
/// its heartbeats, which come several times per round. It decides only whom gossip prefers, and
/// begins the time after which a member is forgotten; who is dead is decided by [`crate::engine::chitchat::liveness`].
const PHI: f64 = 60.0;

/// After this, a member that a digest named has been told to chitchat, or never will be.
const UNKNOWN: Duration = Duration::from_secs(1);

/// How long other members are told that a copy is gone, in rounds and at least. A member that missed
/// it is sent the whole map anew. chitchat looks at each of these memories in each exchange, so they
/// should be few; and whoever hears nothing for a third of the time is held for dead.
const DROPPED_COPY: (u32, Duration) = (75, Duration::from_secs(15));

/// Identifies one run of one member.
pub(crate) type PeerId = ChitchatId;

/// What is told of every copy that another member publishes: its key and its text. Called under
/// chitchat's lock.
pub(crate) type OnCopy = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// How this member takes part.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) gossip_interval: Duration,
    /// How long a dead member's map is kept.
    pub(crate) remember: Duration,
}

/// This member's part in gossip. A task of chitchat's does the work; dropping this stops it.
pub(crate) struct Gossip {
    part: Part,
    wire: Arc<Wire>,
    on_copy: OnCopy,
    /// Replaced when chitchat's task has to be started again.
    running: Mutex<Arc<ChitchatHandle>>,
}

/// What a member lacks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missing {
    /// Changes of the members' maps, of which later ones may have replaced earlier ones.
    pub(crate) versions: u64,
    /// Whose maps these are.
    pub(crate) maps: HashSet<PeerId>,
}

/// What gossip says of a member.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) heartbeat: u64,
    /// What it says of itself; `None` if that has not arrived.
    pub(crate) state: Option<MemberState>,
    pub(crate) is_self: bool,
}

impl Holder {
    fn of(id: &PeerId, own: &PeerId) -> Self {
        if id < own { Self::Before } else { Self::Other }
    }
}

impl Gossip {
    pub(crate) async fn start(
        part: Part,
        wire: Arc<Wire>,
        on_copy: OnCopy,
    ) -> anyhow::Result<Self> {
        let handle = spawn(&part, &wire, &on_copy, MemberState::Joining).await?;
        Ok(Self {
            part,
            wire,
            on_copy,
            running: Mutex::new(Arc::new(handle)),
        })
    }

    fn handle(&self) -> Arc<ChitchatHandle> {
        Arc::clone(&self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until chitchat's task ends, which only a bug makes it do; says how.
    pub(crate) async fn ended(&self) -> String {
        match self.handle().termination_watcher().await {
            Ok(()) => "it ended".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Starts chitchat anew, as another run of this member with an empty map.
    pub(crate) async fn restart(&self, state: MemberState) -> anyhow::Result<()> {
        let handle = spawn(&self.part, &self.wire, &self.on_copy, state).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handle);
        Ok(())
    }

    /// Begins an exchange with whoever listens at the address. Over a stream, so that
    /// [`Wire::trouble`] knows if nobody does.
    pub(crate) fn contact(&self, address: SocketAddr) {
        self.wire.use_stream_once(address);
        self.exchange(address);
    }

    /// Begins an exchange with a member.
    pub(crate) fn exchange(&self, address: SocketAddr) {
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
            // Started anew while this waited: what is written to the old one nobody sees.
            if !Arc::ptr_eq(&handle, &self.handle()) {
                continue;
            }
            let result = change(&mut chitchat);
            let version = chitchat.self_node_state().max_version();
            self.wire.set_own_version(version);
            return result;
        }
    }

    /// Says what this member does.
    pub(crate) async fn say(&self, state: MemberState) {
        self.change(|chitchat| chitchat.self_node_state().set(STATE, state.as_str()))
            .await;
    }

    /// Gives this member's map a new version, by which recent digests of others are told from old
    /// ones.
    pub(crate) async fn mark(&self) -> u64 {
        self.change(|chitchat| {
            let own = chitchat.self_node_state();
            let version = own.max_version();
            own.set(MARK, version);
            own.max_version()
        })
        .await
    }

    /// Publishes the copies that `take` returns, which is called when nothing else can change what
    /// is published.
    pub(crate) async fn publish(&self, take: impl FnOnce() -> Vec<(String, String)>) {
        self.change(|chitchat| {
            let own = chitchat.self_node_state();
            for (key, text) in take() {
                own.set([COPY, &key].concat(), text);
            }
        })
        .await;
    }

    /// Publishes no copies any more of the keys that `take` returns, which is called when nothing else
    /// can change what is published.
    pub(crate) async fn withdraw(&self, take: impl FnOnce() -> Vec<String>) {
        self.change(|chitchat| withdraw(chitchat.self_node_state(), &take()))
            .await;
    }

    /// Withdraws those copies among what `take` returns (key, and fingerprint of the entry) of which
    /// another member publishes that entry, one chosen by `holds` (given its id, and whether it is
    /// before this one). Tells `done` which were withdrawn and which not. Nothing else can change
    /// what is published from before `take` is called until `done` returns.
    pub(crate) async fn withdraw_held(
        &self,
        take: impl FnOnce() -> Vec<(String, u64)>,
        holds: impl Fn(&PeerId, Holder) -> bool,
        done: impl FnOnce(Vec<String>, Vec<String>),
    ) {
        self.change(|chitchat| {
            let (mut withdrawn, mut kept) = (Vec::new(), Vec::new());
            for (key, fingerprint) in take() {
                let published = [COPY, &key].concat();
                let own = chitchat.self_chitchat_id();
                let held = chitchat.node_states().iter().any(|(id, state)| {
                    id != own
                        && holds(id, Holder::of(id, own))
                        && state.get(&published).is_some_and(|text| {
                            crate::view::entry::fingerprint(text) == Some(fingerprint)
                        })
                });
                if held { &mut withdrawn } else { &mut kept }.push(key);
            }
            withdraw(chitchat.self_node_state(), &withdrawn);
            done(withdrawn, kept);
        })
        .await;
    }

    /// Shows every copy of the members chosen by `of`, with nothing changing meanwhile, then calls
    /// `then`.
    pub(crate) async fn visit_copies<S, T>(
        &self,
        of: impl Fn(&PeerId) -> bool,
        begin: impl FnOnce() -> S,
        mut visit: impl FnMut(&mut S, Holder, &str, &str),
        then: impl FnOnce(S) -> T,
    ) -> T {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        let mut seen = begin();
        for (id, state) in chitchat.node_states() {
            if of(id) {
                let holder = Holder::of(id, chitchat.self_chitchat_id());
                for (key, text) in state.key_values() {
                    if let Some(key) = key.strip_prefix(COPY) {
                        visit(&mut seen, holder, key, text);
                    }
                }
            }
        }
        then(seen)
    }

    /// All members that gossip remembers, this one included.
    pub(crate) async fn peers(&self) -> Vec<Peer> {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        let own = chitchat.self_chitchat_id();
        self.wire.remembers(chitchat.node_states().keys());
        chitchat
            .node_states()
            .iter()
            .map(|(id, state)| Peer {
                id: id.clone(),
                heartbeat: state.heartbeat().into(),
                state: state.get(STATE).and_then(parse_state),
                is_self: id == own,
            })
            .collect()
    }

    /// How many copies each member publishes.
    pub(crate) async fn copy_counts(&self) -> Vec<(PeerId, usize)> {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        chitchat
            .node_states()
            .iter()
            .map(|(id, state)| (id.clone(), state.iter_prefix(COPY).count()))
            .collect()
    }

    /// What this member lacks of what another said that it held; `None` if it is nothing.
    pub(crate) async fn missing(&self, digest: &Digest) -> Option<Missing> {
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
                Some(state) if state.max_version() < *version => {
                    missing.versions += version - state.max_version();
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
    pub(crate) async fn maps(&self) -> Maps {
        let chitchat = self.handle().chitchat();
        let chitchat = chitchat.lock().await;
        Maps::of(&chitchat)
    }

    /// The version of this member's own map.
    pub(crate) async fn own_version(&self) -> (PeerId, u64) {
        let chitchat = self.handle().chitchat();
        let mut chitchat = chitchat.lock().await;
        let version = chitchat.self_node_state().max_version();
        (chitchat.self_chitchat_id().clone(), version)
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.handle().abort();
    }
}

async fn spawn(
    part: &Part,
    wire: &Arc<Wire>,
    on_copy: &OnCopy,
    state: MemberState,
) -> anyhow::Result<ChitchatHandle> {
    let id = ChitchatId::new(
        part.name.as_str(),
        u64::try_from(crate::clock::now_ms()).unwrap_or(0),
        wire.advertised(),
    );
    wire.begin(&id);
    let config = ChitchatConfig {
        chitchat_id: id.clone(),
        cluster_id: CLUSTER.to_owned(),
        gossip_interval: part.gossip_interval,
        listen_addr: wire.advertised(),
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            sampling_window_size: 100,
            max_interval: part.gossip_interval * 50,
            initial_interval: part.gossip_interval,
            dead_node_grace_period: part.remember,
        },
        marked_for_deletion_grace_period: (part.gossip_interval * DROPPED_COPY.0)
            .max(DROPPED_COPY.1),
        catchup_callback: None,
        // chitchat hands a clone of every member's whole map that passes this to a watcher that
        // nobody reads, at every change.
        extra_liveness_predicate: Some(Box::new(|_| false)),
    };
    let first = vec![(STATE.to_owned(), state.as_str().to_owned())];
    let handle =
        chitchat::spawn_chitchat(config, first, &socket::Sockets(Arc::clone(wire))).await?;
    let on_copy = Arc::clone(on_copy);
    handle
        .with_chitchat(|chitchat| {
            let (tell, own) = (Arc::clone(&on_copy), id.clone());
            chitchat
                .subscribe_event(COPY, move |event| {
                    if *event.node != own {
                        tell(event.key, event.value);
                    }
                })
                .forever();
            // What arrived before the subscription.
            for (other, state) in chitchat.node_states() {
                if *other != id {
                    for (key, value) in state.iter_prefix(COPY) {
                        if let Some(key) = key.strip_prefix(COPY) {
                            on_copy(key, &value.value);
                        }
                    }
                }
            }
        })
        .await;
    Ok(handle)
}

fn withdraw(own: &mut NodeState, keys: &[String]) {
    for key in keys {
        let published = [COPY, key].concat();
        if own.contains_key(&published) {
            own.delete(&published);
        }
    }
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
