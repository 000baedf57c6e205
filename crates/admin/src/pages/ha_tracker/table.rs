//! The page for people.

use admin_api::ClusterState as State;
use kv_core::visible;
use maud::{Markup, html};

use super::query::Wanted;
use super::rows::{Row, Seen, Sort};
use crate::pages::parts::{self, PAGE_ROWS, pages, rows_of_page, scroll};
use crate::pages::times::{ago, rfc3339, rough};
use crate::routes::Page;

/// `rows`: those that match the filters on names, ordered, in any state; `None` without a tracker.
/// `can_hand_over`: with buttons that elect other replicas.
pub(super) fn content(
    rows: Option<Vec<Row>>,
    wanted: &Wanted,
    can_hand_over: bool,
    now_ms: i64,
) -> Markup {
    let Some(rows) = rows else {
        return html! {
            div.notice.warning { p { "The HA tracker is off (" code { "distributor.ha_tracker.enable_ha_tracker" } "): nothing is deduplicated." } }
        };
    };
    let counts = State::ALL.map(|state| {
        let rows = rows.iter().filter(|row| row.state == state);
        (state, rows.count())
    });
    let all = rows.len();
    let shown: Vec<Row> = rows.into_iter().filter(|row| wanted.covers(row)).collect();
    html! {
        p.note {
            "For each cluster, only the samples of the elected replica are stored. If it is silent for longer than the failover timeout, and than is usual for it, another replica that sends is elected. Times are by this distributor's clock; now: " (rfc3339(now_ms)) "."
        }
        (summary(&counts, all, wanted))
        (filters(wanted))
        @if shown.is_empty() {
            p { "No cluster is tracked" @if wanted.is_filtered() { " that matches. " a href=(Page::HaTracker.route().path) { "Show all" } } @else { ". Clusters appear with their first samples that have both HA labels." } }
        } @else {
            (sorting(wanted))
            (table(rows_of_page(&shown, wanted.page.unwrap_or(1)), can_hand_over, now_ms))
        }
        @let page = wanted.page.unwrap_or(1).max(1);
        @if shown.len() > PAGE_ROWS || page > 1 {
            p.note { "Rows " (rows_text(page, shown.len())) ". JSON has all (" code { "Accept: application/json" } ")." }
            (pages(shown.len(), page, |page| Wanted { page: Some(page), ..wanted.clone() }.link()))
        }
    }
}

fn rows_text(page: usize, all: usize) -> String {
    let from = page.saturating_sub(1).saturating_mul(PAGE_ROWS);
    if from >= all {
        return format!("none of {all}: this page is beyond the last");
    }
    format!("{} to {} of {all}", from + 1, (from + PAGE_ROWS).min(all))
}

/// The number of clusters by state, with links.
fn summary(counts: &[(State, usize)], all: usize, wanted: &Wanted) -> Markup {
    let of = |state| {
        Wanted {
            state,
            page: None,
            ..wanted.clone()
        }
        .link()
    };
    html! {
        ul.links aria-label="Clusters by state" {
            li { a href=(of(None)) aria-current=[wanted.state.is_none().then_some("true")] { "All: " (all) } }
            @for (state, count) in counts {
                @if *count > 0 || wanted.state == Some(*state) {
                    li { a href=(of(Some(*state))) title=(meaning(*state)) aria-current=[(wanted.state == Some(*state)).then_some("true")] {
                        span class=(class(*state)) { (title(*state)) } ": " (count) } }
                }
            }
        }
    }
}

fn filters(wanted: &Wanted) -> Markup {
    html! {
        form method="get" {
            label { "Tenant contains" input name="tenant" value=(wanted.tenant); }
            label { "Cluster contains" input name="cluster" value=(wanted.cluster); }
            label { "Replica contains" input name="replica" value=(wanted.replica); }
            @if let Some(state) = wanted.state { input type="hidden" name="state" value=(state.as_str()); }
            @if wanted.sort != Sort::default() { input type="hidden" name="sort" value=(wanted.sort.as_str()); }
            button { "Filter" }
            @if wanted.is_filtered() { a href=(Page::HaTracker.route().path) { "Show all" } }
        }
    }
}

