//! `/memberlist`: the gossip cluster as this member sees it.

mod html;
mod json;
mod query;

use std::fmt::Write;
use std::sync::Arc;

use admin_api::{Entry, Memberlist};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use ha_tracker::Clock;
use kv_core::visible;
use kv_memberlist::{Inspector, RawValue};
use maud::html;

use super::PageRenderer;
use super::frame::{html_page, layout};
use super::not_found::nothing;
use crate::accept::wants_json;
use crate::answer::{HTML, JSON, json};
use crate::lending::Renderer;
use crate::routes::Page;
use html::{entries_table, history_tables, members_table, others_table, protocol_line, value_page};
use json::{json_page, value_json};
use query::Wanted;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) gossip: Option<Inspector>,
    pub(crate) renderer: Arc<PageRenderer>,
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let title = Page::Memberlist.route().title;
    let Some(gossip) = &parts.gossip else {
        return not_used(&headers);
    };
    if let Some(key) = wanted.view_key.as_ref().or(wanted.download_key.as_ref()) {
        let Some(raw) = gossip.raw(key) else {
            return nothing(&headers, &format!("there is no key {key:?}"));
        };
        let only_json = wanted.format == "json" || wants_json(&headers);
        return match (wanted.view_key.is_some(), only_json) {
            (true, false) => html_page(title, &value_page(&raw)),
            (false, false) => download(&raw),
            (_, true) => json(&value_json(&raw)),
        };
    }
    let members = gossip.members().await;
    let json = wants_json(&headers);
    let gossip = gossip.clone();
    let write = move |page: &mut Renderer| {
        let mut entries = gossip.entries();
        entries.retain(|entry| entry.key.contains(&wanted.key));
        wanted.order(&mut entries);
        let mut others = gossip.other_keys();
        others.retain(|other| other.key.contains(&wanted.key));
        let history = gossip.history();
        if json {
            let written = json_page(&gossip, &members, &entries, &others, history.as_ref());
            return page.write_json(&written);
        }
        let content = html! {
            @if let Some(waiting) = gossip.waiting_for() { div.notice.critical { p { "Not ready: " (visible(&waiting)) } } }
            @if let Some(who) = gossip.disagreement().filter(|_| gossip.waiting_for().is_none()) { div.notice { p { "Gossip: " (visible(&who)) } } }
            (protocol_line(&gossip.protocol()))
            (members_table(&members, gossip.protocol().protocol))
            (entries_table(&entries, &wanted, Clock::System.now_ms()))
            (others_table(gossip.protocol().protocol, &others))
            (history_tables(history.as_ref()))
        };
        page.write_str(&layout(title, &content).into_string())
    };
    let content_type = if json { JSON } else { HTML };
    parts.renderer.answer(&headers, content_type, write).await
}

fn not_used(headers: &HeaderMap) -> Response {
    if wants_json(headers) {
        return json(&Memberlist {
            enabled: false,
            members: Vec::new(),
            gossip: None,
            store: Vec::<Entry>::new(),
        });
    }
    html_page(
        Page::Memberlist.route().title,
        &html! { p { "Gossip is not used here: elections are kept in another store ("
        code { "distributor.ha_tracker.kvstore.store" } ") or the HA tracker is off." } },
    )
}

/// The bytes as another store would hold them.
fn download(raw: &RawValue) -> Response {
    let mut response = raw.bytes.clone().into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"value.bin\""),
    );
    response
}
