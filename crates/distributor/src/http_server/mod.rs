//! The HTTP server: its routes.

mod direct;
mod push;

use std::net::SocketAddr;
use std::sync::Arc;

use admin::{Admin, Page};
use axum::Router;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::post;
use distributor_config::ServerConfig;
use kv_core::LogThrottle;

use crate::access::{Access, CHALLENGE};
use crate::intake::Intake;
use crate::listener::{ConnectionMetrics, Listen, Listener, ServeError, Server, connection_limit};
use crate::metrics::{Protocol, RequestMetrics, Status};
use direct::DirectPush;

/// Serves pages, metrics, remote write, and `more`, which needs the credentials of the pages.
pub(crate) fn start(
    admin: &Admin,
    intake: &Arc<Intake>,
    access: &Arc<Access>,
    requests: RequestMetrics,
    more: Router,
    listener: Listener,
) -> Server {
    let prefix = admin.config.server.http_path_prefix.trim_end_matches('/');
    let routes = [Page::Push, Page::Write].map(|page| page.route().path);
    let direct = DirectPush::new(Arc::clone(intake), requests.clone(), &routes, prefix);
    let router = router(admin, intake, access, requests, more);
    let router = match prefix {
        "" => router,
        prefix => also_below(prefix, router),
    };
    listener.serve(router, direct)
}

/// Serves everything below `prefix` as well as at its own path, to which the links of pages lead.
fn also_below(prefix: &str, router: Router) -> Router {
    let prefix: Arc<str> = prefix.into();
    let strip = move |request: Request| {
        let request = without_prefix(&prefix, request);
        async move { request }
    };
    // A layer around a router would come after its routing.
    Router::new()
        .fallback_service(router)
        .layer(axum::middleware::map_request(strip))
}

fn without_prefix(prefix: &str, mut request: Request) -> Request {
    let inside = request.uri().path_and_query().and_then(|whole| {
        let rest = whole.as_str().strip_prefix(prefix)?;
        match rest.chars().next() {
            None | Some('?') => format!("/{rest}").parse::<PathAndQuery>().ok(),
            Some('/') => rest.parse().ok(),
            // Another path that begins alike.
            Some(_) => None,
        }
    });
    if let Some(inside) = inside {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(inside);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
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

fn router(
    admin: &Admin,
    intake: &Arc<Intake>,
    access: &Arc<Access>,
    requests: RequestMetrics,
    more: Router,
) -> Router {
    let push = post(push::push)
        .fallback(push::method_not_allowed)
        .with_state(Arc::clone(intake));
    let access = (Arc::clone(access), Arc::new(LogThrottle::default()));
    admin::router(admin, &push)
        .merge(more)
        .layer(axum::middleware::from_fn_with_state(access, protect))
        .layer(axum::middleware::from_fn_with_state(requests, measure))
}

/// Pages need credentials. `/ready` and `/healthz` never do: probes have none. Pushes check theirs, with their
/// tenant.
async fn protect(
    State((access, log)): State<(Arc<Access>, Arc<LogThrottle>)>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let open = [Page::Ready, Page::Healthz, Page::Push, Page::Write];
    let open = open.map(|page| page.route().path);
    let is_open = path.is_some_and(|path| open.contains(&path.as_str()));
    if let Err(denied) = access.page(request.headers())
        && !is_open
    {
        if let Some(suppressed) = log.admit() {
            let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let client = client.map(|client| client.ip().to_canonical().to_string());
            tracing::warn!(
                client,
                path = request.uri().path(),
                %denied,
                suppressed,
                "a request for a page without valid credentials was refused"
            );
        }
        let mut response = admin::text(StatusCode::UNAUTHORIZED, denied.to_string());
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        return response;
    }
    next.run(request).await
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_prefix_is_taken_from_paths_that_are_below_it() {
        let stripped = |uri: &str| {
            let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            without_prefix("/mimir", request).uri().to_string()
        };
        assert_eq!(stripped("/mimir/api/v1/push"), "/api/v1/push");
        assert_eq!(stripped("/mimir"), "/");
        assert_eq!(stripped("/mimir/"), "/");
        assert_eq!(stripped("/mimir?a=b"), "/?a=b");
        assert_eq!(stripped("/mimir/config?mode=diff"), "/config?mode=diff");
        assert_eq!(stripped("/mimirs/ready"), "/mimirs/ready");
        assert_eq!(stripped("/ready"), "/ready");
        assert_eq!(stripped("http://h:1/mimir/ready"), "http://h:1/ready");
    }
}