fn sorting(wanted: &Wanted) -> Markup {
    html! {
        ul.links aria-label="Order of the rows" {
            li.note { "Sorted by" }
            @for (sort, _, title) in Sort::ALL {
                li { a href=(Wanted { sort, page: None, ..wanted.clone() }.link()) aria-current=[(sort == wanted.sort).then_some("true")] { (title) } }
            }
        }
    }
}

fn title(state: State) -> &'static str {
    match state {
        State::Silent => "Silent",
        State::FailoverDue => "Failover due",
        State::Late => "Late",
        State::Alone => "No standby seen",
        State::Fine => "Fine",
    }
}

fn meaning(state: State) -> &'static str {
    match state {
        State::Silent => {
            "The elected replica has been silent for longer than the failover timeout, and no other replica is seen here: no samples of this cluster are stored"
        }
        State::FailoverDue => {
            "The elected replica is overdue, and another one sends: it is elected by its next request"
        }
        State::Late => {
            "The elected replica has been silent for most of the failover timeout: it has stopped, or sends rarely"
        }
        State::Alone => {
            "The elected replica sends. This distributor sees no other replica: it is down, or sends to another distributor"
        }
        State::Fine => {
            "The elected replica sends, to this distributor or to another one, and there is no problem"
        }
    }
}

fn class(state: State) -> &'static str {
    match state {
        State::Silent | State::FailoverDue => "bad",
        State::Late | State::Alone => "caution",
        State::Fine => "good",
    }
}

fn table(rows: &[Row], can_hand_over: bool, now_ms: i64) -> Markup {
    scroll(
        "Clusters",
        &html! {
            // The roles are set explicitly, because browsers drop them when rows are displayed as
            // blocks.
            table.rows role="table" {
                thead role="rowgroup" { tr role="row" {
                    @for name in ["State", "Tenant", "Cluster", "Elected replica", "Last seen", "Other replicas", "Next failover"] {
                        th role="columnheader" scope="col" { (name) }
                    }
                } }
                tbody role="rowgroup" { @for row in rows { (table_row(row, can_hand_over, now_ms)) } }
            }
        },
    )
}

fn table_row(row: &Row, can_hand_over: bool, now_ms: i64) -> Markup {
    html! {
        tr role="row" {
            td.state role="cell" data-name="State" { b class=(class(row.state)) title=(meaning(row.state)) { (title(row.state)) } }
            td.name role="cell" data-name="Tenant" { (parts::name(&row.tenant)) }
            td.name role="cell" data-name="Cluster" { (parts::name(&row.cluster)) }
            td.name role="cell" data-name="Elected replica" { div { (parts::name(&row.desc.replica))
                span.sub title=(rfc3339(row.desc.elected_at)) { "elected " (ago(now_ms, row.desc.elected_at))
                    @if row.desc.elected_changes > 0 { ", changes: " (row.desc.elected_changes) } }
                (habits(&row.elected, now_ms))
                @if row.has_lost_redundancy { span.sub.caution { "the only replica seen for 15 minutes" } } } }
            td.num role="cell" data-name="Last seen" title=(rfc3339(row.last_seen_ms)) { (ago(now_ms, row.last_seen_ms)) }
            td.name role="cell" data-name="Other replicas" { (others(row, can_hand_over, now_ms)) }
            td.num role="cell" data-name="Next failover" { (failover(row)) }
        }
    }
}

/// How a replica sends, as far as it was seen here.
fn habits(seen: &Seen, now_ms: i64) -> Markup {
    html! {
        @if let Some(cadence_ms) = seen.cadence_ms { span.sub { "sends every " (rough(cadence_ms)) } }
        @match seen.ahead_ms {
            Some(ahead_ms) if seen.is_clock_ahead => span.sub.caution title="Its newest sample is later than this distributor's clock: synchronize the clocks by NTP" { "clock ahead by " (rough(ahead_ms)) },
            Some(ahead_ms) => span.sub title="Age of its newest sample when its last request arrived" { "samples " (rough(ahead_ms.saturating_neg().max(0))) " old" },
            None => {},
        }
        @if let Some(refused_ms) = seen.refused_ms { span.sub title=(rfc3339(refused_ms)) { "refused " (ago(now_ms, refused_ms)) } }
    }
}

