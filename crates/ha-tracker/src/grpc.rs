//! The tracker as a gRPC service: `proto/ha_tracker.proto`.

mod senders;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use crate::cache::{self, ElectionState};
use crate::check::{Outcome, Sighting, TrackerError};
use crate::election_watch::{ElectionEvent, ElectionWatch};
use crate::generated::check_response::{self, Accepted, Deduplicated, TooManyClusters};
use crate::generated::ha_tracker_server;
use crate::generated::watch_elections_response::{Event, Forgotten, Lagged, State};
use crate::generated::{
    CheckRequest, CheckResponse, Election, HandOverRequest, HandOverResponse, ListClustersRequest,
    ListClustersResponse, ListElectedRequest, ListElectedResponse, WatchElectionsRequest,
    WatchElectionsResponse,
};
use crate::handover::HandedOver;
use crate::tracker::HaTracker;

/// Elections in one message.
const PAGE: usize = 1000;
/// Clusters in one message. Each can have five replicas with long names, and clients accept 4 MiB by
/// default.
const CLUSTERS_PAGE: u32 = 500;
/// Bytes of an election besides its names, at most.
const AROUND_NAMES: usize = 64;
/// Bytes of a cluster's or a replica's name.
const MAX_NAME: usize = 1024;
/// Bytes of elections in one message, before the last of them.
const PAGE_BYTES: usize = 64 << 10;
/// Calls of `Check` at a time.
const MAX_CHECKS: usize = 2_000;
/// How long one may take, for example if the store hangs.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// Most tenants that `Check` adds to the tracker.
const MAX_TENANTS: u64 = 100_000;
/// Streams of `WatchElections` at a time.
const MAX_WATCHERS: usize = 10_000;
/// Bytes of a request: its three names and their encoding.
const MAX_REQUEST: usize = 64 << 10;

/// The rule for tenant names; an error says what is wrong.
pub type TenantRule = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Who sent a request, by what the server has added to it: for the log.
pub type Who = Arc<dyn Fn(&tonic::Extensions) -> String + Send + Sync>;

/// Serves a tracker. `tenant_rule` decides which tenant names are valid; a tenant must also not be
/// empty and have no `/`. Once `draining`, streams of watchers end with UNAVAILABLE.
///
/// Add it to a tonic server, which brings TLS and other settings.
///
/// `hand_over`: says for the log who sent a request; without it, clients may not elect a replica by
/// `HandOver`.
pub fn service(
    tracker: Arc<HaTracker>,
    tenant_rule: TenantRule,
    hand_over: Option<Who>,
    draining: CancellationToken,
) -> ha_tracker_server::HaTrackerServer<TrackerService> {
    let service = TrackerService {
        tracker,
        tenant_rule,
        hand_over,
        checks: Semaphore::new(MAX_CHECKS),
        watchers: Arc::new(Semaphore::new(MAX_WATCHERS)),
        draining,
    };
    ha_tracker_server::HaTrackerServer::new(service)
        .max_decoding_message_size(MAX_REQUEST)
        .accept_compressed(CompressionEncoding::Gzip)
}

/// See [`service`].
pub struct TrackerService {
    tracker: Arc<HaTracker>,
    tenant_rule: TenantRule,
    hand_over: Option<Who>,
    checks: Semaphore,
    watchers: Arc<Semaphore>,
    draining: CancellationToken,
}

impl TrackerService {
    fn tenant(&self, tenant: &str) -> Result<(), Status> {
        let checked = match tenant {
            "" => Err("it is empty".to_owned()),
            tenant if tenant.contains('/') => Err("it contains a '/'".to_owned()),
            tenant => (self.tenant_rule)(tenant),
        };
        checked.map_err(|problem| Status::invalid_argument(format!("tenant: {problem}")))
    }

    /// An empty one means all.
    fn any_tenant(&self, tenant: &str) -> Result<(), Status> {
        match tenant {
            "" => Ok(()),
            tenant => self.tenant(tenant),
        }
    }

    /// Elections after those of the page before, and the token of the next page.
    fn page(
        &self,
        tenant: &str,
        size: u32,
        token: &str,
    ) -> Result<(Vec<Election>, String), Status> {
        let most = match size as usize {
            0 => PAGE,
            size if size > PAGE => {
                let problem = format!("page_size: {size} is more than {PAGE}");
                return Err(Status::invalid_argument(problem));
            }
            size => size,
        };
        let after = match token {
            "" => None,
            token => Some(
                token
                    .split_once('/')
                    .ok_or_else(|| Status::invalid_argument("page_token is not valid"))?,
            ),
        };
        let state = self.tracker.election_state();
        let (elections, is_last) = page(&state, tenant, after, most);
        let next = match elections.last() {
            Some(last) if !is_last => format!("{}/{}", last.tenant, last.cluster),
            _ => String::new(),
        };
        Ok((elections, next))
    }

