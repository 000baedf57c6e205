//! Starting a member.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use kv_core::{Codec, Tasks, Value};
use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::StdRng;
use settings::Report;
use tokio::sync::Notify;

use super::address::{advertised, default_port};
use super::auto::{Auto, EngineTasks, run_engine};
use super::choice::{Choice, fixed_protocol};
use super::error::StartError;
use super::handle::{Memberlist, Shown, TASK};
use super::inbox::Inbox;
use super::join::{Joiner, join};
use super::leave::LeaveTimeouts;
use super::maintain::{Maintenance, maintain};
use super::name::name;
use super::publish::publish;
use super::readiness::Readiness;
use super::recover::recover;
use super::resolve::{JoinMember, Resolver};
use super::sweep::Sweeper;
use crate::admission::Admission;
use crate::clock::LONGEST;
use crate::config::{MemberlistConfig, Protocol};
use crate::engine::changing::Changing;
use crate::engine::memberlist::{self, Sockets, Surroundings};
use crate::engine::{Engine, EntrySink, gossip};
use crate::link::{Link, Reception, net};
use crate::metrics::Metrics;
use crate::phase::Phases;
use crate::seal::keyring::KeyError;
use crate::seal::packet::Sealer;
use crate::status::{Chosen, ProtocolInUse};
use crate::store::MemberlistStore;
use crate::view::View;
use crate::watchdog::Watchdog;

/// Here, and not where it is needed: a report is not [`Send`], and neither would be a future that holds it.
fn check(config: &MemberlistConfig) -> Result<(), StartError> {
    let mut report = Report::default();
    config.check(&mut report);
    Ok(report.into_result()?)
}

/// Starts a member on the network: its store, and the handle that keeps it running. Listens when
/// this returns; the store's calls wait until the member has joined. Dropping the handle stops the
/// member. Metrics are registered below `memberlist_client`.
///
/// [`Send`]. If it is cancelled, nothing runs or listens; metrics stay registered.
///
/// # Errors
/// Settings that cannot work, keys or certificates that cannot be read, or an address that cannot be
/// bound.
pub async fn start<V, C>(
    config: MemberlistConfig,
    codec: C,
    registry: &mut Registry,
) -> Result<(MemberlistStore<V>, Memberlist), StartError>
where
    V: Value,
    C: Codec<V>,
{
    check(&config)?;
    let metrics = Metrics::register(registry);
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    let addresses = if config.bind_addr.is_empty() {
        &everywhere[..]
    } else {
        &config.bind_addr
    };
    let fixed = fixed_protocol(&config);
    if let Some((Protocol::Memberlist, chosen)) = fixed {
        let sockets = memberlist::bind(addresses, config.bind_port).await;
        let sockets = sockets.map_err(StartError::Bind)?;
        let rng = StdRng::from_rng(&mut rand::rng());
        return start_memberlist(sockets, rng, config, codec, metrics, chosen);
    }
    let admission = admission(&config, &metrics)?;
    let reception = Arc::clone(&admission) as Arc<dyn Reception>;
    let may_change = fixed.is_none();
    let link = net::bind(
        addresses,
        config.bind_port,
        metrics.clone(),
        reception,
        may_change,
    );
    let link = link.await.map_err(StartError::Bind)?;
    if may_change {
        let addresses = addresses.to_vec();
        return start_auto(admission, link, addresses, config, codec, metrics).await;
    }
    start_on(admission, link, config, codec, metrics).await
}

/// What admits the packets of a member.
pub(crate) fn admission(
    config: &MemberlistConfig,
    metrics: &Metrics,
) -> Result<Arc<Admission>, KeyError> {
    let sealer = Sealer::new(
        config.keyring()?,
        config.cluster_label.clone(),
        !config.cluster_label_verification_disabled,
        config.compression_enabled,
    );
    Ok(Arc::new(Admission::new(sealer, metrics.clone())))
}

/// As [`start`], on any link, with chitchat.
pub(crate) async fn start_on<V, C>(
    admission: Arc<Admission>,
    link: Arc<dyn Link>,
    config: MemberlistConfig,
    codec: C,
    metrics: Metrics,
) -> Result<(MemberlistStore<V>, Memberlist), StartError>
where
    V: Value,
    C: Codec<V>,
{
    check(&config)?;
    let chosen = match fixed_protocol(&config) {
        Some((_, chosen)) => chosen,
        None => Chosen::NoneAnswered,
    };
    let bound = link.local_addr();
    let resolvers = resolvers(&config, default_port(&config, bound))?;
    let mut tasks = Tasks::new(TASK);
    let member = Unstarted::new(config, codec, metrics, Protocol::Chitchat, chosen);
    let engine = chitchat(&member, admission, link, false, &mut tasks).await?;
    Ok(member.start(engine, resolvers, tasks, None))
}

