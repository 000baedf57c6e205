//! The composition: from a configuration to a running distributor, and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::{Admin, Build, Exposition, Health, HealthSources, MultiKv, Readiness};
use axum::Router;
use distributor_config::{Config, ConfigErrors, RuntimeConfig, ServerConfig, TenantLimits};
use ha_failover::FailoverHandle;
use ha_tracker::{HaLimits, HaTracker, ReplicaDesc, TrackerHandle};
use ingest::{DownstreamError, Downstreams, InstanceLimits, Pusher};
use kv_core::{FailureCause, Store, TaskFailed};
use kv_memberlist::{Inspector, Memberlist};
use kv_multi::{MultiHandle, MultiStore};
use prometheus_client::registry::Registry;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use watched_files::{Outcome, WatchedFiles};

use crate::access::{Access, AccessError};
use crate::forget::{self, Forget};
use crate::grpc_server::{GrpcParts, GrpcServer};
use crate::intake::Intake;
use crate::listener::{ConnectionMetrics, ServeError, Server};
use crate::metrics::{self, RequestMetrics};
use crate::program::Program;
use crate::store::{Backend, StoreConfigError};
use crate::version::VERSION;
use crate::{failover, fleet, grpc_server, http_server, listener, multi, store, traces};

/// Time between two checks for refusals to log, and for memory that is no longer needed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two checks for idle tenants.
const FORGET_IDLE_EVERY: Duration = Duration::from_secs(60);

/// Why a distributor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runtime configuration has mistakes.
    #[error("runtime configuration: {0}")]
    RuntimeConfig(ConfigErrors),
    /// The store of the elections cannot be used as configured.
    #[error("distributor.ha_tracker.kvstore: {0}")]
    Store(#[from] StoreConfigError),
    /// A downstream cannot be used as configured.
    #[error(transparent)]
    Downstream(#[from] DownstreamError),
    /// A file of credentials cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The HTTP server cannot listen.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The runtime configuration wants a store that is not one of the two.
    #[error(
        "multi_kv_config of the runtime configuration (runtime_config.file): {0}; correct it, or remove it"
    )]
    MultiKv(#[from] kv_multi::Refused),
}

/// What the metrics reference makes busy.
pub(crate) struct Measured {
    pub(crate) intake: Arc<Intake>,
    pub(crate) requests: RequestMetrics,
    pub(crate) multi: Option<MultiStore<ReplicaDesc>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) files: WatchedFiles,
}

/// A running distributor. Dropping it stops it at once; [`Running::shutdown`] drains it first.
pub struct Running {
    /// Where the HTTP server listens.
    pub http_address: SocketAddr,
    /// Where the gRPC server listens.
    pub grpc_address: SocketAddr,
    measured: Measured,
    readiness: Arc<Readiness>,
    /// The tracker itself; its tasks are in `tracker`.
    elections: Option<Arc<HaTracker>>,
    shutdown_delay: Duration,
    graceful_shutdown_timeout: Duration,
    http: Server,
    grpc: GrpcServer,
    /// Ends tasks that run as long as the process.
    draining: CancellationToken,
    runtime: RuntimeConfig,
    tracker: Option<TrackerHandle>,
    failover: Option<FailoverHandle>,
    multi: Option<(MultiHandle<ReplicaDesc>, JoinHandle<()>)>,
    gossip: Option<Memberlist>,
    housekeeping: JoinHandle<()>,
}

struct RuntimeLimits(TenantLimits);

impl ha_tracker::TenantLimits for RuntimeLimits {
    fn ha_limits(&self, tenant: &str) -> HaLimits {
        self.0.limits(tenant).elections
    }
}

/// What [`check`] found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Mistakes with which the start would fail, each a sentence.
    pub mistakes: Vec<String>,
    /// Complete sentences.
    pub warnings: Vec<String>,
}

/// Reads the files that `config` names, as the start does: the runtime configuration, and those of
/// TLS.
pub async fn check(config: &Config) -> Checked {
    let mut checked = Checked::default();
    let mut mistake = |problem: String| checked.mistakes.push(problem);
    let server = &config.server;
    for (protocol, tls) in [
        ("http", &server.http_tls_config),
        ("grpc", &server.grpc_tls_config),
    ] {
        if let Err(error) = listener::check_tls(protocol, tls) {
            mistake(error.to_string());
        }
    }
    if let Err(error) = Access::open(config) {
        mistake(error.to_string());
    }
    let downstreams = &config.distributor.push.downstream;
    if let Err(error) = Downstreams::new(downstreams, &mut Registry::default()) {
        mistake(error.to_string());
    }
    match RuntimeConfig::check(config).await {
        Ok(warnings) => checked.warnings = warnings,
        Err(errors) => mistake(StartError::RuntimeConfig(errors).to_string()),
    }
    checked
}