fn others(row: &Row, can_hand_over: bool, now_ms: i64) -> Markup {
    html! {
        @if row.others.is_empty() { span.note { "none seen here" } }
        @else { ul { @for other in &row.others {
            li { (parts::name(&other.replica)) span.sub title=(rfc3339(other.last_seen_ms)) { "seen " (ago(now_ms, other.last_seen_ms)) }
                (habits(other, now_ms))
                @if can_hand_over && is_plain([&row.tenant, &row.cluster, &other.replica]) { form method="get" action=(Page::HandOver.route().path) {
                    input type="hidden" name="tenant" value=(row.tenant);
                    input type="hidden" name="cluster" value=(row.cluster);
                    input type="hidden" name="replica" value=(other.replica);
                    button { "Elect it…" }
                } } }
        } } }
    }
}

/// Whether no name has characters that a page must not contain, as a form would have to. Such a
/// replica can be elected over the API.
pub(super) fn is_plain(names: [&str; 3]) -> bool {
    names.into_iter().all(|name| visible(name) == name)
}

fn failover(row: &Row) -> Markup {
    let in_ms = row.failover_in_ms;
    html! {
        @match row.state {
            State::Silent => span.bad { "no replica to elect for " (rough(in_ms)) },
            State::FailoverDue => span.bad { "due for " (rough(in_ms)) },
            State::Late => span.caution { "in " (rough(in_ms)) },
            State::Alone | State::Fine => span.note { "after " (rough(row.allowed_silence_ms)) " of silence" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{NOW, row};
    use super::*;

    fn html(mut rows: Vec<Row>, wanted: &Wanted) -> String {
        rows.sort_by(|a, b| wanted.sort.compare(a, b));
        content(Some(rows), wanted, true, NOW).into_string()
    }

    #[test]
    fn the_row_tells_of_each_replica_when_it_was_seen() {
        let page = html(
            vec![row("c", 14_000, Some(2000), Some(3000))],
            &Wanted::default(),
        );
        for part in [
            "c-a",
            ">2.0s ago<",
            "c-b",
            "seen 3.0s ago",
            "after 30.0s of silence",
            "elected 1m 0s ago",
            "sends every 15.0s",
            "clock ahead by 1.5s",
            "action=\"/distributor/ha_tracker/handover\"",
            "name=\"replica\" value=\"c-b\"",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn counts_and_links_keep_what_was_asked_for() {
        let mut rows: Vec<Row> = (0..PAGE_ROWS * 3)
            .map(|index| row(&format!("c{index:04}"), 1000, Some(1), Some(1)))
            .collect();
        rows.push(row("dead", 99_000, None, None));
        let wanted = Wanted {
            tenant: "t".into(),
            sort: Sort::Cluster,
            page: Some(2),
            ..Wanted::default()
        };
        let page = html(rows.clone(), &wanted);
        for part in [
            "All: 601",
            "Silent</span>: 1<",
            "Fine</span>: 600",
            "Rows 201 to 400 of 601",
            "href=\"/distributor/ha_tracker?tenant=t&amp;state=silent&amp;sort=cluster\"",
            "href=\"/distributor/ha_tracker?tenant=t&amp;sort=cluster&amp;page=4\"",
            "name=\"sort\" value=\"cluster\"",
            "c0200",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert_eq!(page.matches("<tr role=\"row\"><td").count(), PAGE_ROWS);
        let first = html(rows.clone(), &Wanted::default());
        let row_of = |name: &str| first.find(name).unwrap_or(usize::MAX);
        assert!(row_of(">dead<") < row_of(">c0000<"));
        let beyond = html(
            rows,
            &Wanted {
                page: Some(99),
                ..Wanted::default()
            },
        );
        assert!(beyond.contains("none of 601") && beyond.contains(">Previous<"));
    }

    #[test]
    fn hostile_names_are_harmless() {
        let mut hostile = row("<script>alert(1)</script>\u{202e}", 0, Some(1), Some(1));
        hostile.tenant = "\u{1b}[2J".to_owned();
        let page = html(vec![hostile], &Wanted::default());
        assert!(!page.contains("<script>") && !page.contains(['\u{202e}', '\u{1b}']));
        assert!(page.contains("\\u{202e}") && page.contains("\\u{1b}[2J"));
    }
}