/// As [`start`], with the protocol that the members speak that answer.
async fn start_auto<V, C>(
    admission: Arc<Admission>,
    link: Arc<dyn Link>,
    addresses: Vec<IpAddr>,
    config: MemberlistConfig,
    codec: C,
    metrics: Metrics,
) -> Result<(MemberlistStore<V>, Memberlist), StartError>
where
    V: Value,
    C: Codec<V>,
{
    let bound = link.local_addr();
    let resolvers = resolvers(&config, default_port(&config, bound))?;
    let codec_id = codec.id();
    let chosen = Chosen::NoneAnswered;
    let member = Unstarted::new(config, codec, metrics, Protocol::Chitchat, chosen);
    let mut of_engine = Tasks::new(TASK);
    let engine = chitchat(&member, admission, link, true, &mut of_engine).await?;
    let engine = Arc::new(Changing::new(engine));
    let (engine_tasks, next) = EngineTasks::new();
    let mut tasks = Tasks::new(TASK);
    tasks.spawn_fallible(run_engine(of_engine, next));
    let auto = Auto {
        advertised: engine.advertised(),
        engine: Arc::clone(&engine),
        tasks: engine_tasks,
        choice: member.choice.clone(),
        config: Arc::clone(&member.config),
        name: member.name.clone(),
        addresses,
        port: bound.port(),
        codec: codec_id,
        sink: member.sink(),
        metrics: member.metrics.clone(),
    };
    Ok(member.start(engine, resolvers, tasks, Some(auto)))
}

/// Starts to speak chitchat.
async fn chitchat<V: Value>(
    member: &Unstarted<V>,
    admission: Arc<Admission>,
    link: Arc<dyn Link>,
    may_change: bool,
    tasks: &mut Tasks,
) -> Result<Arc<dyn Engine>, StartError> {
    let (config, name) = (&member.config, &member.name);
    let bound = link.local_addr();
    let advertised = advertised(config, bound);
    if config.encryption_keys.is_empty() {
        tracing::warn!(
            "gossip is not encrypted: any host that reaches {bound} (UDP and TCP) can read and \
             change the elections. Set encryption_keys, or restrict the port to the members"
        );
    }
    admission.open(Arc::downgrade(&link), advertised);
    let parts = gossip::Parts {
        name: name.clone(),
        advertised,
        gossip_interval: config.gossip_interval,
        remember: config.left_ingesters_timeout,
        may_change,
        history_bytes: usize::try_from(config.message_history_buffer_bytes).unwrap_or(usize::MAX),
        admission,
        link,
        sink: member.sink(),
        phase: member.phases.subscribe(),
        metrics: member.metrics.clone(),
    };
    let engine = gossip::start(parts, tasks)
        .await
        .map_err(|error| StartError::Gossip(format!("{error:#}").into()))?;
    let (join, protocol) = (config.join_members.join(", "), config.protocol.as_str());
    tracing::info!(%name, %bound, %advertised, join, protocol, "gossip started");
    Ok(engine)
}

/// As [`start`], in a ring of HashiCorp's memberlist.
pub(crate) fn start_memberlist<V, C>(
    sockets: Sockets,
    rng: StdRng,
    config: MemberlistConfig,
    codec: C,
    metrics: Metrics,
    chosen: Chosen,
) -> Result<(MemberlistStore<V>, Memberlist), StartError>
where
    V: Value,
    C: Codec<V>,
{
    let bound = sockets.local_addr().map_err(StartError::Bind)?;
    let resolvers = resolvers(&config, default_port(&config, bound))?;
    let advertised = advertised(&config, bound);
    let codec_id = codec.id();
    if !config.tls_enabled {
        tracing::warn!(
            "gossip is not encrypted: any host that reaches {bound} (TCP) can read and change the \
             elections. Set tls_enabled on all members, or keep the port to them"
        );
    }
    let (tls, files) = memberlist::tls(&config)?.unzip();
    let member = Unstarted::new(config, codec, metrics, Protocol::Memberlist, chosen);
    let name = member.name.clone();
    let surroundings = Surroundings {
        name: name.clone(),
        advertised,
        sockets,
        rng,
        codec: codec_id,
        sink: member.sink(),
        metrics: member.metrics.clone(),
        tls,
    };
    let mut tasks = Tasks::new(TASK);
    let engine = memberlist::start(&member.config, surroundings, &mut tasks);
    let join = member.config.join_members.join(", ");
    tracing::info!(%name, %bound, %advertised, join, "gossip started, by memberlist's protocol");
    let (store, mut handle) = member.start(engine, resolvers, tasks, None);
    handle.tls_files = files;
    Ok((store, handle))
}