/// Starts a distributor. It accepts connections when this returns; `/ready` succeeds once it has
/// read the store.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_within(Program::default(), config).await
}

/// As [`start`], for a program that brings more than its configuration.
pub async fn start_within(program: Program, config: Config) -> Result<Running, StartError> {
    #[cfg(feature = "profiles")]
    crate::profiles::begin(&config.server, program.heap.as_ref());
    let mut registry = Registry::default();
    let backend = if config.distributor.ha_tracker.enable_ha_tracker {
        Some(store::backend(&config, &mut registry).await?)
    } else {
        None
    };
    compose(program, config, backend, registry).await
}

/// As [`start`], with a store of the caller's own for the elections.
pub async fn start_with_store(
    config: Config,
    backend: Arc<dyn Store<ReplicaDesc>>,
) -> Result<Running, StartError> {
    let mut registry = Registry::default();
    let backend = Backend::given(backend, &config, &mut registry);
    compose(Program::default(), config, Some(backend), registry).await
}

async fn compose(
    program: Program,
    config: Config,
    backend: Option<Backend>,
    mut registry: Registry,
) -> Result<Running, StartError> {
    metrics::register_process(&mut registry, program.revision);
    let runtime = RuntimeConfig::start(
        config.runtime_config.clone(),
        config.limits.clone(),
        &mut registry,
    )
    .await
    .map_err(StartError::RuntimeConfig)?;
    let downstreams = Downstreams::new(&config.distributor.push.downstream, &mut registry)?
        .writing_context(traces::write_context);
    let access = Arc::new(Access::open(&config)?);
    let files = WatchedFiles::new(&mut registry);
    for (name, source) in access.files() {
        files.add(name, source);
    }
    for (name, source) in downstreams.files() {
        files.add(name, source);
    }
    let mut forget_in = Vec::new();
    let (store, gossip, multi, records) = match backend {
        Some(backend) => {
            let kind = config.distributor.ha_tracker.kvstore.store;
            forget_in.push((kind.as_str().to_owned(), Arc::clone(&backend.store)));
            forget_in.extend(backend.parts);
            for (name, source) in backend.files {
                files.add(name, source);
            }
            let Backend {
                store,
                gossip,
                multi,
                records,
                ..
            } = backend;
            (Some(store), gossip, multi, records)
        }
        None => (None, None, None, None),
    };
    let (multi, multi_handle): (Option<MultiKv>, _) = match multi {
        // Before anything reads the store, so that overrides apply from the start.
        Some((store, handle)) => {
            let (multi, task) = multi::start(store, runtime.reader()).await?;
            (Some(multi), Some((handle, task)))
        }
        None => (None, None),
    };
    let ha = &config.distributor.ha_tracker;
    let (tracker, tracker_handle) = match store.filter(|_| ha.enable_ha_tracker) {
        Some(store) => {
            let limits = Arc::new(RuntimeLimits(runtime.reader()));
            let (tracker, handle) =
                HaTracker::start(store, limits, ha.tracker.clone(), &mut registry);
            (Some(tracker), Some(handle))
        }
        None => (None, None),
    };
    let pusher = Arc::new(Pusher::new(
        &config.distributor.push,
        tracker.clone(),
        downstreams,
        &mut registry,
    ));
    if records.is_none() {
        ha_failover::register_metrics(&mut registry);
        failover::warn_of_classic(&config, &runtime.reader());
    }
    let failover = tracker.as_ref().zip(records).map(|(tracker, records)| {
        let limits = runtime.reader();
        let bounds = config.distributor.ha_failover;
        failover::start(records, tracker, &pusher, &limits, bounds, &mut registry)
    });
    let requests = RequestMetrics::register(&mut registry);
    let connections = ConnectionMetrics::register(&mut registry);
    let registry = Arc::new(registry);
    let inspector = gossip.as_ref().map(Memberlist::inspector);
    if inspector.is_none() {
        fleet::warn_of_unknown_fleet(&config.limits.push, &runtime.reader());
    }
    let multi_store = multi.as_ref().map(|multi| multi.store.clone());
    let readiness = Readiness::new(tracker.clone(), inspector.clone(), multi_store.clone());
    let readiness = Arc::new(readiness);
    let config = Arc::new(config);
    let health = Arc::new(Health::new(HealthSources {
        readiness: Arc::clone(&readiness),
        pusher: Arc::clone(&pusher),
        tracker: tracker.clone(),
        gossip: inspector.clone(),
        multi: multi.clone(),
        limits: runtime.reader(),
        files: files.clone(),
        config: Arc::clone(&config),
    }));
    let intake = Intake::new(
        Arc::clone(&pusher),
        &config,
        runtime.reader(),
        Arc::clone(&access),
    );
    let intake = Arc::new(intake);
    let admin = Admin {
        config: Arc::clone(&config),
        limits: runtime.reader(),
        tracker: tracker.clone(),
        gossip: inspector.clone(),
        multi,
        readiness: Arc::clone(&readiness),
        health: Arc::clone(&health),
        exposition: Exposition::new(Arc::clone(&registry)),
        build: Build {
            version: VERSION,
            revision: program.revision,
        },
    };
    // Both listen before either answers: a client that sees `/ready` can also use gRPC, and a
    // process that is about to fail for lack of a port accepts nothing.
    let http = http_server::bind(&config.server, &connections)?;
    let grpc = grpc_server::bind(&config.server, &connections)?;
    let draining = CancellationToken::new();
    let grpc_parts = GrpcParts {
        intake: Arc::clone(&intake),
        tracker: tracker.clone(),
        can_hand_over: config.distributor.ha_tracker.tracker.handover,
        readiness: Arc::clone(&readiness),
        requests: requests.clone(),
        access: Arc::clone(&access),
    };
    let grpc = grpc_server::start(grpc_parts, grpc, &draining).await;
    let forget = forget::route(Forget {
        is_enabled: config.distributor.ha_tracker.enable_forget,
        stores: forget_in,
        access: Arc::clone(&access),
    });
    let more = forget.merge(profiles_route(program, &config.server, &draining));
    let http = http_server::start(&admin, &intake, &access, requests.clone(), more, http);
    for (name, source) in [http.files(), grpc.server.files()].into_iter().flatten() {
        files.add(name, source);
    }
    let watch = files.clone().watch();
    let follow = follow_instance_limits(
        Arc::clone(&pusher),
        config.distributor.push.instance_limits.clone(),
        runtime.reader(),
    );
    let housekeeping = tokio::spawn(async move {
        tokio::join!(keep_house(pusher, health, inspector), follow, watch);
    });
    Ok(Running {
        http_address: http.address,
        grpc_address: grpc.server.address,
        measured: Measured {
            intake,
            requests,
            multi: multi_store,
            registry,
            files,
        },
        readiness,
        elections: tracker,
        shutdown_delay: config.shutdown_delay,
        graceful_shutdown_timeout: config.server.graceful_shutdown_timeout,
        http,
        grpc,
        draining,
        runtime,
        tracker: tracker_handle,
        failover,
        multi: multi_handle,
        gossip,
        housekeeping,
    })
}

