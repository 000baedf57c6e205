//! `/memberlist`: the gossip cluster as this member sees it.

use std::fmt::Write;
use std::sync::Arc;

use admin_api::{Entry, Gossip, Memberlist, Message, StoredValue};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use ha_tracker::{Clock, ReplicaDesc};
use kv_core::{Codec, visible};
use kv_memberlist::{EntryInfo, History, HistoryEntry, Inspector, Member, MemberState, RawValue};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::index::nothing;
use super::parts::{self, PAGE_ROWS, pages, rows_of_page, scroll};
use super::times::{ago, rfc3339, rough};
use super::{HTML, JSON, OneByOne, json, layout, wants_json};
use crate::app::Shared;
use crate::lending::Renderer;

/// Rows of each table of the HTML page that has no further pages; JSON has all.
const MAX_ROWS: usize = 1000;

/// Keys of a message that the HTML page names.
const MAX_KEYS: usize = 5;

/// Mimir's parameters, and a filter of ours.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Show the value of this key.
    #[serde(rename = "viewKey")]
    view_key: Option<String>,
    /// Send the stored bytes of this key.
    #[serde(rename = "downloadKey")]
    download_key: Option<String>,
    /// `json`: the value, decoded, and nothing else.
    #[serde(default)]
    format: String,
    /// Keeps the rows whose key contains this.
    #[serde(default)]
    key: String,
    /// Page of the keys, from 1.
    page: Option<usize>,
}

pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let Some(gossip) = &shared.gossip else {
        return not_used(&headers);
    };
    if let Some(key) = wanted.view_key.as_ref().or(wanted.download_key.as_ref()) {
        let Some(raw) = gossip.raw(key) else {
            return nothing(&headers, &format!("there is no key {key:?}"));
        };
        let only_json = wanted.format == "json" || wants_json(&headers);
        return match (wanted.view_key.is_some(), only_json) {
            (true, false) => super::page("Memberlist", &value_page(&raw)),
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
        let history = gossip.history();
        if json {
            let written = json_page(&gossip, &members, &entries, history.as_ref());
            return page.write_json(&written);
        }
        let content = html! {
            @if let Some(waiting) = gossip.waiting_for() { div.notice.critical { p { "Not ready: " (visible(&waiting)) } } }
            (members_table(&members))
            (entries_table(&entries, &wanted, Clock::System.now_ms()))
            (history_tables(history.as_ref()))
        };
        page.write_str(&layout("Memberlist", &content).into_string())
    };
    let content_type = if json { JSON } else { HTML };
    shared.desk.answer(&headers, content_type, write).await
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
    super::page(
        "Memberlist",
        &html! { p { "Gossip is not used here: the elections are kept in another store ("
        code { "distributor.ha_tracker.kvstore.store" } ") or the HA tracker is off." } },
    )
}

fn json_page(
    gossip: &Inspector,
    members: &[Member],
    entries: &[EntryInfo],
    history: Option<&History>,
) -> Memberlist<impl Serialize> {
    let messages =
        |entries: &[HistoryEntry]| -> Vec<Message> { entries.iter().map(message_json).collect() };
    let waiting_for = gossip.waiting_for();
    Memberlist {
        enabled: true,
        members: members.iter().map(member_json).collect(),
        gossip: Some(Gossip {
            ready: waiting_for.is_none(),
            received_messages: history.map(|history| messages(&history.received)),
            sent_messages: history.map(|history| messages(&history.sent)),
            waiting_for,
        }),
        store: OneByOne(move || entries.iter().map(entry_json)),
    }
}

fn member_json(member: &Member) -> admin_api::Member {
    use admin_api::MemberState as State;
    admin_api::Member {
        address: member.address.to_string(),
        entries: member.entries as u64,
        heartbeat_age_ms: u64::try_from(member.heartbeat_age.as_millis()).unwrap_or(u64::MAX),
        name: member.name.clone(),
        is_self: member.is_self,
        state: match member.state {
            MemberState::Joining => State::Joining,
            MemberState::Active => State::Active,
            MemberState::Leaving => State::Leaving,
            MemberState::Left => State::Left,
            MemberState::Dead => State::Dead,
        },
    }
}

