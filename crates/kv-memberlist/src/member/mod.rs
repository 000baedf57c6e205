//! A member: what it consists of, how it starts, is looked after, and leaves.

pub(crate) mod join;
pub(crate) mod resolve;
pub(crate) mod upkeep;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kv_core::{Codec, Mergeable};
use prometheus_client::registry::Registry;
use settings::{Mistakes, Report};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::upkeep::SWEEP_SHARE;
use crate::admission::Admission;
use crate::config::MAX_NODE_NAME;
use crate::engine::chitchat::liveness::Liveness;
use crate::engine::chitchat::{Gossip, Part, PeerId, Wire};
use crate::link::{Link, Reception};
use crate::member::resolve::{JoinMember, JoinMemberError, Resolver};
use crate::metrics::Metrics;
use crate::names::showable;
use crate::seal::packet::Sealer;
use crate::store::{MemberlistStore, Phase, Pulse};
use crate::view::View;
use crate::{History, KeyError, Member, MemberState, MemberlistConfig, RawValue};

/// Time between two looks while leaving.
const LOOK: Duration = Duration::from_millis(50);

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings break rules.
    #[error("{0}")]
    Settings(#[from] Mistakes),
    /// An encryption key is not valid.
    #[error("encryption_keys: {0}")]
    Key(#[from] KeyError),
    /// An entry of `join_members` is not valid.
    #[error("{0}")]
    JoinMember(#[from] JoinMemberError),
    /// The port cannot be listened on.
    #[error("cannot listen (bind_addr, bind_port): {0}")]
    Bind(#[source] std::io::Error),
    /// Gossip does not start.
    #[error("gossip cannot start: {0:#}")]
    Gossip(anyhow::Error),
}

/// What the tasks of a member share.
pub(crate) struct Inner<V> {
    pub(crate) config: MemberlistConfig,
    pub(crate) name: String,
    pub(crate) view: Arc<View<V>>,
    pub(crate) gossip: Gossip,
    pub(crate) metrics: Metrics,
    liveness: Mutex<Liveness>,
    phase: watch::Sender<Phase>,
    /// What this member says that it does.
    says: Mutex<MemberState>,
    pub(crate) pulse: Arc<Pulse>,
    /// This member was stopped or starved, and has to catch up.
    pub(crate) held_up: Notify,
    /// How often that was.
    pub(crate) times_held_up: AtomicU64,
}

/// A running member. Dropping it stops it at once, as if it had crashed; [`Memberlist::leave`] hands
/// over first.
pub struct Memberlist {
    inner: Arc<dyn Inspect>,
    tasks: JoinSet<String>,
    phase: watch::Receiver<Phase>,
}

/// Shows a member to admin pages, and does not keep it alive. Clones show the same member.
#[derive(Clone)]
pub struct Inspector {
    inner: Weak<dyn Inspect>,
    address: SocketAddr,
    phase: watch::Receiver<Phase>,
}

/// A member whatever the type of its values.
#[async_trait::async_trait]
pub(crate) trait Inspect: Send + Sync {
    fn address(&self) -> SocketAddr;
    async fn members(&self) -> Vec<Member>;
    fn other_members(&self) -> usize;
    fn entries(&self) -> Vec<crate::EntryInfo>;
    fn raw(&self, key: &str) -> Option<RawValue>;
    fn history(&self) -> Option<History>;
    async fn leave(&self);
    fn close(&self);
}

/// Starts a member on the network: its store, and the handle that keeps it running. Listens when
/// this returns; the store's calls wait until the member has joined.
pub async fn start<V, C>(
    config: MemberlistConfig,
    codec: C,
    registry: &mut Registry,
) -> Result<(MemberlistStore<V>, Memberlist), StartError>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
    C: Codec<V>,
{
    let metrics = Metrics::register(registry);
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let addresses = if config.bind_addr.is_empty() {
        &everywhere[..]
    } else {
        &config.bind_addr
    };
    let admission = Arc::new(Admission::new(sealer(&config)?, metrics.clone()));
    let reception = Arc::clone(&admission) as Arc<dyn Reception>;
    let link = crate::link::net::bind(addresses, config.bind_port, metrics.clone(), reception)
        .await
        .map_err(StartError::Bind)?;
    start_on(admission, link, config, codec, metrics).await
}

/// What makes and opens the packets of a member.
pub(crate) fn sealer(config: &MemberlistConfig) -> Result<Sealer, KeyError> {
    Ok(Sealer::new(
        config.keyring()?,
        config.cluster_label.clone(),
        !config.cluster_label_verification_disabled,
        config.compression_enabled,
    ))
}

/// As [`start`], on any link.
pub(crate) async fn start_on<V, C>(
    admission: Arc<Admission>,
    link: Arc<dyn Link>,
    config: MemberlistConfig,
    codec: C,
    metrics: Metrics,
) -> Result<(MemberlistStore<V>, Memberlist), StartError>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
    C: Codec<V>,
{
    let mut report = Report::default();
    config.check(&mut report);
    report.into_result()?;
    let bound = link.local_addr();
    let members = config
        .join_members
        .iter()
        .map(|entry| JoinMember::parse(entry, default_port(&config, bound)))
        .collect::<Result<Vec<_>, _>>()?;
    let resolver = Resolver::new(members);
    let advertised = advertised(&config, bound);
    let name = name(&config);
    if config.encryption_keys.is_empty() {
        tracing::warn!(
            "gossip is not encrypted: whoever reaches {bound} (UDP and TCP) can read and change \
             the elections. Set encryption_keys, or keep the port to the members"
        );
    }
    admission.open(Arc::downgrade(&link), advertised);
    let wire = Arc::new(Wire::new(
        admission,
        link,
        advertised,
        usize::try_from(config.message_history_buffer_bytes).unwrap_or(usize::MAX),
    ));
    let view = Arc::new(View::new(
        Arc::new(codec) as Arc<dyn Codec<V>>,
        metrics.clone(),
    ));
    let part = Part {
        name: name.clone(),
        gossip_interval: config.gossip_interval,
        remember: config.left_ingesters_timeout,
    };
    let (phase, phases) = watch::channel(Phase::Joining("starting".to_owned()));
    let on_copy = upkeep::on_copy(Arc::clone(&view), metrics.clone(), phases.clone());
    let gossip = Gossip::start(part, wire, on_copy)
        .await
        .map_err(StartError::Gossip)?;
    tracing::info!(%name, %bound, %advertised, join = config.join_members.join(", "), "gossip started");
    let pulse = Arc::new(Pulse::new());
    let inner = Arc::new(Inner {
        liveness: Mutex::new(Liveness::new(config.gossip_interval)),
        config,
        name,
        view: Arc::clone(&view),
        gossip,
        metrics: metrics.clone(),
        phase,
        says: Mutex::new(MemberState::Joining),
        pulse: Arc::clone(&pulse),
        held_up: Notify::new(),
        times_held_up: AtomicU64::new(0),
    });
    let peers = inner.gossip.peers().await;
    inner.liveness().look(peers);
    let mut tasks = JoinSet::new();
    tasks.spawn(upkeep::publish(Arc::clone(&inner)));
    tasks.spawn(upkeep::look_after(Arc::clone(&inner)));
    tasks.spawn(upkeep::keep_running(Arc::clone(&inner)));
    tasks.spawn(join::join(Arc::clone(&inner), resolver));
    tasks.spawn(crate::engine::chitchat::catch_up::recover(Arc::clone(
        &inner,
    )));
    tasks.spawn(crate::engine::chitchat::snapshot::serve(Arc::clone(&inner)));
    let store = MemberlistStore::new(view, phases.clone(), pulse, metrics);
    let memberlist = Memberlist {
        inner,
        tasks,
        phase: phases,
    };
    Ok((store, memberlist))
}

impl Memberlist {
    /// Waits until this member holds what its cluster holds, or is alone and knows it. Waits for
    /// ever if it has left.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.clone();
        async move {
            if phase
                .wait_for(|phase| *phase == Phase::Ready)
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
        }
    }

    /// For admin pages.
    pub fn inspector(&self) -> Inspector {
        Inspector {
            inner: Arc::downgrade(&self.inner),
            address: self.inner.address(),
            phase: self.phase.clone(),
        }
    }

    /// Waits for a task to fail: a bug, or a cluster that could not be joined although it must be.
    pub async fn failed(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Ok(why)) => why,
            Some(Err(error)) => format!("memberlist: a task failed: {error}"),
            None => std::future::pending().await,
        }
    }

    /// Hands this member's entries over to the others, tells them that it has left, and stops. Takes
    /// `leave_timeout` at most.
    pub async fn leave(mut self) {
        self.inner.leave().await;
        self.tasks.shutdown().await;
        self.inner.close();
    }
}