#[cfg(feature = "profiles")]
fn profiles_route(program: Program, server: &ServerConfig, draining: &CancellationToken) -> Router {
    crate::profiles::router(server, program.heap, draining.clone())
}

#[cfg(not(feature = "profiles"))]
fn profiles_route(_: Program, _: &ServerConfig, _: &CancellationToken) -> Router {
    Router::new()
}

fn ended_task(task: &'static str, outcome: Result<(), JoinError>) -> TaskFailed {
    TaskFailed::ended(task, outcome.map(|()| FailureCause::EndedEarly))
}

/// Applies the limits of the instance that the runtime configuration says now, and then each change.
fn follow_instance_limits(
    pusher: Arc<Pusher>,
    configured: InstanceLimits,
    runtime: TenantLimits,
) -> impl Future<Output = ()> {
    let mut snapshots = runtime.subscribe();
    let mut in_effect = configured.clone();
    let mut apply = move |wanted: InstanceLimits| {
        if wanted != in_effect {
            tracing::info!(
                max_inflight_push_requests = wanted.max_inflight_push_requests,
                max_inflight_push_requests_bytes = wanted.max_inflight_push_requests_bytes,
                max_ingestion_rate = wanted.max_ingestion_rate,
                "limits of this instance changed (distributor_limits of the runtime configuration)"
            );
            pusher.set_instance_limits(&wanted);
            in_effect = wanted;
        }
    };
    // Before the first request.
    let now = Arc::clone(&snapshots.borrow_and_update());
    apply(now.distributor_limits().over(&configured));
    async move {
        // The reader keeps the sender.
        let _runtime = runtime;
        while snapshots.changed().await.is_ok() {
            let now = Arc::clone(&snapshots.borrow_and_update());
            apply(now.distributor_limits().over(&configured));
        }
    }
}

