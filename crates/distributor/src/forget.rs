//! `DELETE /distributor/ha_tracker/forget`: removes a cluster from every store, if that is enabled.
//!
//! It is asked twice: a first request is answered with the elected replica, and only one that names it
//! removes the cluster. The method keeps web pages of other sites out, which cannot send it unasked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin::text;
use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::delete;
use ha_tracker::ReplicaDesc;
use kv_core::{CasUpdate, Store};
use serde::Deserialize;

use crate::access::Access;

/// Its path.
pub(crate) const PATH: &str = "/distributor/ha_tracker/forget";
/// How long one store may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What can forget.
#[derive(Clone)]
pub(crate) struct Forget {
    /// `distributor.ha_tracker.enable_forget`.
    pub(crate) is_enabled: bool,
    /// The store that decides first; of a multi store, then each of its two.
    pub(crate) stores: Vec<(String, Arc<dyn Store<ReplicaDesc>>)>,
    pub(crate) access: Arc<Access>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    cluster: String,
    /// The elected replica: that of the answer to the first request.
    #[serde(default)]
    confirm: String,
}

/// The route.
pub(crate) fn route(forget: Forget) -> Router {
    Router::new().route(PATH, delete(handle).with_state(forget))
}

async fn handle(
    State(forget): State<Forget>,
    Query(asked): Query<Asked>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if !forget.is_enabled {
        let problem = "forgetting clusters is off: set distributor.ha_tracker.enable_forget";
        return text(StatusCode::FORBIDDEN, problem);
    }
    let Some((_, first)) = forget.stores.first() else {
        return text(
            StatusCode::CONFLICT,
            "the HA tracker is off: there are no clusters",
        );
    };
    let Asked {
        tenant,
        cluster,
        confirm,
    } = asked;
    if tenant.is_empty() || cluster.is_empty() {
        let problem = "the parameters tenant and cluster are needed";
        return text(StatusCode::BAD_REQUEST, problem);
    }
    let key = format!("{tenant}/{cluster}");
    let stored = match tokio::time::timeout(TIMEOUT, first.get(&key)).await {
        Ok(Ok(stored)) => stored,
        Ok(Err(error)) => return text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(_) => return text(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer"),
    };
    if confirm.is_empty() {
        return match stored {
            Some(desc) => text(StatusCode::CONFLICT, desc.replica),
            None => text(StatusCode::NOT_FOUND, "the store has no such cluster"),
        };
    }
    let by = forget.access.reader(&headers);
    let from = client.ip().to_canonical();
    let mut results = Vec::new();
    let mut is_done = true;
    for (name, store) in &forget.stores {
        let (outcome, is_well) = remove(store.as_ref(), &key, &confirm).await;
        is_done &= is_well;
        results.push(format!("{name}: {outcome}"));
    }
    let stores = results.join(", ");
    tracing::warn!(
        tenant,
        cluster,
        replica = confirm,
        stores,
        by,
        %from,
        "a cluster was forgotten by request"
    );
    match is_done {
        true => text(StatusCode::OK, stores),
        false => text(StatusCode::BAD_GATEWAY, stores),
    }
}

/// What was done, and whether the cluster is gone.
async fn remove(store: &dyn Store<ReplicaDesc>, key: &str, confirmed: &str) -> (String, bool) {
    let mut other = None;
    let mut was_there = false;
    let mut update = |stored: Option<&ReplicaDesc>| {
        was_there = stored.is_some();
        match stored {
            None => CasUpdate::Keep,
            Some(desc) if desc.replica == confirmed => {
                other = None;
                CasUpdate::Delete
            }
            Some(desc) => {
                other = Some(desc.replica.clone());
                CasUpdate::Keep
            }
        }
    };
    match tokio::time::timeout(TIMEOUT, store.cas(key, &mut update)).await {
        Ok(Ok(_)) => match other {
            Some(other) => (format!("kept, because {other:?} is elected now"), false),
            None if was_there => ("removed".to_owned(), true),
            None => ("was not there".to_owned(), true),
        },
        Ok(Err(error)) => (error.to_string(), false),
        Err(_) => (
            "does not answer; it may have been removed".to_owned(),
            false,
        ),
    }
}