fn entry_json(entry: &EntryInfo) -> Entry {
    Entry {
        codec: entry.codec.to_owned(),
        deleted: entry.deleted,
        key: entry.key.clone(),
        size: entry.size as u64,
        updated: rfc3339(entry.updated_ms),
        version: entry.version,
    }
}

fn message_json(message: &HistoryEntry) -> Message {
    Message {
        id: message.id,
        keys: message.keys.clone(),
        kind: message.kind.to_owned(),
        peer: message.peer.to_string(),
        size: message.size as u64,
        time: rfc3339(message.at_ms),
    }
}

/// The value of a key; `None` if it was deleted.
fn value_json(raw: &RawValue) -> Option<StoredValue> {
    if raw.info.deleted {
        return None;
    }
    Some(match ha_tracker::CODEC.decode(&raw.bytes) {
        Ok(desc) => StoredValue::Election(desc_json(&desc)),
        Err(error) => StoredValue::Undecodable {
            error: error.to_string(),
        },
    })
}

pub(super) fn desc_json(desc: &ReplicaDesc) -> admin_api::ReplicaDesc {
    let time = |ms: i64| (ms != 0).then(|| rfc3339(ms));
    admin_api::ReplicaDesc {
        deleted_at: desc.deleted_at,
        deleted_at_time: time(desc.deleted_at),
        elected_at: desc.elected_at,
        elected_at_time: time(desc.elected_at),
        elected_changes: desc.elected_changes,
        received_at: desc.received_at,
        received_at_time: time(desc.received_at),
        replica: desc.replica.clone(),
    }
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

fn value_page(raw: &RawValue) -> Markup {
    // By way of a value, whose keys are sorted.
    let value = serde_json::to_value(value_json(raw)).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    html! {
        p.note { "Key " code { (visible(&raw.info.key)) } ", codec " code { (raw.info.codec) } ", version "
            (raw.info.version) ", " (raw.info.size) " bytes, updated " (rfc3339(raw.info.updated_ms))
            @if raw.info.deleted { ", deleted" } }
        pre role="region" aria-label="Value" tabindex="0" { (pretty) }
        p { a href=(link("downloadKey", &raw.info.key)) { "Download the stored bytes" } " · "
            a href="/memberlist" { "Back" } }
    }
}

fn members_table(members: &[Member]) -> Markup {
    let alive = members
        .iter()
        .filter(|member| !matches!(member.state, MemberState::Dead | MemberState::Left))
        .count();
    html! {
        h2 { "Members" }
        p.note { (alive) " alive. Those that have left or died are listed until they are forgotten." }
        (scroll("Members", &html! { table {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Address" } th scope="col" { "State" } th scope="col" { "Last heartbeat" } th scope="col" { "Entries it publishes" } } }
            tbody {
                @for member in members.iter().take(MAX_ROWS) {
                    tr {
                        td.name { (parts::name(&member.name)) @if member.is_self { " (this one)" } }
                        td.num { (member.address) }
                        td { span class=(member_class(member.state)) { (member.state.as_str()) } }
                        td.num { @if member.is_self { "–" } @else { (rough(i64::try_from(member.heartbeat_age.as_millis()).unwrap_or(i64::MAX))) " ago" } }
                        td.num { (member.entries) }
                    }
                }
            }
        } }))
        (cut(members.len()))
    }
}

fn member_class(state: MemberState) -> &'static str {
    match state {
        MemberState::Dead => "bad",
        MemberState::Left => "note",
        _ => "good",
    }
}

