//! The page for people.

use kv_core::visible;
use kv_memberlist::{
    EntryInfo, History, HistoryEntry, Member, MemberState, OtherKey, Protocol, ProtocolInUse,
    RawValue,
};
use maud::{Markup, html};

use super::json::value_json;
use super::query::{Sort, Wanted};
use crate::pages::parts::{self, scroll};
use crate::pages::table::{heading, pager, rows_choice, sortable};
use crate::pages::times::{ago, rfc3339, rough};
use crate::routes::Page;

/// Rows of each table of the HTML page that has no further pages; JSON has all.
const MAX_ROWS: usize = 1000;

/// Keys of a message that the HTML page names.
const MAX_KEYS: usize = 5;

pub(super) fn value_page(raw: &RawValue) -> Markup {
    // By way of a value, whose keys are sorted.
    let value = serde_json::to_value(value_json(raw)).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    html! {
        p.note { "Key " code { (visible(&raw.info.key)) } ", codec " code { (raw.info.codec) } ", version "
            (raw.info.version) ", " (raw.info.size) " bytes, updated " (rfc3339(raw.info.updated_ms))
            @if raw.info.deleted { ", deleted" } }
        pre role="region" aria-label="Value" tabindex="0" { (pretty) }
        p { a href=(link("downloadKey", &raw.info.key)) { "Download the stored bytes" } " · "
            a href=(Page::Memberlist.route().path) { "Back" } }
    }
}

/// What is spoken, and why.
pub(super) fn protocol_line(in_use: &ProtocolInUse) -> Markup {
    let of = match in_use.protocol {
        Protocol::Memberlist => "Mimir's members speak it too",
        Protocol::Auto | Protocol::Chitchat => "only distributors of this kind speak it",
    };
    html! { p { "Protocol: " strong { (in_use.protocol.as_str()) } " (" (of) "), " (in_use.chosen) "." } }
}

pub(super) fn members_table(members: &[Member], protocol: Protocol) -> Markup {
    let (heard, entries) = match protocol {
        Protocol::Memberlist => ("Silent for", "Entries it holds"),
        Protocol::Auto | Protocol::Chitchat => ("Last heartbeat", "Entries it publishes"),
    };
    let alive = members
        .iter()
        .filter(|member| !matches!(member.state, MemberState::Dead | MemberState::Left))
        .count();
    html! {
        h2 { "Members" }
        p.note { (alive) " alive. Members that have left or died are listed until they are removed." }
        (scroll("Members", &html! { table.rows role="table" {
            caption.unseen { "Members" }
            thead role="rowgroup" { tr role="row" { @for name in ["Name", "Address", "State", heard, entries] { (heading(name)) } } }
            tbody role="rowgroup" {
                @for member in members.iter().take(MAX_ROWS) {
                    tr role="row" data-key={ "member-" (visible(&member.name)) } {
                        th.name role="rowheader" scope="row" data-name="Name" { span { (parts::name(&member.name)) @if member.is_self { " (this one)" } } }
                        td.num role="cell" data-name="Address" { span { (member.address) } }
                        td role="cell" data-name="State" { span class={ "chip " (member_class(member.state)) } { (member.state.as_str()) } }
                        td.num role="cell" data-name=(heard) { span { (heartbeat(member, protocol)) } }
                        td.num role="cell" data-name=(entries) { span { @if protocol == Protocol::Memberlist && is_gone(member) { "–" } @else { (member.entries) } } }
                    }
                }
            }
        } }))
        (cut(members.len()))
    }
}

fn is_gone(member: &Member) -> bool {
    matches!(member.state, MemberState::Dead | MemberState::Left)
}

/// When a member was heard. In a ring of memberlist, members that answer have no such time.
fn heartbeat(member: &Member, protocol: Protocol) -> Markup {
    let age = rough(i64::try_from(member.heartbeat_age.as_millis()).unwrap_or(i64::MAX));
    html! {
        @match protocol {
            _ if member.is_self => "–",
            Protocol::Memberlist if member.heartbeat_age.is_zero() => "–",
            Protocol::Memberlist => (age),
            Protocol::Auto | Protocol::Chitchat => { (age) " ago" },
        }
    }
}

