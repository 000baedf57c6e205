//! The page for people.

use admin_api::ClusterState as State;
use kv_core::visible;
use maud::{Markup, html};

use super::links;
use super::query::Wanted;
use super::replica::{elect_button, failover, habits, sample_age, warnings};
use super::rows::Row;
use super::select::Selection;
use super::sort::Sort;
use super::states::{chip, meaning, title};
use crate::pages::parts::{self, scroll};
use crate::pages::table::{heading, pager, rows_choice, sortable};
use crate::pages::times::{ago, rfc3339};
use crate::routes::Page;

/// `selection`: `None` without a tracker. `can_hand_over`: with buttons that elect other replicas.
pub(super) fn content(
    selection: Option<&Selection>,
    wanted: &Wanted,
    can_hand_over: bool,
    now_ms: i64,
) -> Markup {
    let Some(selection) = selection else {
        return html! {
            div.notice.warning { p { "The HA tracker is off (" code { "distributor.ha_tracker.enable_ha_tracker" } "): nothing is deduplicated." } }
        };
    };
    let pages = || {
        pager(selection.matching, wanted.slice(), |page| {
            let page = Some(page);
            Wanted {
                page,
                ..wanted.clone()
            }
            .link()
        })
    };
    html! {
        p.note {
            "For each cluster, only the samples of the elected replica are stored. If it is silent for longer than the failover timeout, and than is usual for it, another replica that sends is elected. Times are by this distributor's clock; now: " (rfc3339(now_ms)) "."
        }
        ul.links aria-label="More about elections" {
            li { a href=(Page::Why.route().path) { (Page::Why.route().title) } }
            li { a href=(Page::Elections.route().path) { (Page::Elections.route().title) } }
        }
        (summary(selection, wanted))
        (filters(wanted))
        @if selection.rows.is_empty() && wanted.slice().page == 1 {
            p #table { "No cluster is tracked" @if wanted.is_filtered() { " that matches. " a href=(Page::HaTracker.route().path) { "Show all" } } @else { ". Clusters appear with their first samples that have both HA labels." } }
        } @else {
            (pages())
            (table(selection, wanted, can_hand_over, now_ms))
        }
        (pages())
    }
}

/// The number of clusters by state, with links.
fn summary(selection: &Selection, wanted: &Wanted) -> Markup {
    let of = |state| {
        let wanted = Wanted {
            state,
            page: None,
            ..wanted.clone()
        };
        wanted.link()
    };
    let all: usize = selection.counts.iter().map(|(_, count)| count).sum();
    html! {
        ul.links aria-label="Clusters by state" {
            li { a href=(of(None)) aria-current=[wanted.state.is_none().then_some("true")] { "All: " (all) } }
            @for (state, count) in selection.counts {
                @if count > 0 || wanted.state == Some(state) {
                    li data-key={ "state-" (state.as_str()) } { a href=(of(Some(state))) title=(meaning(state)) aria-current=[(wanted.state == Some(state)).then_some("true")] { (title(state)) ": " (count) } }
                }
            }
        }
    }
}

fn filters(wanted: &Wanted) -> Markup {
    html! {
        form method="get" action={ (Page::HaTracker.route().path) "#table" } role="search" {
            label { "Tenant, cluster or replica contains" input.wide type="search" name="q" value=(visible(&wanted.q)) autocomplete="off"; }
            label { "State" select name="state" data-submits autocomplete="off" {
                option value="" { "any" }
                @for state in State::ALL { option value=(state.as_str()) selected[wanted.state == Some(state)] { (title(state)) } }
            } }
            label { "Sorted by" select name="sort" data-submits autocomplete="off" {
                @for (sort, name, title) in Sort::ALL { option value=(name) selected[wanted.sort == sort] { (title) } }
            } }
            (rows_choice(wanted.slice()))
            @for (name, value) in [("tenant", &wanted.tenant), ("cluster", &wanted.cluster), ("replica", &wanted.replica)] {
                @if !value.is_empty() { label { (name) " contains" input name=(name) value=(visible(value)) autocomplete="off"; } }
            }
            button.primary { "Apply" }
            @if wanted.is_filtered() { a href=(Page::HaTracker.route().path) { "Show all" } }
        }
    }
}

fn table(selection: &Selection, wanted: &Wanted, can_hand_over: bool, now_ms: i64) -> Markup {
    let by = |title: &str, sort: Sort| {
        let sorted = (wanted.sort == sort).then(|| wanted.direction());
        sortable(title, sorted, &wanted.sorted_by(sort).link())
    };
    scroll(
        "Clusters",
        &html! {
            // The roles are set explicitly, because browsers drop them when rows are displayed as
            // blocks.
            table.rows #table role="table" {
                caption.unseen { "Clusters, their elected replicas, and the others that were seen" }
                thead role="rowgroup" { tr role="row" {
                    (by("State", Sort::Attention))
                    (by("Tenant", Sort::Tenant))
                    (by("Cluster", Sort::Cluster))
                    (by("Elected replica", Sort::Replica))
                    (by("Elected", Sort::LastElection))
                    (by("Elections", Sort::Elections))
                    (by("Last request", Sort::LastSeen))
                    (heading("Other replicas"))
                    (by("Failover", Sort::Failover))
                } }
                tbody role="rowgroup" { @for row in &selection.rows { (table_row(row, can_hand_over, now_ms)) } }
            }
        },
    )
}

