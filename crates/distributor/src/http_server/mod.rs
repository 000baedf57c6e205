//! The HTTP server: listener, TLS, routes, and how it ends.

mod push;
mod tls;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_server::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::app::Shared;
use crate::pages;

/// How long a client may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error(
        "cannot listen on {address} (server.http_listen_address, server.http_listen_port): {source}"
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("server.http_tls_config: {0}")]
    Tls(Box<dyn std::error::Error + Send + Sync>),
}

/// A running server.
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl HttpServer {
    pub(crate) async fn start(shared: Arc<Shared>) -> Result<Self, ServeError> {
        let server = &shared.config.server;
        let (listener, address) = bind(server.http_listen_address, server.http_listen_port)?;
        let tls = tls::server_config(&server.http_tls_config)?;
        let handle = Handle::new();
        let app = router(shared).into_make_service();
        let task = match tls {
            None => {
                let mut server = axum_server::from_tcp(listener)
                    .map_err(|source| ServeError::Bind { address, source })?
                    .handle(handle.clone());
                limit_headers(server.http_builder());
                tokio::spawn(server.serve(app))
            }
            Some(config) => {
                let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
                let mut server = axum_server::from_tcp_rustls(listener, config)
                    .map_err(|source| ServeError::Bind { address, source })?
                    .handle(handle.clone());
                limit_headers(server.http_builder());
                tokio::spawn(server.serve(app))
            }
        };
        Ok(Self {
            address,
            handle,
            task,
        })
    }

    /// Waits for the server to end by itself, which it should not.
    pub(crate) async fn failed(&mut self) -> String {
        format!("the HTTP server ended: {:?}", (&mut self.task).await)
    }

    /// Stops accepting and waits for requests in flight, at most `timeout`.
    pub(crate) async fn shutdown(mut self, timeout: Duration) {
        self.handle.graceful_shutdown(Some(timeout));
        match (&mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the HTTP server ended with an error"),
            Err(error) => tracing::error!(%error, "the HTTP server panicked"),
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// Binds all addresses, IPv6 and IPv4, if none is given; IPv4 alone where there is no IPv6.
fn bind(ip: Option<IpAddr>, port: u16) -> Result<(TcpListener, SocketAddr), ServeError> {
    let wanted = SocketAddr::new(ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port);
    let bound = TcpListener::bind(wanted).or_else(|error| match ip {
        None => TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)),
        Some(_) => Err(error),
    });
    let fail = |source| ServeError::Bind {
        address: wanted,
        source,
    };
    let listener = bound.map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((listener, address))
}

fn limit_headers(
    builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>,
) {
    let timer = hyper_util::rt::TokioTimer::new();
    builder
        .http1()
        .timer(timer.clone())
        .header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(timer);
}

fn router(shared: Arc<Shared>) -> Router {
    let push = || post(push::push).fallback(push::method_not_allowed);
    Router::new()
        .route("/api/v1/push", push())
        .route("/api/v1/write", push())
        .route("/", get(pages::index::page))
        .route("/ready", get(pages::status::ready))
        .route("/metrics", get(pages::status::metrics))
        .route("/services", get(pages::status::services))
        .route("/api/v1/status/buildinfo", get(pages::status::buildinfo))
        .route("/config", get(pages::configuration::config))
        .route("/runtime_config", get(pages::configuration::runtime_config))
        .route("/distributor/ha_tracker", get(pages::ha_tracker::page))
        .route("/memberlist", get(pages::memberlist::page))
        .route("/distributor/multi_kv", get(pages::multi_kv::page))
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
    shared
        .requests
        .observe(method, route, response.status(), start.elapsed());
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
