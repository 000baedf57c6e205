//! The HTTP server: its routes.

pub(crate) mod accept;
pub(crate) mod push;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::Instant;

use crate::app::Shared;
use crate::config::ServerConfig;
use crate::listener::{ConnectionMetrics, Listen, Listener, ServeError, Server, connection_limit};
use crate::metrics::Status;
use crate::pages;

/// Serves pages, metrics and remote write.
pub(crate) fn start(shared: &Arc<Shared>, listener: Listener) -> Server {
    listener.serve(router(Arc::clone(shared)))
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

fn router(shared: Arc<Shared>) -> Router {
    let push = || {
        post(push::push)
            .fallback(push::method_not_allowed)
            .with_state(Arc::clone(&shared.intake))
    };
    Router::new()
        .route("/api/v1/push", push())
        .route("/api/v1/write", push())
        .route("/", get(pages::index::page))
        .route("/ready", get(pages::status::ready))
        .route("/metrics", get(pages::status::metrics))
        .route("/services", get(pages::services::services))
        .route("/api/v1/status/buildinfo", get(pages::status::buildinfo))
        .route("/config", get(pages::configuration::config))
        .route("/runtime_config", get(pages::configuration::runtime_config))
        .route("/distributor/ha_tracker", get(pages::ha_tracker::page))
        .route("/memberlist", get(pages::memberlist::page))
        .route("/distributor/multi_kv", get(pages::multi_kv::page))
        .route("/favicon.ico", get(pages::index::favicon))
        .fallback(pages::index::not_found)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&shared),
            measure,
        ))
        .with_state(shared)
}

async fn measure(
    State(shared): State<Arc<Shared>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let method = method_label(request.method());
    let response = next.run(request).await;
    let route = path
        .as_ref()
        .map_or("other", |path| route_label(path.as_str()));
    shared.requests.observe(
        method,
        route,
        Status::Http(response.status()),
        start.elapsed(),
    );
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

/// As in dskit: slashes become underscores.
fn route_label(path: &str) -> &'static str {
    match path {
        "/" => "root",
        "/api/v1/push" => "api_v1_push",
        "/api/v1/write" => "api_v1_write",
        "/ready" => "ready",
        "/metrics" => "metrics",
        "/services" => "services",
        "/favicon.ico" => "favicon",
        "/api/v1/status/buildinfo" => "api_v1_status_buildinfo",
        "/config" => "config",
        "/runtime_config" => "runtime_config",
        "/distributor/ha_tracker" => "distributor_ha_tracker",
        "/memberlist" => "memberlist",
        "/distributor/multi_kv" => "distributor_multi_kv",
        _ => "other",
    }
}

/// A plain text answer of one line.
pub(crate) fn text(status: StatusCode, line: impl Into<String>) -> Response {
    let mut body: String = line.into();
    body.push('\n');
    (status, body).into_response()
}