impl Drop for Memberlist {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl Inspector {
    /// What the member waits for before it is ready; `None` if it is.
    pub fn waiting_for(&self) -> Option<String> {
        match &*self.phase.borrow() {
            Phase::Joining(waiting) => Some(waiting.clone()),
            Phase::Ready => None,
            Phase::Gone => Some("it has left".to_owned()),
        }
    }

    /// Where other members reach this one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All members that are known, by name; those that are gone until they are forgotten.
    pub async fn members(&self) -> Vec<Member> {
        match self.inner.upgrade() {
            Some(inner) => inner.members().await,
            None => Vec::new(),
        }
    }

    /// How many other members are alive, as far as this one knows.
    pub fn other_members(&self) -> usize {
        self.inner
            .upgrade()
            .map_or(0, |inner| inner.other_members())
    }

    /// All entries, by key; tombstones included.
    pub fn entries(&self) -> Vec<crate::EntryInfo> {
        let inner = self.inner.upgrade();
        inner.map(|inner| inner.entries()).unwrap_or_default()
    }

    /// The encoded value of a key.
    pub fn raw(&self, key: &str) -> Option<RawValue> {
        self.inner.upgrade()?.raw(key)
    }

    /// The last messages; `None` unless `message_history_buffer_bytes` is set.
    pub fn history(&self) -> Option<History> {
        self.inner.upgrade()?.history()
    }
}

impl<V> Inner<V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    pub(crate) fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            // Whoever has left does not come back.
            let differs = *current != phase && *current != Phase::Gone;
            if differs {
                *current = phase;
            }
            differs
        });
    }

    pub(crate) fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// This process did not run for a while: what it knows is old, and calls have to wait.
    pub(crate) fn fall_behind(&self) {
        self.times_held_up.fetch_add(1, Ordering::Relaxed);
        self.phase.send_if_modified(|current| {
            let was_ready = *current == Phase::Ready;
            if was_ready {
                tracing::warn!(
                    "this process was stopped, or had no CPU: learning what has happened meanwhile"
                );
                *current = Phase::Joining("catching up after not having run".to_owned());
            }
            was_ready
        });
    }

    pub(crate) fn says(&self) -> MemberState {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the others; a member that is leaving, or has left, does not come back.
    pub(crate) async fn say(&self, state: MemberState) {
        {
            let mut says = self.says.lock().unwrap_or_else(PoisonError::into_inner);
            if state < *says && *says >= MemberState::Leaving {
                return;
            }
            *says = state;
        }
        self.gossip.say(state).await;
    }

    pub(crate) async fn become_ready(&self, how: &str) {
        self.gossip.wire().receiving().end();
        self.say(MemberState::Active).await;
        self.set_phase(Phase::Ready);
        tracing::info!(name = %self.name, "memberlist is ready: {how}");
    }

    /// Waits until others publish everything that this member knows, none of them leaving.
    async fn hand_over(&self) {
        loop {
            let others: Vec<PeerId> = {
                let liveness = self.liveness();
                let others = liveness.others().into_iter().map(|(id, _)| id);
                others.filter(|id| liveness.holds(id)).collect()
            };
            if others.is_empty() {
                tracing::info!("nobody else is there to hand over to");
                return;
            }
            let began = Instant::now();
            let missing = self
                .gossip
                .visit_copies(
                    |id| others.contains(id),
                    || self.view.sweep(),
                    crate::view::Sweep::held,
                    crate::view::Sweep::missing,
                )
                .await;
            if missing == 0 {
                return;
            }
            tokio::time::sleep(LOOK.max(began.elapsed() * SWEEP_SHARE)).await;
        }
    }

    /// Waits until every other member knows that this one has left.
    async fn be_heard(&self) {
        let (_, version) = self.gossip.own_version().await;
        let mut asked: Option<Instant> = None;
        loop {
            let unaware = {
                let addresses = self.liveness().addresses();
                let contacts = self.gossip.wire().contacts();
                let unaware = addresses
                    .into_iter()
                    .filter(|address| contacts.own_version_at(*address) < version);
                unaware.collect::<Vec<SocketAddr>>()
            };
            if unaware.is_empty() {
                return;
            }
            if asked.is_none_or(|at| at.elapsed() >= self.config.gossip_interval) {
                asked = Some(Instant::now());
                for address in unaware {
                    self.gossip.exchange(address);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait::async_trait]
impl<V> Inspect for Inner<V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    fn address(&self) -> SocketAddr {
        self.gossip.wire().advertised()
    }

    async fn members(&self) -> Vec<Member> {
        let counts = self.gossip.copy_counts().await;
        let count = |id: &PeerId| {
            let found = counts.iter().find(|(known, _)| known == id);
            found.map_or(0, |(_, count)| *count)
        };
        let liveness = self.liveness();
        let mut members: Vec<(u64, Member)> = liveness
            .members()
            .map(|(id, seen)| {
                let member = Member {
                    name: id.node_id.to_string(),
                    address: id.gossip_advertise_addr,
                    state: seen.state,
                    heartbeat_age: seen.age(),
                    entries: count(id),
                    is_self: seen.is_self,
                };
                (id.generation_id, member)
            })
            .collect();
        members.sort_by(|(a_run, a), (b_run, b)| (&a.name, a_run).cmp(&(&b.name, b_run)));
        members.into_iter().map(|(_, member)| member).collect()
    }

    fn other_members(&self) -> usize {
        self.liveness().others().len()
    }

    fn entries(&self) -> Vec<crate::EntryInfo> {
        self.view.infos()
    }

    fn raw(&self, key: &str) -> Option<RawValue> {
        self.view.raw(key)
    }

    fn history(&self) -> Option<History> {
        (self.config.message_history_buffer_bytes > 0).then(|| self.gossip.wire().history())
    }

    async fn leave(&self) {
        let began = Instant::now();
        self.say(MemberState::Leaving).await;
        if tokio::time::timeout(self.config.leave_timeout, self.hand_over())
            .await
            .is_err()
        {
            tracing::warn!(
                "not all entries were taken over within memberlist.leave_timeout; whoever notices \
                 that this member is gone does that"
            );
        }
        self.set_phase(Phase::Gone);
        self.say(MemberState::Left).await;
        let patience = self
            .config
            .leave_timeout
            .saturating_sub(began.elapsed())
            .min(self.config.gossip_interval * 10);
        let heard = tokio::time::timeout(patience, self.be_heard()).await;
        tracing::info!(
            took_ms = crate::clock::millis(began.elapsed()),
            everybody_knows = heard.is_ok(),
            "left the gossip cluster"
        );
    }

    fn close(&self) {
        self.set_phase(Phase::Gone);
        self.view.close();
    }
}

fn default_port(config: &MemberlistConfig, bound: SocketAddr) -> u16 {
    if config.bind_port == 0 {
        bound.port()
    } else {
        config.bind_port
    }
}

fn name(config: &MemberlistConfig) -> String {
    let mut name = if config.node_name.is_empty() {
        host_name()
    } else {
        config.node_name.clone()
    };
    while name.len() > MAX_NODE_NAME {
        name.pop();
    }
    if config.randomize_node_name {
        let random: u32 = rand::random();
        name.push_str(&format!("-{random:08x}"));
    }
    name
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| showable(name.trim()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "member".to_owned())
}

fn advertised(config: &MemberlistConfig, bound: SocketAddr) -> SocketAddr {
    let ip = match config.advertise_addr {
        Some(ip) => ip,
        None if !bound.ip().is_unspecified() => bound.ip(),
        None => own_address(bound.ip()),
    };
    let port = if config.advertise_port == 0 {
        bound.port()
    } else {
        config.advertise_port
    };
    SocketAddr::new(ip, port)
}

/// The address this host reaches others from. Nothing is sent: connecting a UDP socket only picks
/// the route.
fn own_address(bound: IpAddr) -> IpAddr {
    let routed = |local: &str, documentation: &str| {
        let socket = UdpSocket::bind((local, 0)).ok()?;
        socket.connect((documentation, 9)).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    };
    let v4 = || routed("0.0.0.0", "192.0.2.1");
    let v6 = || {
        bound
            .is_ipv6()
            .then(|| routed("::", "2001:db8::1"))
            .flatten()
    };
    v4().or_else(v6).unwrap_or_else(|| {
        tracing::warn!(
            "this host has no route to others: advertising 127.0.0.1. Set \
             memberlist.advertise_addr if other members are on other hosts"
        );
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    })
}
