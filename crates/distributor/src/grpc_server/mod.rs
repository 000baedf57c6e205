//! The gRPC server: `Push` as Mimir's distributors have it, the tracker, health and reflection.

mod deadline;
mod details;
mod encoding;
mod push;
mod refused;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::{Readiness, text};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use distributor_config::ServerConfig;
use ha_tracker::HaTracker;
use ha_tracker::proto::ha_tracker_server::SERVICE_NAME as TRACKER;
use ingest::Pusher;
use kv_core::LogThrottle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::access::Access;
use crate::intake::Intake;
use crate::listener::{
    ConnectionMetrics, Listen, Listener, NotDirect, ServeError, Server, connection_limit,
};
use crate::metrics::{self, Protocol, RequestMetrics};

/// Time for readers of streams to see that these end.
const FAREWELL: Duration = Duration::from_secs(1);
/// Time between two polls of state that has no events.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// What `proto/` says, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");

/// What the services are about.
pub(crate) struct GrpcParts {
    pub(crate) intake: Arc<Intake>,
    pub(crate) tracker: Option<Arc<HaTracker>>,
    /// Whether clients may hand elections over.
    pub(crate) can_hand_over: bool,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) requests: RequestMetrics,
    pub(crate) access: Arc<Access>,
}

/// The server, and what goes on beside it.
pub(crate) struct GrpcServer {
    pub(crate) server: Server,
    pusher: Arc<Pusher>,
    /// Ends with this.
    health: AbortOnDropHandle<()>,
}

/// Listens; nothing is answered yet.
pub(crate) fn bind(
    server: &ServerConfig,
    metrics: &ConnectionMetrics,
) -> Result<Listener, ServeError> {
    let listen = Listen {
        protocol: "grpc",
        is_http2_only: true,
        ip: server.grpc_listen_address,
        port: server.grpc_listen_port,
        tls: &server.grpc_tls_config,
        connections: connection_limit(server.grpc_listen_conn_limit),
        idle_timeout: server.http_server_idle_timeout,
    };
    Listener::bind(listen, metrics)
}

/// Serves gRPC until `draining`, which ends the streams of those who read them.
pub(crate) async fn start(
    parts: GrpcParts,
    listener: Listener,
    draining: &CancellationToken,
) -> GrpcServer {
    let (reporter, health) = tonic_health::server::health_reporter();
    let health_of = Health {
        services: ["", push::NAME]
            .into_iter()
            .chain(parts.tracker.as_ref().map(|_| TRACKER))
            .collect(),
        reporter,
    };
    // It begins with a service that serves.
    health_of.report(ServingStatus::NotServing).await;
    let health = Routes::new(health.accept_compressed(Gzip));
    let server = listener.serve(router(&parts, draining, health), NotDirect);
    let health = tokio::spawn(health_of.follow(parts.readiness, draining.clone()));
    GrpcServer {
        server,
        pusher: Arc::clone(&parts.intake.pusher),
        health: AbortOnDropHandle::new(health),
    }
}