fn entries_table(entries: &[EntryInfo], wanted: &Wanted, now_ms: i64) -> Markup {
    let page = wanted.page.unwrap_or(1).max(1);
    let filter = &wanted.key;
    html! {
        h2 { "Key-value store" }
        p.note { "Keys: " (entries.len()) ". Each version counts the changes that this member has seen." }
        form method="get" {
            label { "Key contains" input name="key" value=(filter); }
            button { "Filter" }
        }
        @if entries.is_empty() {
            p { "There is no key" @if !filter.is_empty() { " that matches" } ". One appears with the first election." }
        } @else {
            (scroll("Keys", &html! { table {
                thead { tr { th scope="col" { "Key" } th scope="col" { "Codec" } th scope="col" { "Version" } th scope="col" { "Size" } th scope="col" { "Last update" } th scope="col" { "Value" } } }
                tbody {
                    @for entry in rows_of_page(entries, page) {
                        tr {
                            td.name { (parts::name(&entry.key)) }
                            td { (entry.codec) }
                            td.num { (entry.version) }
                            td.num { (entry.size) " B" }
                            td.num title=(rfc3339(entry.updated_ms)) { (ago(now_ms, entry.updated_ms)) }
                            td { @if entry.deleted { "deleted" } @else {
                                a href=(link("viewKey", &entry.key)) { "JSON" } " · "
                                a href=(link("downloadKey", &entry.key)) { "bytes" }
                            } }
                        }
                    }
                }
            } }))
        }
        @if entries.len() > PAGE_ROWS || page > 1 {
            (pages(entries.len(), page, |page| parts::link("/memberlist", &[("key", filter.into()), ("page", page.to_string().into())])))
        }
    }
}

fn history_tables(history: Option<&History>) -> Markup {
    html! {
        h2 { "Messages" }
        @match history {
            None => p.note { "Not kept. Set " code { "memberlist.message_history_buffer_bytes" } " to see which entries are sent and received." },
            Some(history) => {
                h3 { "Received" } (messages_table(&history.received))
                h3 { "Sent" } (messages_table(&history.sent))
            }
        }
    }
}

fn messages_table(messages: &[HistoryEntry]) -> Markup {
    html! {
        (scroll("Messages", &html! { table {
            thead { tr { th scope="col" { "Time" } th scope="col" { "Member" } th scope="col" { "Kind" } th scope="col" { "Size" } th scope="col" { "Keys" } } }
            tbody {
                @for message in messages.iter().rev().take(MAX_ROWS) {
                    tr {
                        td.num { (rfc3339(message.at_ms)) }
                        td.num { (message.peer) }
                        td { (message.kind) }
                        td.num { (message.size) " B" }
                        td.name { (visible(&message.keys.iter().take(MAX_KEYS).map(String::as_str).collect::<Vec<_>>().join(", ")))
                            @if message.keys.len() > MAX_KEYS { " and " (message.keys.len() - MAX_KEYS) " more" } }
                    }
                }
            }
        } }))
        (cut(messages.len()))
    }
}

fn cut(rows: usize) -> Markup {
    html! {
        @if rows > MAX_ROWS {
            p.note { (MAX_ROWS) " of " (rows) ". Ask for JSON (" code { "Accept: application/json" } ") to get all." }
        }
    }
}

fn link(parameter: &str, key: &str) -> String {
    parts::link("/memberlist", &[(parameter, key.into())])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, to_value};

    use super::*;

    fn info(key: &str, deleted: bool) -> EntryInfo {
        EntryInfo {
            key: key.into(),
            codec: "replicaDesc",
            version: 3,
            size: 20,
            updated_ms: 1_700_000_000_000,
            deleted,
        }
    }

    #[test]
    fn hostile_keys_are_harmless() {
        let key = "t/<script>alert(1)</script>&x=\"'";
        let table = entries_table(
            &[info(key, false)],
            &Wanted {
                key: key.to_owned(),
                ..Wanted::default()
            },
            0,
        )
        .into_string();
        assert!(!table.contains("<script>"), "{table}");
        assert!(table.contains("viewKey=t%2F%3Cscript%3E"), "{table}");
    }

    #[test]
    fn a_value_is_shown_with_its_protobuf_names() {
        let desc = ReplicaDesc {
            replica: "r1".into(),
            received_at: 1_700_000_000_123,
            elected_changes: 2,
            ..Default::default()
        };
        let raw = RawValue {
            info: info("t/c", false),
            bytes: ha_tracker::CODEC.encode(&desc),
        };
        let shown = to_value(value_json(&raw)).unwrap();
        assert_eq!(shown["replica"], "r1");
        assert_eq!(shown["received_at_time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(shown["deleted_at_time"], Value::Null);
        let deleted = RawValue {
            info: info("t/c", true),
            bytes: Vec::new(),
        };
        assert_eq!(to_value(value_json(&deleted)).unwrap(), Value::Null);
        let garbage = RawValue {
            info: info("t/c", false),
            bytes: vec![0xff; 9],
        };
        assert!(to_value(value_json(&garbage)).unwrap()["error"].is_string());
    }
}
