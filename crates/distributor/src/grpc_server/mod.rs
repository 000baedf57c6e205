//! The gRPC server: `Push` as Mimir's distributors have it, the tracker, health and reflection.

mod codec;
mod deadline;
mod push;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use ha_tracker::proto::ha_tracker_server::SERVICE_NAME as TRACKER;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use crate::app::Shared;
use crate::listener::{Listen, ServeError, Server};
use crate::metrics;
use crate::push::validate_tenant;

/// What `proto/` says, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");

/// Serves gRPC until `draining`, which ends the streams that would not end by themselves.
pub(crate) fn start(
    shared: &Arc<Shared>,
    draining: &CancellationToken,
) -> Result<Server, ServeError> {
    let server = &shared.config.server;
    let listen = Listen {
        protocol: "grpc",
        ip: server.grpc_listen_address,
        port: server.grpc_listen_port,
        tls: &server.grpc_tls_config,
    };
    Server::start(listen, router(Arc::clone(shared), draining))
}

fn router(shared: Arc<Shared>, draining: &CancellationToken) -> Router {
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(health);
    routes = routes.add_service(push::Distributor::new(Arc::clone(&shared)));
    if let Some(tracker) = &shared.tracker {
        routes = routes.add_service(ha_tracker::grpc::service(
            Arc::clone(tracker),
            validate_tenant,
            draining.clone(),
        ));
    }
    tokio::spawn(report_health(
        Arc::clone(&shared),
        reporter,
        draining.clone(),
    ));
    // Of the older protocol as well, which is the only one that Python's and other clients know.
    let (v1, v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
    match v1.and_then(|v1| Ok((v1, v1alpha?))) {
        Ok((v1, v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        Err(error) => tracing::error!(%error, "there is no gRPC reflection"),
    }
    routes
        .into_axum_router()
        .layer(axum::middleware::from_fn(deadline::enforce))
        .layer(axum::middleware::from_fn_with_state(shared, measure))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Says of each service what `/ready` says of the process: not serving until it is ready, nor once it
/// drains.
async fn report_health(
    shared: Arc<Shared>,
    mut reporter: tonic_health::server::HealthReporter,
    draining: CancellationToken,
) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let tracker = shared.tracker.as_ref().map(|_| TRACKER);
    let services: Vec<&str> = ["", push::NAME].into_iter().chain(tracker).collect();
    let report = async |status| {
        for service in &services {
            reporter.set_service_status(service, status).await;
        }
    };
    report(NotServing).await;
    let ready = async {
        loop {
            if shared.not_ready_because().is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    if draining.run_until_cancelled(ready).await.is_some() {
        report(Serving).await;
        draining.cancelled().await;
    }
    report(NotServing).await;
    // Ends the streams of those who watch, which the drain would wait for.
    for service in services {
        reporter.clear_service_status(service).await;
    }
}

async fn measure(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = route_label(request.uri().path());
    let response = next.run(request).await;
    // Of a stream that goes well, only its beginning is known here.
    let status = match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != tonic::Code::Ok => metrics::Status::Error,
        _ => metrics::Status::Success,
    };
    shared
        .requests
        .observe("gRPC", route, status, start.elapsed());
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