    fn ready(&self) -> Result<(), Status> {
        if self.tracker.is_ready() {
            return Ok(());
        }
        Err(Status::unavailable(
            "starting: the HA tracker has not read its store yet; retry later",
        ))
    }
}

fn name(what: &str, value: &str) -> Result<(), Status> {
    match value.len() {
        0 => Err(Status::invalid_argument(format!("{what}: it is empty"))),
        length if length > MAX_NAME => Err(Status::invalid_argument(format!(
            "{what}: it has {length} bytes, more than {MAX_NAME}"
        ))),
        _ => Ok(()),
    }
}

fn message(election: &cache::Election) -> Election {
    Election {
        tenant: election.tenant.clone(),
        cluster: election.cluster.clone(),
        desc: Some(election.desc.clone()),
    }
}

/// At most `most` elections after `after`, and whether these are the last. Not many more than
/// [`PAGE_BYTES`]: far below the 4 MiB that clients accept by default, and small enough for slow
/// clients.
fn page(
    state: &ElectionState,
    tenant: &str,
    after: Option<(&str, &str)>,
    most: usize,
) -> (Vec<Election>, bool) {
    let mut all = state.elections.after(tenant, after).peekable();
    let mut bytes = 0;
    let mut elections = Vec::new();
    while elections.len() < most
        && bytes < PAGE_BYTES
        && let Some(election) = all.next()
    {
        let names = [&election.tenant, &election.cluster, &election.desc.replica];
        bytes += names.iter().map(|name| name.len()).sum::<usize>() + AROUND_NAMES;
        elections.push(message(election));
    }
    let is_last = all.peek().is_none();
    (elections, is_last)
}

#[tonic::async_trait]
impl ha_tracker_server::HaTracker for TrackerService {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        self.tenant(&request.tenant)?;
        name("cluster", &request.cluster)?;
        name("replica", &request.replica)?;
        self.ready()?;
        let sighting = Sighting {
            tenant: &request.tenant,
            cluster: &request.cluster,
            replica: &request.replica,
            newest_ms: request.sample_time_ms,
            now_ms: self.tracker.now_ms(),
        };
        let Ok(_checking) = self.checks.try_acquire() else {
            return Err(Status::unavailable(format!(
                "{MAX_CHECKS} checks are already in progress; retry later"
            )));
        };
        let checked = tokio::time::timeout(
            CHECK_TIMEOUT,
            self.tracker.check_within(&sighting, Some(MAX_TENANTS)),
        )
        .await
        .map_err(|_| {
            Status::unavailable(format!(
                "the store did not answer within {CHECK_TIMEOUT:?}; retry later"
            ))
        })?;
        let outcome = match checked {
            Ok(Outcome::Accepted) => check_response::Outcome::Accepted(Accepted {}),
            Ok(Outcome::Deduplicated(elected)) => {
                let elected = elected.name().to_owned();
                check_response::Outcome::Deduplicated(Deduplicated { elected })
            }
            Ok(Outcome::TooManyClusters { limit }) => {
                check_response::Outcome::TooManyClusters(TooManyClusters { limit })
            }
            Ok(Outcome::NotStorable(error)) => {
                return Err(Status::invalid_argument(format!("cluster: {error}")));
            }
            Err(error @ TrackerError::TooManyTenants(_)) => {
                return Err(Status::resource_exhausted(error.to_string()));
            }
            Err(
                error @ (TrackerError::Store(_)
                | TrackerError::Failover(_)
                | TrackerError::Vanished
                | TrackerError::ShuttingDown),
            ) => return Err(Status::unavailable(format!("{error}; retry later"))),
        };
        let outcome = Some(outcome);
        Ok(Response::new(CheckResponse { outcome }))
    }

    async fn list_elected(
        &self,
        request: Request<ListElectedRequest>,
    ) -> Result<Response<ListElectedResponse>, Status> {
        let request = request.into_inner();
        self.any_tenant(&request.tenant)?;
        self.ready()?;
        let (elections, next_page_token) =
            self.page(&request.tenant, request.page_size, &request.page_token)?;
        Ok(Response::new(ListElectedResponse {
            elections,
            next_page_token,
        }))
    }

    async fn list_clusters(
        &self,
        request: Request<ListClustersRequest>,
    ) -> Result<Response<ListClustersResponse>, Status> {
        let request = request.into_inner();
        self.any_tenant(&request.tenant)?;
        self.ready()?;
        let most = match request.page_size {
            0 => CLUSTERS_PAGE,
            size => size.min(CLUSTERS_PAGE),
        };
        let (elections, next_page_token) = self.page(&request.tenant, most, &request.page_token)?;
        let now_ms = self.tracker.now_ms();
        let clusters = elections.into_iter().filter_map(|election| {
            let (tenant, name) = (&election.tenant, &election.cluster);
            let status = self.tracker.cluster_status(tenant, name, now_ms)?;
            Some(senders::cluster(status))
        });
        Ok(Response::new(ListClustersResponse {
            clusters: clusters.collect(),
            next_page_token,
        }))
    }

    async fn hand_over(
        &self,
        request: Request<HandOverRequest>,
    ) -> Result<Response<HandOverResponse>, Status> {
        let Some(who) = &self.hand_over else {
            return Err(Status::permission_denied(
                "handing elections over by hand is off: set \
                 distributor.ha_tracker.enable_handover: true",
            ));
        };
        let who = who(request.extensions());
        let HandOverRequest {
            tenant,
            cluster,
            replica,
        } = request.into_inner();
        self.tenant(&tenant)?;
        name("cluster", &cluster)?;
        name("replica", &replica)?;
        self.ready()?;
        tracing::info!(
            tenant,
            cluster,
            replica,
            who,
            "asked to hand an election over"
        );
        let handed = self.tracker.hand_over(&tenant, &cluster, &replica).await;
        let handed = handed.map_err(|error| {
            tracing::warn!(tenant, cluster, replica, who, %error, "did not hand an election over");
            senders::refused(&error)
        })?;
        let elected = handed == HandedOver::Elected;
        Ok(Response::new(HandOverResponse { elected }))
    }

    type WatchElectionsStream =
        Pin<Box<dyn Stream<Item = Result<WatchElectionsResponse, Status>> + Send>>;

    async fn watch_elections(
        &self,
        request: Request<WatchElectionsRequest>,
    ) -> Result<Response<Self::WatchElectionsStream>, Status> {
        let tenant = request.into_inner().tenant;
        self.any_tenant(&tenant)?;
        let permit = Arc::clone(&self.watchers)
            .try_acquire_owned()
            .map_err(|_| {
                Status::resource_exhausted(format!(
                    "this tracker already has {MAX_WATCHERS} watchers"
                ))
            })?;
        let watcher = Watcher {
            tracker: Arc::clone(&self.tracker),
            watch: self.tracker.watch(),
            tenant,
            next: None,
            _permit: permit,
        };
        let draining = self.draining.clone();
        let events = stream::unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            let response = WatchElectionsResponse { event: Some(event) };
            Some((Ok(response), watcher))
        });
        let end = stream::once(async {
            Err(Status::unavailable(
                "the HA tracker is shutting down; watch another distributor",
            ))
        });
        let until = Box::pin(draining.cancelled_owned());
        Ok(Response::new(Box::pin(events.take_until(until).chain(end))))
    }
}

