//! Tables that are sorted, filtered and cut into pages by the server, so that they can be of any size
//! and work without a script.

use maud::{Markup, html};
use serde::Deserialize;

/// Rows of one page of a table, unless another number is asked for.
pub(super) const PAGE_ROWS: usize = 100;
/// The numbers of rows that are offered; the last one is the most.
pub(super) const ROWS: [usize; 4] = [50, PAGE_ROWS, 200, 500];

/// Which way a column is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Direction {
    #[serde(rename = "asc")]
    Ascending,
    #[serde(rename = "desc")]
    Descending,
}

impl Direction {
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }

    /// As in the query of a page.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }

    fn as_aria(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
        }
    }
}

/// One page of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    /// From 1.
    pub(super) page: usize,
    /// Rows of each page; at least one.
    pub(super) rows: usize,
}

impl Slice {
    /// The page that is asked for, with a bounded number of rows.
    pub(super) fn new(page: Option<usize>, rows: Option<usize>) -> Self {
        let most = ROWS.into_iter().max().unwrap_or(PAGE_ROWS);
        Self {
            page: page.unwrap_or(1).max(1),
            rows: rows.unwrap_or(PAGE_ROWS).clamp(1, most),
        }
    }

    /// The rows of this page.
    pub(super) fn of<T>(self, all: &[T]) -> &[T] {
        let from = self.start();
        let rest = all.get(from..).unwrap_or_default();
        rest.get(..self.rows).unwrap_or(rest)
    }

    fn start(self) -> usize {
        (self.page - 1).saturating_mul(self.rows)
    }

    /// Which rows are shown, as a text.
    fn text(self, all: usize) -> String {
        let from = self.start();
        if from >= all {
            return format!("none of {all}: this page is beyond the last");
        }
        let to = from.saturating_add(self.rows).min(all);
        format!("{} to {to} of {all}", from + 1)
    }
}

/// A heading by which the table can be sorted: `sorted` if it is, and the link that does it.
pub(super) fn sortable(title: &str, sorted: Option<Direction>, link: &str) -> Markup {
    html! {
        th role="columnheader" scope="col" aria-sort=[sorted.map(Direction::as_aria)] {
            a href={ (link) "#table" } { (title) }
        }
    }
}

/// A heading of a column that is not sorted by.
pub(super) fn heading(title: &str) -> Markup {
    html! { th role="columnheader" scope="col" { (title) } }
}

/// Which rows of `all` are shown, and links to the other pages: `link` makes one.
pub(super) fn pager(all: usize, slice: Slice, link: impl Fn(usize) -> String) -> Markup {
    let page = slice.page;
    let last = all.div_ceil(slice.rows).max(1);
    if last == 1 && page == 1 {
        return html! {};
    }
    let around = page.saturating_sub(2).max(1)..=(page.saturating_add(2)).min(last);
    let mut shown: Vec<usize> = around.collect();
    shown.extend([1, last]);
    shown.sort_unstable();
    shown.dedup();
    let link = |page| format!("{}#table", link(page));
    html! {
        nav.pager aria-label="Pages of the table" {
            p.note { "Rows " (slice.text(all)) "." }
            ul.links {
                @if page > 1 { li { a href=(link((page - 1).min(last))) rel="prev" { "Previous" } } }
                @for number in shown {
                    li { a href=(link(number)) aria-current=[(number == page).then_some("page")] { span.unseen { "Page " } (number) } }
                }
                @if page < last { li { a href=(link(page + 1)) rel="next" { "Next" } } }
            }
        }
    }
}

/// A choice of the number of rows, for a form.
pub(super) fn rows_choice(slice: Slice) -> Markup {
    html! {
        label { "Rows" select name="rows" data-submits autocomplete="off" {
            @if !ROWS.contains(&slice.rows) { option value=(slice.rows) selected { (slice.rows) } }
            @for rows in ROWS { option value=(rows) selected[rows == slice.rows] { (rows) } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_on_one_page() {
        let rows: Vec<usize> = (0..PAGE_ROWS * 2 + 1).collect();
        let all: Vec<usize> = (1..=3)
            .flat_map(|page| Slice::new(Some(page), None).of(&rows))
            .copied()
            .collect();
        assert_eq!(all, rows);
        for beyond in [4, usize::MAX] {
            assert!(Slice::new(Some(beyond), None).of(&rows).is_empty());
        }
        let links = pager(rows.len(), Slice::new(Some(2), None), |page| {
            format!("?p={page}")
        });
        let links = links.into_string();
        for part in ["?p=1#table", "?p=3#table", "Rows 101 to 200 of 201"] {
            assert!(links.contains(part), "{links}");
        }
        let one = pager(PAGE_ROWS, Slice::new(None, None), |_| String::new());
        assert!(one.into_string().is_empty());
        // A page beyond the end has a link back.
        let beyond = Slice::new(Some(usize::MAX), Some(usize::MAX));
        assert_eq!(beyond.rows, 500);
        let links = pager(1, beyond, |page| format!("?p={page}")).into_string();
        assert!(links.contains("?p=1") && links.contains("beyond the last"));
        assert_eq!(Slice::new(Some(0), Some(0)), Slice { page: 1, rows: 1 });
    }

    #[test]
    fn a_heading_says_how_the_table_is_sorted() {
        let sorted = sortable("Name", Some(Direction::Descending), "/x?sort=name");
        let sorted = sorted.into_string();
        assert!(sorted.contains("aria-sort=\"descending\""), "{sorted}");
        assert!(sorted.contains("href=\"/x?sort=name#table\""), "{sorted}");
        let other = sortable("Name", None, "/x").into_string();
        assert!(!other.contains("aria-sort"), "{other}");
    }
}
