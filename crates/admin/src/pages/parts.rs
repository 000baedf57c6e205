//! Elements of several pages.

use std::borrow::Cow;

use kv_core::visible;
use maud::{Markup, html};

/// Longest name that is shown completely, in characters: as long as DNS and Kubernetes allow. A
/// longer one is shortened in the middle, since names usually differ at their ends.
const WHOLE_NAME: usize = 96;

/// Rows of one page of a table.
pub(super) const PAGE_ROWS: usize = 200;

/// A name from outside: complete, or shortened and expandable.
pub(super) fn name(name: &str) -> Markup {
    let shown = visible(name);
    if shown.is_empty() {
        return html! { span.note { "(empty)" } };
    }
    let characters = shown.chars().count();
    if characters <= WHOLE_NAME {
        return html! { (shown) };
    }
    let half = WHOLE_NAME / 2;
    let start: String = shown.chars().take(half).collect();
    let end: String = shown.chars().skip(characters - half).collect();
    html! { details { summary title=(shown) { (start) " … " (end) } (shown) } }
}

/// A table that can be scrolled in a narrow window, also by keyboard, with a name for screen
/// readers.
pub(super) fn scroll(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// The rows of page `page` (from 1) of `rows`.
pub(super) fn rows_of_page<T>(rows: &[T], page: usize) -> &[T] {
    let from = page.saturating_sub(1).saturating_mul(PAGE_ROWS);
    let rest = rows.get(from..).unwrap_or_default();
    rest.get(..PAGE_ROWS).unwrap_or(rest)
}

/// The last page, and links to others: `link` makes one.
pub(super) fn pages(rows: usize, page: usize, link: impl Fn(usize) -> String) -> Markup {
    let last = rows.div_ceil(PAGE_ROWS).max(1);
    if last == 1 && page <= 1 {
        return html! {};
    }
    let around = page.saturating_sub(2).max(1)..=(page.saturating_add(2)).min(last);
    let mut shown: Vec<usize> = around.collect();
    shown.extend([1, last]);
    shown.sort_unstable();
    shown.dedup();
    html! {
        nav aria-label="Pages of the table" { ul.links {
            @if page > 1 { li { a href=(link((page - 1).min(last))) rel="prev" { "Previous" } } }
            @for number in shown {
                li { a href=(link(number)) aria-current=[(number == page).then_some("page")] { (number) } }
            }
            @if page < last { li { a href=(link(page + 1)) rel="next" { "Next" } } }
        } }
    }
}

/// A link to `path` with the parameters that are not empty.
pub(super) fn link(path: &str, parameters: &[(&str, Cow<'_, str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        query.append_pair(key, value);
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole_or_cut_where_they_do_not_differ() {
        let usual = "prometheus-kube-prometheus-stack-prometheus-0";
        assert_eq!(name(usual).into_string(), usual);
        let long = format!("start{}end", "x".repeat(1000));
        let shown = name(&long).into_string();
        assert!(shown.contains("start") && shown.contains("end</summary>"));
        assert!(shown.contains(&format!("title=\"{long}\"")), "{shown}");
        assert!(shown.contains(&format!("</summary>{long}")), "{shown}");
        let hostile = name("<b>\u{202e}\u{1b}[2J").into_string();
        assert_eq!(hostile, "&lt;b&gt;\\u{202e}\\u{1b}[2J");
    }

    #[test]
    fn every_row_is_on_one_page() {
        let rows: Vec<usize> = (0..PAGE_ROWS * 2 + 1).collect();
        let all: Vec<usize> = (1..=3)
            .flat_map(|page| rows_of_page(&rows, page))
            .copied()
            .collect();
        assert_eq!(all, rows);
        assert!(rows_of_page(&rows, 4).is_empty());
        assert!(rows_of_page(&rows, usize::MAX).is_empty());
        let links = pages(rows.len(), 2, |page| format!("?p={page}")).into_string();
        for part in ["?p=1", "?p=3", "aria-current=\"page\">2<"] {
            assert!(links.contains(part), "{links}");
        }
        assert!(
            pages(PAGE_ROWS, 1, |_| String::new())
                .into_string()
                .is_empty()
        );
        // A page beyond the end has a link back.
        assert!(
            pages(1, usize::MAX, |page| format!("?p={page}"))
                .into_string()
                .contains("?p=1")
        );
    }

    #[test]
    fn links_say_what_they_have_to() {
        assert_eq!(link("/a", &[("b", "".into())]), "/a");
        assert_eq!(
            link("/a", &[("b", "".into()), ("c", "d&e".into())]),
            "/a?c=d%26e"
        );
    }
}
