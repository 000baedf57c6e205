//! `/distributor/ha_tracker/cluster`: one cluster, its replicas and its history.

use std::sync::Arc;

use admin_api::ClusterDetail;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, ELECTIONS_KEPT_OF_A_CLUSTER, ElectionRecord, HaTracker};
use maud::{Markup, html};
use serde::Deserialize;

use super::replica::{elect_button, failover, sample_age, warnings};
use super::rows::{Row, Seen};
use super::states::{chip, meaning};
use super::{history, links};
use crate::accept::wants_json;
use crate::answer::{HTML, json, typed};
use crate::pages::frame::layout_titled;
use crate::pages::not_found::nothing;
use crate::pages::parts::{self, scroll};
use crate::pages::table::heading;
use crate::pages::times::{ago, rfc3339, rough};
use crate::routes::Page;

#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) tracker: Option<Arc<HaTracker>>,
    pub(crate) can_hand_over: bool,
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    cluster: String,
}

pub(crate) async fn page(
    State(parts): State<Parts>,
    Query(named): Query<Named>,
    headers: HeaderMap,
) -> Response {
    let now_ms = Clock::System.now_ms();
    let Named { tenant, cluster } = &named;
    let known = parts.tracker.as_ref().and_then(|tracker| {
        let status = tracker.cluster_status(tenant, cluster, now_ms)?;
        Some((
            Row::new(status, now_ms),
            tracker.elections_of(tenant, cluster),
        ))
    });
    let Some((row, records)) = known else {
        let what = format!(
            "this distributor does not know the cluster {cluster:?} of the tenant {tenant:?}"
        );
        return nothing(&headers, &what);
    };
    if wants_json(&headers) {
        return json(&ClusterDetail {
            replicas_seen: row.replicas_seen as u64,
            allowed_silence_ms: row.allowed_silence_ms,
            history: records.iter().map(history::json).collect(),
            cluster: row.json(),
            now: rfc3339(now_ms),
        });
    }
    let title = format!("Cluster {}", kv_core::visible(cluster));
    let content = content(&row, &records, parts.can_hand_over, now_ms);
    let page = layout_titled(Page::HaTracker.route().title, &title, &content);
    typed(HTML, page.into_string())
}

fn content(row: &Row, records: &[ElectionRecord], can_hand_over: bool, now_ms: i64) -> Markup {
    html! {
        p { (chip(row.state)) " " (meaning(row.state)) "." }
        @if row.has_lost_redundancy { div.notice.warning { p { "Only the elected replica has been seen by this distributor for 15 minutes: nothing can take over. Check the other replicas, and whether they " a href=(Page::HaTracker.route().path) { "send to another distributor" } "." } } }
        dl.facts {
            dt { "Tenant" } dd { (parts::name(&row.tenant)) }
            dt { "Cluster" } dd { (parts::name(&row.cluster)) }
            dt { "Elected replica" } dd { b { (parts::name(&row.desc.replica)) } }
            dt { "Elected" } dd { (ago(now_ms, row.desc.elected_at)) " " span.note { "(" (rfc3339(row.desc.elected_at)) ")" } ", " (how_often(row.desc.elected_changes)) }
            dt { "Failover" } dd { (failover(row)) span.sub { "Longer than usual while a request of it is being forwarded, or after one was refused." } }
            dt { "Redundancy" } dd { (redundancy(row)) }
        }
        ul.links aria-label="More about this cluster" {
            li { a href=(links::why(&row.tenant, &row.cluster, "")) { (Page::Why.route().title) } }
            li { a href=(Page::HaTracker.route().path) { "All clusters" } }
        }
        h2 { "Replicas" }
        (replicas(row, can_hand_over, now_ms))
        p.note { "As seen by this distributor; requests to others are not included. The time of the elected replica's last request may come from the distributor that stored it." }
        h2 { "History of elections" }
        @if records.is_empty() {
            p { "No other replica was elected since this distributor started." }
        } @else {
            (history::table(records, false, now_ms))
            (history::legend())
        }
        p.note { "At most " (ELECTIONS_KEPT_OF_A_CLUSTER) " are kept, in memory." }
    }
}