/// One stream. It is polled for the next event when the client has room for it; in between, it
/// keeps only its position.
struct Watcher {
    tracker: Arc<HaTracker>,
    watch: ElectionWatch,
    /// Empty for all.
    tenant: String,
    /// Position in the state, while it is being sent.
    next: Option<Position>,
    _permit: OwnedSemaphorePermit,
}

/// In the order of tenants and clusters.
enum Position {
    First,
    After(String, String),
}

impl Watcher {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(from) = self.next.take() {
                return Some(Event::State(self.state(&from)));
            }
            match self.watch.next().await? {
                // The state is not kept: each part is taken from the current state when it is sent,
                // and each change since the first part follows.
                ElectionEvent::State(_) => self.next = Some(Position::First),
                ElectionEvent::Lagged(missed) => return Some(Event::Lagged(Lagged { missed })),
                ElectionEvent::Changed(change) => {
                    if !self.tenant.is_empty() && self.tenant != change.tenant {
                        continue;
                    }
                    let (tenant, cluster) = (change.tenant.clone(), change.cluster.clone());
                    return Some(match &change.desc {
                        None => Event::Forgotten(Forgotten { tenant, cluster }),
                        Some(desc) => Event::Elected(Election {
                            tenant,
                            cluster,
                            desc: Some(desc.clone()),
                        }),
                    });
                }
            }
        }
    }

    fn state(&mut self, from: &Position) -> State {
        let after = match from {
            Position::First => None,
            Position::After(tenant, cluster) => Some((tenant.as_str(), cluster.as_str())),
        };
        let state = self.tracker.last_election_state();
        let (elections, is_last) = page(&state, &self.tenant, after, PAGE);
        if let Some(last) = elections.last()
            && !is_last
        {
            self.next = Some(Position::After(last.tenant.clone(), last.cluster.clone()));
        }
        State {
            elections,
            is_first: matches!(from, Position::First),
            is_last,
        }
    }
}
