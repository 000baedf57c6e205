//! `/distributor/ha_tracker`: who is elected.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ha_tracker::{Clock, Election};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::times::{ago, rfc3339, rough};
use super::{json, wants_json};
use crate::app::Shared;

/// Rows of the HTML page; JSON has all.
const MAX_ROWS: usize = 1000;

/// Keeps the rows whose tenant or cluster contains the text.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Filter {
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    cluster: String,
}

impl Filter {
    fn covers(&self, election: &Election) -> bool {
        election.tenant.contains(&self.tenant) && election.cluster.contains(&self.cluster)
    }
}

pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Response {
    let now_ms = Clock::System.now_ms();
    let mut elections = shared
        .tracker
        .as_ref()
        .map(|tracker| tracker.elections(now_ms))
        .unwrap_or_default();
    elections.retain(|election| filter.covers(election));
    if wants_json(&headers) {
        let elected: Vec<Value> = elections.iter().map(election_json).collect();
        return json(&json!({ "elected": elected, "now": rfc3339(now_ms) }));
    }
    super::page("HA tracker", &content(&shared, &elections, &filter, now_ms))
}

/// Mimir's fields: `electedAt` is when the elected replica was last seen, durations are
/// nanoseconds.
fn election_json(election: &Election) -> Value {
    json!({
        "userID": election.tenant,
        "cluster": election.cluster,
        "replica": election.desc.replica,
        "lastElectionTime": rfc3339(election.desc.elected_at),
        "electedAt": rfc3339(election.desc.received_at),
        "updateDuration": election.update_in_ms.saturating_mul(1_000_000),
        "failoverDuration": election.failover_in_ms.saturating_mul(1_000_000),
    })
}

fn content(shared: &Shared, elections: &[Election], filter: &Filter, now_ms: i64) -> Markup {
    html! {
        @if shared.tracker.is_none() {
            p.warn { "The HA tracker is off (" code { "distributor.ha_tracker.enable_ha_tracker" } "): nothing is deduplicated." }
        } @else {
            p.note {
                "The replica whose samples are accepted, for each tenant and cluster. If its last sample is older than the failover timeout, another replica that sends is elected. Now: " (rfc3339(now_ms))
            }
            form method="get" {
                input name="tenant" placeholder="tenant contains" value=(filter.tenant);
                input name="cluster" placeholder="cluster contains" value=(filter.cluster);
                button { "Filter" }
            }
            @if elections.is_empty() {
                p { "No cluster is tracked" @if !(filter.tenant.is_empty() && filter.cluster.is_empty()) { " that matches" } ". One appears with the first samples that carry both HA labels." }
            } @else {
                (table(elections, now_ms))
                @if elections.len() > MAX_ROWS {
                    p.note { "The first " (MAX_ROWS) " of " (elections.len()) ". Filter, or ask for JSON (" code { "Accept: application/json" } ") to get all." }
                }
            }
        }
    }
}

fn table(elections: &[Election], now_ms: i64) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "Tenant" } th { "Cluster" } th { "Elected replica" }
                th { "Elected" } th { "Changes" } th { "Last sample recorded" }
                th { "Update due" } th { "Failover allowed" }
            } }
            tbody {
                @for election in elections.iter().take(MAX_ROWS) {
                    tr {
                        td.name title=(election.tenant) { (election.tenant) }
                        td.name title=(election.cluster) { (election.cluster) }
                        td.name title=(election.desc.replica) { (election.desc.replica) }
                        td.num title=(rfc3339(election.desc.elected_at)) { (ago(now_ms, election.desc.elected_at)) }
                        td.num { (election.desc.elected_changes) }
                        td.num title=(rfc3339(election.desc.received_at)) { (ago(now_ms, election.desc.received_at)) }
                        td.num { (due(election.update_in_ms)) }
                        td.num.bad[election.failover_in_ms <= 0] { (due(election.failover_in_ms)) }
                    }
                }
            }
        } }
    }
}

fn due(in_ms: i64) -> String {
    if in_ms <= 0 {
        format!("since {}", rough(in_ms))
    } else {
        format!("in {}", rough(in_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_readable() {
        assert_eq!(due(-2000), "since 2.0s");
    }

    #[test]
    fn json_has_mimirs_fields() {
        let election = Election {
            tenant: "t".into(),
            cluster: "c".into(),
            desc: ha_tracker::ReplicaDesc {
                replica: "r1".into(),
                received_at: 1_700_000_000_123,
                elected_at: 1_700_000_000_000,
                ..Default::default()
            },
            update_in_ms: 15_000,
            failover_in_ms: -5,
        };
        let expected = json!({
            "userID": "t",
            "cluster": "c",
            "replica": "r1",
            "lastElectionTime": "2023-11-14T22:13:20.000Z",
            "electedAt": "2023-11-14T22:13:20.123Z",
            "updateDuration": 15_000_000_000_i64,
            "failoverDuration": -5_000_000,
        });
        assert_eq!(election_json(&election), expected);
    }

    #[test]
    fn hostile_names_are_harmless() {
        let election = Election {
            tenant: "t".into(),
            cluster: "<script>alert(1)</script>".into(),
            desc: ha_tracker::ReplicaDesc::default(),
            update_in_ms: 0,
            failover_in_ms: 0,
        };
        assert!(!table(&[election], 0).into_string().contains("<script>"));
    }
}
