//! The HTTP server: its routes.

mod push;

use std::sync::Arc;

use admin::Admin;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::post;
use distributor_config::ServerConfig;

use crate::intake::Intake;
use crate::listener::{ConnectionMetrics, Listen, Listener, ServeError, Server, connection_limit};
use crate::metrics::{Protocol, RequestMetrics, Status};

/// Serves pages, metrics and remote write.
pub(crate) fn start(
    admin: &Admin,
    intake: &Arc<Intake>,
    requests: RequestMetrics,
    listener: Listener,
) -> Server {
    listener.serve(router(admin, intake, requests))
}

/// Listens; nothing is answered yet.
pub(crate) fn bind(
    server: &ServerConfig,
    metrics: &ConnectionMetrics,
) -> Result<Listener, ServeError> {
    let listen = Listen {
        protocol: "http",
        is_http2_only: false,
        ip: server.http_listen_address,
        port: server.http_listen_port,
        tls: &server.http_tls_config,
        connections: connection_limit(server.http_listen_conn_limit),
        idle_timeout: server.http_server_idle_timeout,
    };
    Listener::bind(listen, metrics)
}

fn router(admin: &Admin, intake: &Arc<Intake>, requests: RequestMetrics) -> Router {
    let push = post(push::push)
        .fallback(push::method_not_allowed)
        .with_state(Arc::clone(intake));
    admin::router(admin, &push).layer(axum::middleware::from_fn_with_state(requests, measure))
}

async fn measure(
    State(requests): State<RequestMetrics>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let method = method_label(request.method());
    let route = path
        .as_ref()
        .map_or("other", |path| admin::label_of(path.as_str()));
    let underway = requests.begin(Protocol::Http(method), route);
    let response = next.run(request).await;
    underway.end(Status::Http(response.status().as_u16()));
    response
}

/// Bounded, whatever a client sends.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}