impl GrpcServer {
    /// As [`Server::shutdown`]: waits for pushes, but not for streams that are not read.
    pub(crate) async fn shutdown(self, timeout: Duration) {
        let Self {
            server,
            pusher,
            health,
        } = self;
        let no_push = async {
            // Readers see that it ends, and disconnect.
            tokio::time::sleep(FAREWELL).await;
            while pusher.is_busy() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        server.shutdown(timeout, no_push).await;
        drop(health);
    }
}

/// The address of a client, for the log.
fn who(extensions: &tonic::Extensions) -> String {
    let address = extensions.get::<ConnectInfo<SocketAddr>>();
    address.map_or_else(
        || "unknown".to_owned(),
        |ConnectInfo(address)| address.ip().to_canonical().to_string(),
    )
}

fn router(parts: &GrpcParts, draining: &CancellationToken, mut routes: Routes) -> Router {
    routes = routes.add_service(push::Distributor::new(Arc::clone(&parts.intake)));
    if let Some(tracker) = &parts.tracker {
        let rule = {
            let intake = Arc::clone(&parts.intake);
            move |tenant: &str| intake.may_be_tracked(tenant)
        };
        routes = routes.add_service(ha_tracker::grpc::service(
            Arc::clone(tracker),
            Arc::new(rule),
            parts.can_hand_over.then(|| Arc::new(who) as _),
            draining.clone(),
        ));
    }
    // Of the older protocol as well, which is the only one that Python's and other clients know.
    let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
    match v1.and_then(|v1| Ok((v1, v1alpha?))) {
        Ok((v1, v1alpha)) => {
            routes = routes
                .add_service(v1.accept_compressed(Gzip))
                .add_service(v1alpha.accept_compressed(Gzip));
        }
        Err(error) => tracing::error!(%error, "there is no gRPC reflection"),
    }
    let access = (Arc::clone(&parts.access), Arc::new(LogThrottle::default()));
    routes
        .into_axum_router()
        .layer(axum::middleware::from_fn_with_state(access, protect))
        .layer(axum::middleware::from_fn(deadline::enforce))
        .layer(axum::middleware::from_fn(only_grpc))
        .layer(axum::middleware::from_fn_with_state(
            parts.requests.clone(),
            measure,
        ))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Health, as the standard service tells it.
struct Health {
    services: Vec<&'static str>,
    reporter: HealthReporter,
}

impl Health {
    async fn report(&self, status: ServingStatus) {
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Reports the state of `/ready` for each service, and removes the services at the end.
    async fn follow(mut self, readiness: Arc<Readiness>, draining: CancellationToken) {
        let ready = async {
            while !readiness.not_ready_because().is_empty() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        if draining.run_until_cancelled(ready).await.is_some() {
            self.report(ServingStatus::Serving).await;
            draining.cancelled().await;
        }
        self.report(ServingStatus::NotServing).await;
        // Ends the streams of watchers, because the drain would wait for them.
        for service in self.services {
            self.reporter.clear_service_status(service).await;
        }
    }
}

/// The tracker's service needs credentials where pages or senders do; pushes check theirs with their
/// tenant. Health and reflection say nothing that is secret.
async fn protect(
    State((access, log)): State<(Arc<Access>, Arc<LogThrottle>)>,
    request: Request,
    next: Next,
) -> Response {
    let of_tracker = request.uri().path().strip_prefix('/');
    let is_of_tracker = of_tracker.is_some_and(|path| path.starts_with(TRACKER));
    if is_of_tracker && let Err(denied) = access.elections(request.headers()) {
        if let Some(suppressed) = log.admit() {
            let path = request.uri().path();
            tracing::warn!(path, %denied, suppressed, "a call without valid credentials was refused");
        }
        return Status::unauthenticated(denied.to_string()).into_http();
    }
    next.run(request).await
}

/// gRPC is a POST of a type that no web page can send unasked.
async fn only_grpc(request: Request, next: Next) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    let is_grpc =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if request.method() != Method::POST || !is_grpc {
        let problem = "this port serves gRPC only: send a POST of application/grpc";
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem);
    }
    next.run(request).await
}

async fn measure(State(requests): State<RequestMetrics>, request: Request, next: Next) -> Response {
    let route = route_label(request.uri().path());
    let underway = requests.begin(Protocol::Grpc, route);
    let response = next.run(request).await;
    // Of a stream that goes well, only its beginning is known here.
    let code = match response.headers().get(Status::GRPC_STATUS) {
        Some(code) => Code::from_bytes(code.as_bytes()),
        None if response.status() == StatusCode::OK => Code::Ok,
        // What is not gRPC at all.
        None => Code::Unknown,
    };
    underway.end(metrics::Status::Grpc(code));
    response
}

/// As in dskit: the full name of the method. Bounded, whatever a client sends.
fn route_label(path: &str) -> &'static str {
    match path {
        push::PATH => push::PATH,
        "/ha_tracker.v1.HaTracker/Check" => "/ha_tracker.v1.HaTracker/Check",
        "/ha_tracker.v1.HaTracker/ListElected" => "/ha_tracker.v1.HaTracker/ListElected",
        "/ha_tracker.v1.HaTracker/WatchElections" => "/ha_tracker.v1.HaTracker/WatchElections",
        path if path.starts_with("/grpc.health.") => "/grpc.health.v1.Health",
        path if path.starts_with("/grpc.reflection.") => "/grpc.reflection.v1.ServerReflection",
        _ => "other",
    }
}