fn table_row(row: &Row, can_hand_over: bool, now_ms: i64) -> Markup {
    let link = links::cluster(&row.tenant, &row.cluster);
    html! {
        tr role="row" data-key=(link) {
            td.state role="cell" data-name="State" { (chip(row.state)) }
            td.name role="cell" data-name="Tenant" { span { (parts::name(&row.tenant)) } }
            th.name role="rowheader" scope="row" data-name="Cluster" { span { (parts::named_link(&row.cluster, &link)) } }
            td.name.replica role="cell" data-name="Elected replica" { div { (parts::name(&row.desc.replica))
                (habits(&row.elected, now_ms))
                @if row.has_lost_redundancy { span.sub.caution { "the only replica seen for 15 minutes" } } } }
            td.num role="cell" data-name="Elected" title=(rfc3339(row.desc.elected_at)) { span { (ago(now_ms, row.desc.elected_at)) } }
            td.num role="cell" data-name="Elections" { span { (row.desc.elected_changes.saturating_add(1)) } }
            td.num role="cell" data-name="Last request" title=(rfc3339(row.last_seen_ms)) { div { (ago(now_ms, row.last_seen_ms))
                span.sub { "sample " (sample_age(&row.elected, now_ms)) } } }
            td.name.replica role="cell" data-name="Other replicas" { (others(row, can_hand_over, now_ms)) }
            td.until role="cell" data-name="Failover" { (failover(row)) }
        }
    }
}

fn others(row: &Row, can_hand_over: bool, now_ms: i64) -> Markup {
    html! {
        @if row.others.is_empty() { span.note { "none seen here" } }
        @else { ul { @for other in &row.others {
            li data-key=(visible(&other.replica)) { (parts::name(&other.replica))
                span.sub title=(rfc3339(other.last_seen_ms)) { "seen " (ago(now_ms, other.last_seen_ms))
                    @if let Some(sample_ms) = other.sample_ms { ", sample " (ago(now_ms, sample_ms)) } }
                (warnings(other, now_ms))
                @if can_hand_over { (elect_button(row, &other.replica)) } }
        } } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{NOW, row};
    use super::super::select::Found;
    use super::super::sort::Sort;
    use super::*;

    fn html(rows: &[Row], wanted: &Wanted) -> String {
        let mut found = Found::default();
        for row in rows {
            found.add(row.clone(), wanted);
        }
        let selection = found.selection(wanted, |tenant, cluster| {
            let mut rows = rows.iter();
            rows.find(|row| row.tenant == tenant && row.cluster == cluster)
                .cloned()
        });
        content(Some(&selection), wanted, true, NOW).into_string()
    }

    #[test]
    fn the_row_tells_of_each_replica_when_it_was_seen() {
        let page = html(
            &[row("c", 14_000, Some(2000), Some(3000))],
            &Wanted::default(),
        );
        for part in [
            "c-a",
            ">2.0s ago<",
            ">2.7s ago<",
            "sample 3.7s ago",
            "c-b",
            "seen 3.0s ago",
            "after 30.0s of silence",
            ">1m 0s ago<",
            "sends every 15.0s",
            "clock ahead by 1.5s",
            "action=\"/distributor/ha_tracker/handover\"",
            "name=\"replica\" value=\"c-b\"",
            "href=\"/distributor/ha_tracker/cluster?tenant=t&amp;cluster=c\"",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }

    #[test]
    fn counts_and_links_keep_what_was_asked_for() {
        let mut rows: Vec<Row> = (0..600)
            .map(|index| row(&format!("c{index:04}"), 1000, Some(1), Some(1)))
            .collect();
        rows.push(row("dead", 99_000, None, None));
        let wanted = Wanted {
            tenant: "t".into(),
            sort: Sort::Cluster,
            rows: Some(200),
            page: Some(2),
            ..Wanted::default()
        };
        let page = html(&rows, &wanted);
        for part in [
            "All: 601",
            ">Silent: 1<",
            ">Fine: 600<",
            "Rows 201 to 400 of 601",
            "href=\"/distributor/ha_tracker?tenant=t&amp;state=silent&amp;sort=cluster&amp;rows=200\"",
            "href=\"/distributor/ha_tracker?tenant=t&amp;sort=cluster&amp;rows=200&amp;page=4#table\"",
            "<option value=\"cluster\" selected>cluster</option>",
            "c0200",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert_eq!(page.matches("<tr role=\"row\" data-key=").count(), 200);
        let first = html(&rows, &Wanted::default());
        let row_of = |name: &str| first.find(name).unwrap_or(usize::MAX);
        assert!(row_of(">dead<") < row_of(">c0000<"));
        let beyond = html(
            &rows,
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
        let page = html(&[hostile], &Wanted::default());
        assert!(!page.contains("<script>") && !page.contains(['\u{202e}', '\u{1b}']));
        assert!(page.contains("\\u{202e}") && page.contains("\\u{1b}[2J"));
    }
}
