//! `/distributor/multi_kv`: primary and secondary of a multi store, and what differs between them.

mod html;
mod json;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use distributor_config::{MultiSettings, StoreKind, TenantLimits};
use ha_tracker::{Clock, ReplicaDesc};
use kv_multi::MultiStore;

use super::frame::html_page;
use crate::accept::wants_json;
use crate::answer;
use crate::multi_kv::MultiKv;
use crate::routes::Page;
use view::{Compared, View};

/// A comparison that is not older is shown again: each costs both stores a listing.
const MAX_AGE: Duration = Duration::from_secs(5);
/// A reader of the page does not wait longer for a new one.
const COMPARISON_TIMEOUT: Duration = Duration::from_secs(3);
/// If none is made in that time, one that is not older will do: large stores take longer.
const STILL_GOOD: Duration = Duration::from_secs(30);

pub(crate) struct Parts {
    /// `None` without the HA tracker.
    pub(crate) store: Option<StoreKind>,
    pub(crate) configured: MultiSettings,
    pub(crate) limits: TenantLimits,
    pub(crate) multi: Option<MultiKv>,
}

pub(crate) async fn page(State(parts): State<Arc<Parts>>, headers: HeaderMap) -> Response {
    let title = Page::MultiKv.route().title;
    let wanted = parts.limits.snapshot().multi_kv_config().cloned();
    let Some(multi) = &parts.multi else {
        let store = parts.store.map(StoreKind::as_str);
        if wants_json(&headers) {
            return answer::json(&json::other(store, wanted.as_ref()));
        }
        return html_page(title, &html::other(store, wanted.as_ref()));
    };
    let compared = compare(&multi.store).await;
    let view = View {
        configured: &parts.configured,
        wanted,
        refused: multi.refused.load_full(),
        status: multi.store.status(),
        compared,
    };
    if wants_json(&headers) {
        return answer::json(&json::multi(&view));
    }
    html_page(title, &html::multi(&view, Clock::System.now_ms()))
}

async fn compare(store: &MultiStore<ReplicaDesc>) -> Compared {
    match tokio::time::timeout(COMPARISON_TIMEOUT, store.compare(MAX_AGE)).await {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(_) => store.last_comparison(STILL_GOOD).ok_or_else(|| {
            let waited = COMPARISON_TIMEOUT.as_secs();
            format!("the two stores could not be listed within {waited} s")
        }),
    }
}