fn member_class(state: MemberState) -> &'static str {
    match state {
        MemberState::Dead => "bad",
        MemberState::Left => "note",
        _ => "good",
    }
}

/// `entries`: all that match, in order.
pub(super) fn entries_table(entries: &[EntryInfo], wanted: &Wanted, now_ms: i64) -> Markup {
    let filter = &wanted.key;
    let slice = wanted.slice();
    let pages = || pager(entries.len(), slice, |page| wanted.at(page));
    html! {
        h2 { "Key-value store" }
        p.note { "Keys: " (entries.len()) ". Each version counts the changes that this member has seen." }
        form method="get" action={ (Page::Memberlist.route().path) "#table" } role="search" {
            label { "Key contains" input.wide type="search" name="key" value=(visible(filter)) autocomplete="off"; }
            (rows_choice(slice))
            button.primary { "Filter" }
            @if !filter.is_empty() { a href=(Page::Memberlist.route().path) { "Show all" } }
        }
        @if entries.is_empty() {
            p #table { "There is no key" @if !filter.is_empty() { " that matches" } ". One appears with the first election." }
        } @else {
            (pages())
            (keys(slice.of(entries), wanted, now_ms))
        }
        (pages())
    }
}

fn keys(entries: &[EntryInfo], wanted: &Wanted, now_ms: i64) -> Markup {
    let by = |title: &str, sort: Sort| {
        let sorted = (wanted.sort == sort).then(|| wanted.direction());
        sortable(title, sorted, &wanted.sorted_by(sort))
    };
    scroll(
        "Keys",
        &html! { table.rows #table role="table" {
            caption.unseen { "Keys of the store" }
            thead role="rowgroup" { tr role="row" {
                (by("Key", Sort::Key)) (heading("Codec")) (by("Version", Sort::Version)) (by("Size", Sort::Size)) (by("Last update", Sort::Updated)) (heading("Value"))
            } }
            tbody role="rowgroup" { @for entry in entries {
                tr role="row" data-key=(visible(&entry.key)) {
                    th.name role="rowheader" scope="row" data-name="Key" { span { (parts::name(&entry.key)) } }
                    td role="cell" data-name="Codec" { span { (entry.codec) } }
                    td.num role="cell" data-name="Version" { span { (entry.version) } }
                    td.num role="cell" data-name="Size" { span { (entry.size) " B" } }
                    td.num role="cell" data-name="Last update" title=(rfc3339(entry.updated_ms)) { span { (ago(now_ms, entry.updated_ms)) } }
                    td role="cell" data-name="Value" { @if entry.deleted { span { "deleted" } } @else { span {
                        a href=(link("viewKey", &entry.key)) { "JSON" } " · "
                        a href=(link("downloadKey", &entry.key)) { "bytes" }
                    } } }
                }
            } }
        } },
    )
}

/// Keys that other components keep in the same ring; none with chitchat.
pub(super) fn others_table(protocol: Protocol, others: &[OtherKey]) -> Markup {
    html! {
        @if protocol == Protocol::Memberlist {
            h2 { "Keys of other components" }
            p.note { "Of Mimir's rings and the like: not kept here, only listed as they were last received. The size is of a whole value, or of a change of it." }
            @if others.is_empty() {
                p { "None were received." }
            } @else {
                (scroll("Keys of other components", &html! { table {
                    caption.unseen { "Keys of other components" }
                    thead { tr { th scope="col" { "Key" } th scope="col" { "Codec" } th scope="col" { "Size" } th scope="col" { "Last received" } } }
                    tbody {
                        @for other in others.iter().take(MAX_ROWS) {
                            tr {
                                td.name { (parts::name(&other.key)) @if other.deleted { " (deleted)" } }
                                td { (visible(&other.codec)) }
                                td.num { (other.size) " B" }
                                td.num { (rough(i64::try_from(other.age.as_millis()).unwrap_or(i64::MAX))) " ago" }
                            }
                        }
                    }
                } }))
                (cut(others.len()))
            }
        }
    }
}

pub(super) fn history_tables(history: Option<&History>) -> Markup {
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
            caption.unseen { "Messages" }
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
    parts::link(Page::Memberlist.route().path, &[(parameter, key.into())])
}

#[cfg(test)]
mod tests {
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
}