/// Of `join_members`, and of `rejoin_seed_nodes`, if there are any.
fn resolvers(
    config: &MemberlistConfig,
    default_port: u16,
) -> Result<(Resolver, Option<Resolver>), StartError> {
    let join = resolver(&config.join_members, default_port)?;
    let seeds = match config.rejoin_seed_nodes.is_empty() {
        true => None,
        false => Some(resolver(&config.rejoin_seed_nodes, default_port)?),
    };
    Ok((join, seeds))
}

fn resolver(members: &[String], default_port: u16) -> Result<Resolver, StartError> {
    let members = members.iter();
    let members = members
        .map(|entry| JoinMember::parse(entry, default_port))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Resolver::new(members))
}

/// A member that has no engine yet.
struct Unstarted<V> {
    name: String,
    config: Arc<MemberlistConfig>,
    view: Arc<View<V>>,
    phases: Phases,
    choice: Choice,
    metrics: Metrics,
}

impl<V: Value> Unstarted<V> {
    fn new(
        config: MemberlistConfig,
        codec: impl Codec<V>,
        metrics: Metrics,
        protocol: Protocol,
        chosen: Chosen,
    ) -> Self {
        Self {
            name: name(&config),
            choice: Choice::new(ProtocolInUse { protocol, chosen }),
            config: Arc::new(config),
            view: Arc::new(View::new(Arc::new(codec), metrics.clone())),
            phases: Phases::new(),
            metrics,
        }
    }

    /// The sink of an engine's entries.
    fn sink(&self) -> Arc<dyn EntrySink> {
        Arc::new(Inbox {
            view: Arc::clone(&self.view),
            metrics: self.metrics.clone(),
            phase: self.phases.subscribe(),
        })
    }

    /// Starts the tasks of the member, besides those that its engine has started.
    fn start(
        self,
        engine: Arc<dyn Engine>,
        resolvers: (Resolver, Option<Resolver>),
        mut tasks: Tasks,
        auto: Option<Auto>,
    ) -> (MemberlistStore<V>, Memberlist) {
        let Self {
            name,
            config,
            view,
            phases,
            choice,
            metrics,
        } = self;
        let interval = config.gossip_interval;
        let watchdog = Arc::new(Watchdog::new());
        let stalled = Arc::new(Notify::new());
        let readiness = Readiness {
            engine: Arc::clone(&engine),
            phases: phases.clone(),
            name: name.clone(),
        };
        let sweeper = Sweeper {
            engine: Arc::clone(&engine),
            view: Arc::clone(&view),
            name: name.clone(),
            keep: config.obsolete_entries_timeout,
            keep_for_gone: config.left_ingesters_timeout,
        };
        tasks.spawn(publish(Arc::clone(&engine), Arc::clone(&view), interval));
        tasks.spawn(maintain(Maintenance {
            engine: Arc::clone(&engine),
            sweeper,
            phases: phases.clone(),
            watchdog: Arc::clone(&watchdog),
            stalled: Arc::clone(&stalled),
            gossip_interval: interval,
            name,
            metrics: metrics.clone(),
        }));
        let joiner = Joiner::new(
            readiness.clone(),
            resolvers,
            Arc::clone(&config),
            choice.clone(),
            auto,
        );
        tasks.spawn_fallible(join(joiner));
        tasks.spawn(recover(readiness, stalled));
        let store = MemberlistStore::new(
            Arc::clone(&view),
            phases.subscribe(),
            watchdog,
            config.notify_interval.min(LONGEST),
            metrics,
        );
        let shown = Shown {
            engine,
            view,
            phases,
            choice,
            leave_timeouts: LeaveTimeouts {
                all: config.leave_timeout,
                gossip_interval: interval,
            },
        };
        (store, Memberlist::new(shown, tasks))
    }
}
