//! The parameters of the page.

use kv_memberlist::EntryInfo;
use serde::Deserialize;

use crate::pages::parts::link;
use crate::pages::table::{Direction, Slice};
use crate::routes::Page;

/// Mimir's parameters, and our own filter.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Show the value of this key.
    #[serde(rename = "viewKey")]
    pub(super) view_key: Option<String>,
    /// Send the stored bytes of this key.
    #[serde(rename = "downloadKey")]
    pub(super) download_key: Option<String>,
    /// `json`: the value, decoded, and nothing else.
    #[serde(default)]
    pub(super) format: String,
    /// Keeps the rows whose key contains this.
    #[serde(default)]
    pub(super) key: String,
    /// What the keys are sorted by.
    #[serde(default)]
    pub(super) sort: Sort,
    /// Unless it is the usual one of what is sorted by.
    pub(super) order: Option<Direction>,
    /// Page of the keys, from 1.
    pub(super) page: Option<usize>,
    /// Keys of a page.
    pub(super) rows: Option<usize>,
}

/// What the keys are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sort {
    #[default]
    #[serde(alias = "")]
    Key,
    Version,
    Size,
    Updated,
}

impl Sort {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "",
            Self::Version => "version",
            Self::Size => "size",
            Self::Updated => "updated",
        }
    }

    fn usual(self) -> Direction {
        match self {
            Self::Key => Direction::Ascending,
            // The most, and the latest, first.
            Self::Version | Self::Size | Self::Updated => Direction::Descending,
        }
    }
}

impl Wanted {
    pub(super) fn direction(&self) -> Direction {
        self.order.unwrap_or(self.sort.usual())
    }

    /// Sorts the keys.
    pub(super) fn order(&self, entries: &mut [EntryInfo]) {
        let direction = self.direction();
        entries.sort_by(|a, b| {
            let first = match self.sort {
                Sort::Key => a.key.cmp(&b.key),
                Sort::Version => a.version.cmp(&b.version),
                Sort::Size => a.size.cmp(&b.size),
                Sort::Updated => a.updated_ms.cmp(&b.updated_ms),
            };
            let first = match direction {
                Direction::Ascending => first,
                Direction::Descending => first.reverse(),
            };
            first.then_with(|| a.key.cmp(&b.key))
        });
    }

    pub(super) fn slice(&self) -> Slice {
        Slice::new(self.page, self.rows)
    }

    /// The link to the same keys in another order; the order that they have already is reversed.
    pub(super) fn sorted_by(&self, sort: Sort) -> String {
        let order = (sort == self.sort).then(|| self.direction().reversed());
        let order = order.filter(|order| *order != sort.usual());
        self.link(sort, order, None)
    }

    /// The link to another page of the keys.
    pub(super) fn at(&self, page: usize) -> String {
        self.link(self.sort, self.order, Some(page))
    }

    fn link(&self, sort: Sort, order: Option<Direction>, page: Option<usize>) -> String {
        let number = |number: Option<usize>| number.map(|n| n.to_string()).unwrap_or_default();
        let parameters = [
            ("key", self.key.as_str().into()),
            ("sort", sort.as_str().into()),
            ("order", order.map_or("", Direction::as_str).into()),
            ("rows", number(self.rows).into()),
            ("page", number(page).into()),
        ];
        link(Page::Memberlist.route().path, &parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_both_ways() {
        let entry = |key: &str, version, size| EntryInfo {
            key: key.into(),
            codec: "replicaDesc",
            version,
            size,
            updated_ms: 0,
            deleted: false,
        };
        let mut entries = [entry("b", 1, 10), entry("a", 1, 20), entry("c", 2, 5)];
        let mut keys = |sort, order| -> String {
            let wanted = Wanted {
                sort,
                order,
                ..Wanted::default()
            };
            wanted.order(&mut entries);
            entries.iter().map(|entry| entry.key.as_str()).collect()
        };
        assert_eq!(keys(Sort::Key, None), "abc");
        assert_eq!(keys(Sort::Key, Some(Direction::Descending)), "cba");
        assert_eq!(keys(Sort::Version, None), "cab");
        assert_eq!(keys(Sort::Size, Some(Direction::Ascending)), "cba");
        let wanted = Wanted {
            key: "x".into(),
            ..Wanted::default()
        };
        assert_eq!(wanted.sorted_by(Sort::Key), "/memberlist?key=x&order=desc");
        assert_eq!(wanted.sorted_by(Sort::Size), "/memberlist?key=x&sort=size");
    }
}
