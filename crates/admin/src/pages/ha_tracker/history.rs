//! Elections that have happened, as rows.

use admin_api::PastElection;
use ha_tracker::{ElectionCause, ElectionRecord};
use maud::{Markup, html};

use super::links;
use crate::pages::parts::{self, scroll};
use crate::pages::table::heading;
use crate::pages::times::{ago, rfc3339, rough};

/// A table of elections; `with_names`: of which clusters.
pub(super) fn table(records: &[ElectionRecord], with_names: bool, now_ms: i64) -> Markup {
    scroll(
        "Elections",
        &html! {
            table.rows #table role="table" {
                caption.unseen { "Elections, the latest first" }
                thead role="rowgroup" { tr role="row" {
                    (heading("When"))
                    @if with_names { (heading("Tenant")) (heading("Cluster")) }
                    (heading("From"))
                    (heading("To"))
                    (heading("Why"))
                    (heading("Silence"))
                    (heading("Gap"))
                } }
                tbody role="rowgroup" { @for record in records { (row(record, with_names, now_ms)) } }
            }
        },
    )
}

fn row(record: &ElectionRecord, with_names: bool, now_ms: i64) -> Markup {
    let link = links::cluster(&record.tenant, &record.cluster);
    html! {
        tr role="row" data-key={ (link) "#" (record.changes) "-" (record.elected_ms) } {
            td.num role="cell" data-name="When" { div { (ago(now_ms, record.elected_ms)) span.sub { (rfc3339(record.elected_ms)) } } }
            @if with_names {
                td.name role="cell" data-name="Tenant" { span { (parts::name(&record.tenant)) } }
                th.name role="rowheader" scope="row" data-name="Cluster" { span { (parts::named_link(&record.cluster, &link)) } }
            }
            td.name role="cell" data-name="From" { span { (parts::name(&record.from)) } }
            td.name role="cell" data-name="To" { span { (parts::name(&record.to)) } }
            td role="cell" data-name="Why" { span title=(meaning(record.cause)) { (title(record.cause)) } }
            td.num role="cell" data-name="Silence" { span { (rough(record.silent_ms)) } }
            td.num role="cell" data-name="Gap" {
                @match record.gap_ms {
                    Some(gap_ms) => span { (rough(gap_ms)) },
                    None => span.note title="This distributor has accepted no request of the new replica" { "not seen here" },
                }
            }
        }
    }
}

/// What the columns mean.
pub(super) fn legend() -> Markup {
    html! {
        p.note { "Silence: for how long the replica before had not been seen when the next one was elected. Gap: from its last request to the first one of the next replica that was accepted by this distributor; samples of that time are missing, except with " code { "ha_failover_mode: lossless" } ", which holds and forwards them." }
    }
}

/// For programs.
pub(super) fn json(record: &ElectionRecord) -> PastElection {
    PastElection {
        cause: name(record.cause).to_owned(),
        cluster: record.cluster.to_string(),
        elected_changes: record.changes,
        election_time: rfc3339(record.elected_ms),
        gap_ms: record.gap_ms,
        predecessor: record.from.to_string(),
        replica: record.to.to_string(),
        silence_ms: record.silent_ms,
        tenant: record.tenant.to_string(),
    }
}

fn name(cause: ElectionCause) -> &'static str {
    match cause {
        ElectionCause::Poll => "poll",
        ElectionCause::Arrival => "arrival",
        ElectionCause::ByHand => "by_hand",
        ElectionCause::Lossless => "lossless",
        ElectionCause::Elsewhere => "elsewhere",
    }
}

fn title(cause: ElectionCause) -> &'static str {
    match cause {
        ElectionCause::Poll => "failover, by a poll",
        ElectionCause::Arrival => "failover, by a request",
        ElectionCause::ByHand => "by hand",
        ElectionCause::Lossless => "failover without loss",
        ElectionCause::Elsewhere => "by another distributor",
    }
}

fn meaning(cause: ElectionCause) -> &'static str {
    match cause {
        ElectionCause::Poll => "A poll of this distributor found the elected replica overdue",
        ElectionCause::Arrival => {
            "A request of the other replica came while the elected one was overdue"
        }
        ElectionCause::ByHand => "An operator asked for it",
        ElectionCause::Lossless => {
            "The elected replica was overdue, and what was in flight had been stored"
        }
        ElectionCause::Elsewhere => "Another distributor elected it, whose page says why",
    }
}