async fn keep_house(pusher: Arc<Pusher>, health: Arc<Health>, gossip: Option<Inspector>) {
    let forget_idle = async {
        loop {
            tokio::time::sleep(FORGET_IDLE_EVERY).await;
            pusher.forget_idle_tenants();
        }
    };
    let often = async {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            pusher.tell_refusals();
            pusher.give_back_memory();
        }
    };
    let count_members = fleet::count_members(gossip, pusher.fleet().clone());
    tokio::join!(forget_idle, often, health.watch(), count_members);
}

impl Running {
    /// Waits until `/ready` succeeds.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let tracker = self.elections.clone();
        async move {
            if let Some(tracker) = tracker {
                tracker.ready().await;
            }
        }
    }

    /// What there is, once this instance is ready: clusters that the tracker knows (`None` without
    /// it), and other members of gossip (`None` without).
    pub fn found(&self) -> (Option<usize>, Option<usize>) {
        let clusters = self
            .elections
            .as_ref()
            .map(|tracker| tracker.cluster_count());
        let members = self.gossip.as_ref();
        let members = members.map(|gossip| gossip.inspector().other_members());
        (clusters, members)
    }

    /// The address of this distributor's gossip for others; `None` without gossip.
    pub fn gossip_address(&self) -> Option<SocketAddr> {
        self.gossip
            .as_ref()
            .map(|gossip| gossip.inspector().address())
    }

    pub(crate) fn measured(&self) -> &Measured {
        &self.measured
    }

    /// Reads again what may have changed in files: the runtime configuration, and the certificates of
    /// the listeners, which connections made from now on get to see. What cannot be used leaves what is
    /// in effect, with a line in the log.
    pub async fn reload(&self) {
        match self.runtime.reload_now().await {
            Ok(true) => {}
            Ok(false) => tracing::info!("the runtime configuration has not changed"),
            Err(error) => tracing::error!(
                %error,
                "the runtime configuration cannot be used; the previous one stays in effect"
            ),
        }
        let files = self.measured.files.clone();
        // What has changed is logged there.
        match tokio::task::spawn_blocking(move || files.check()).await {
            Ok(checked) => {
                let unchanged = |(_, outcome): &(_, _)| *outcome == Outcome::Unchanged;
                if checked.iter().all(unchanged) {
                    tracing::info!(
                        files = checked.len(),
                        "certificates and secrets have not changed"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "reading certificates and secrets failed"),
        }
    }

    /// Waits for a part that fails: a bug or a lost listener, after which the process should end.
    pub async fn failed(&mut self) -> TaskFailed {
        let tracker = async {
            match &mut self.tracker {
                Some(tracker) => tracker.failed().await,
                None => std::future::pending().await,
            }
        };
        let gossip = async {
            match &mut self.gossip {
                Some(gossip) => gossip.failed().await,
                None => std::future::pending().await,
            }
        };
        let multi = async {
            match &mut self.multi {
                Some((handle, overrides)) => tokio::select! {
                    what = handle.failed() => what,
                    outcome = overrides => ended_task("following multi_kv_config", outcome),
                },
                None => std::future::pending().await,
            }
        };
        let failover = async {
            match &mut self.failover {
                Some(failover) => failover.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            what = failover => what,
            what = tracker => what,
            what = gossip => what,
            what = multi => what,
            what = self.http.failed() => what,
            what = self.grpc.server.failed() => what,
            outcome = &mut self.housekeeping => ended_task("housekeeping", outcome),
        }
    }

    /// Drains: `/ready` says no, and requests are served as before for `shutdown_delay`; then no new
    /// connections, requests in flight get their answers (for at most
    /// `server.graceful_shutdown_timeout`), then the tracker stops, pending mirror writes are flushed,
    /// and the member leaves the gossip cluster.
    pub async fn shutdown(self) {
        self.readiness.drain();
        if !self.shutdown_delay.is_zero() {
            tracing::info!(
                delay_ms = self.shutdown_delay.as_millis() as u64,
                "not ready any more; serving until shutdown_delay is over"
            );
            tokio::time::sleep(self.shutdown_delay).await;
        }
        self.draining.cancel();
        let timeout = self.graceful_shutdown_timeout;
        tokio::join!(
            self.http.shutdown(timeout, std::future::pending()),
            self.grpc.shutdown(timeout)
        );
        drop(self.failover);
        if let Some(tracker) = self.tracker {
            tracker.shutdown().await;
        }
        if let Some((handle, overrides)) = self.multi {
            overrides.abort();
            handle.shutdown().await;
        }
        // After everything else that writes, so that all entries of the tracker are handed over.
        if let Some(gossip) = self.gossip {
            gossip.leave().await;
        }
        self.housekeeping.abort();
        if let Err(error) = self.runtime.shutdown().await {
            tracing::error!(%error, "the runtime configuration's task failed");
        }
    }
}