fn how_often(changes: i64) -> String {
    match changes {
        ..=0 => "as the first replica that sent: there was no failover".to_owned(),
        1 => "after 1 change of the elected replica".to_owned(),
        changes => format!("after {changes} changes of the elected replica"),
    }
}

fn redundancy(row: &Row) -> Markup {
    let seen = row.replicas_seen;
    html! {
        @match seen {
            0 => span.bad { "no replica was seen within 15 minutes" },
            1 => span.caution { "1 replica was seen within 15 minutes: another one is needed for a failover" },
            seen => { (seen) " replicas were seen within 15 minutes" },
        }
    }
}

fn replicas(row: &Row, can_hand_over: bool, now_ms: i64) -> Markup {
    scroll(
        "Replicas",
        &html! {
            table.rows role="table" {
                caption.unseen { "Replicas of this cluster" }
                thead role="rowgroup" { tr role="row" {
                    @for name in ["Replica", "Part", "Last request", "Newest sample", "Sends every", "Notes"] { (heading(name)) }
                } }
                tbody role="rowgroup" {
                    (replica(row, &row.elected, true, can_hand_over, now_ms))
                    @for other in &row.others { (replica(row, other, false, can_hand_over, now_ms)) }
                }
            }
        },
    )
}

fn replica(row: &Row, seen: &Seen, is_elected: bool, can_hand_over: bool, now_ms: i64) -> Markup {
    // Of the elected one, other distributors know as well.
    let last_ms = match is_elected {
        true => row.last_seen_ms,
        false => seen.last_seen_ms,
    };
    html! {
        tr role="row" data-key=(kv_core::visible(&seen.replica)) {
            th.name role="rowheader" scope="row" data-name="Replica" { span { (parts::name(&seen.replica)) } }
            td role="cell" data-name="Part" { @if is_elected { b.chip.good { "elected: stored" } } @else { span.chip { "standby: dropped" } } }
            td.num role="cell" data-name="Last request" title=(rfc3339(last_ms)) { span { (ago(now_ms, last_ms)) } }
            td.num role="cell" data-name="Newest sample" { (sample_age(seen, now_ms)) }
            td.num role="cell" data-name="Sends every" { @match seen.cadence_ms { Some(cadence_ms) => span { (rough(cadence_ms)) }, None => span.note { "not known" } } }
            td.name role="cell" data-name="Notes" { div { (warnings(seen, now_ms))
                a href=(links::why(&row.tenant, &row.cluster, &seen.replica)) { "What becomes of its samples?" }
                @if can_hand_over && !is_elected { (elect_button(row, &seen.replica)) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_tracker::ElectionCause;

    use super::super::rows::tests::{NOW, row};
    use super::*;

    #[test]
    fn the_page_has_every_replica_and_every_election() {
        let records = [ElectionRecord {
            tenant: "t".into(),
            cluster: "c".into(),
            from: "c-<b>".into(),
            to: "c-a".into(),
            elected_ms: NOW - 60_000,
            changes: 3,
            cause: ElectionCause::Arrival,
            silent_ms: 31_000,
            gap_ms: Some(42_000),
        }];
        let row = row("c", 14_000, Some(2000), Some(3000));
        let page = content(&row, &records, true, NOW).into_string();
        for part in [
            "after 3 changes",
            "2 replicas were seen",
            "elected: stored",
            "standby: dropped",
            ">2.7s ago<",
            ">3.7s ago<",
            "c-&lt;b&gt;",
            "failover, by a request",
            ">31.0s<",
            ">42.0s<",
            "replica=c-b\"",
            "Elect it…",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }
}
