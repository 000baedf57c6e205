//! The parameters of the page.

use std::borrow::Cow;
use std::cmp::Ordering;

use admin_api::ClusterState as State;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::rows::Row;
use super::sort::{Key, Sort};
use crate::pages::parts::link;
use crate::pages::table::{Direction, Slice};
use crate::routes::Page;

/// Which rows to show, and how.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    /// Keeps the rows whose tenant contains this.
    #[serde(default)]
    pub(super) tenant: String,
    /// Keeps the rows whose cluster contains this.
    #[serde(default)]
    pub(super) cluster: String,
    /// Keeps the rows of which any replica contains this.
    #[serde(default)]
    pub(super) replica: String,
    /// Keeps the rows of which any of these names contains this, in upper or lower case.
    #[serde(default)]
    pub(super) q: String,
    #[serde(default, deserialize_with = "state_or_any")]
    pub(super) state: Option<State>,
    #[serde(default)]
    pub(super) sort: Sort,
    /// Unless it is the usual one of what is sorted by.
    pub(super) order: Option<Direction>,
    /// From 1.
    pub(super) page: Option<usize>,
    /// Rows of a page.
    pub(super) rows: Option<usize>,
}

/// A form sends an empty text for any state.
fn state_or_any<'de, D: Deserializer<'de>>(input: D) -> Result<Option<State>, D::Error> {
    let text = String::deserialize(input)?;
    if text.is_empty() {
        return Ok(None);
    }
    let known = State::ALL.into_iter().find(|state| state.as_str() == text);
    let known = known.ok_or_else(|| {
        let all = State::ALL.map(State::as_str).join(", ");
        D::Error::custom(format!("unknown state {text:?}; there are {all}"))
    });
    known.map(Some)
}

impl Wanted {
    /// Whether the filters on names match the row, in any state.
    pub(super) fn names(&self, row: &Row) -> bool {
        let replicas = || {
            std::iter::once(&row.desc.replica).chain(row.others.iter().map(|other| &other.replica))
        };
        row.tenant.contains(&self.tenant)
            && row.cluster.contains(&self.cluster)
            && replicas().any(|replica| replica.contains(&self.replica))
            && (self.q.is_empty() || {
                let q = self.q.to_lowercase();
                let mut names = replicas().chain([&row.tenant, &row.cluster]);
                names.any(|name| name.to_lowercase().contains(&q))
            })
    }

    /// By tenant and cluster, unless another order is requested.
    pub(super) fn for_programs(self) -> Self {
        let sort = match self.sort {
            Sort::Attention => Sort::Tenant,
            other => other,
        };
        Self { sort, ..self }
    }

    pub(super) fn covers(&self, state: State) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
    }

    pub(super) fn direction(&self) -> Direction {
        self.order.unwrap_or(self.sort.usual())
    }

    pub(super) fn compare(&self, a: &Key, b: &Key) -> Ordering {
        self.sort.compare(self.direction(), a, b)
    }

    pub(super) fn slice(&self) -> Slice {
        Slice::new(self.page, self.rows)
    }

    /// The same rows in another order; the order that they have already is reversed.
    pub(super) fn sorted_by(&self, sort: Sort) -> Self {
        let order = (sort == self.sort).then(|| self.direction().reversed());
        Self {
            sort,
            order: order.filter(|order| *order != sort.usual()),
            page: None,
            ..self.clone()
        }
    }

    /// The link to the page with these rows.
    pub(super) fn link(&self) -> String {
        let page = self.page.filter(|page| *page > 1);
        let number = |number: Option<usize>| match number {
            Some(number) => Cow::Owned(number.to_string()),
            None => Cow::Borrowed(""),
        };
        link(
            Page::HaTracker.route().path,
            &[
                ("q", self.q.as_str().into()),
                ("tenant", self.tenant.as_str().into()),
                ("cluster", self.cluster.as_str().into()),
                ("replica", self.replica.as_str().into()),
                ("state", self.state.map_or("", State::as_str).into()),
                ("sort", self.sort.as_str().into()),
                ("order", self.order.map_or("", Direction::as_str).into()),
                ("rows", number(self.rows)),
                ("page", number(page)),
            ],
        )
    }

    /// Whether a filter besides [`Wanted::q`] and the state is in use.
    pub(super) fn has_name_filter(&self) -> bool {
        !(self.tenant.is_empty() && self.cluster.is_empty() && self.replica.is_empty())
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.state.is_some() || !self.q.is_empty() || self.has_name_filter()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::row;
    use super::*;

    #[test]
    fn filters_cover_all_names() {
        let row = row("prod", 1, Some(1), Some(1));
        let names = |tenant: &str, cluster: &str, replica: &str, q: &str| {
            Wanted {
                tenant: tenant.into(),
                cluster: cluster.into(),
                replica: replica.into(),
                q: q.into(),
                ..Wanted::default()
            }
            .names(&row)
        };
        assert!(names("", "", "", ""));
        assert!(names("t", "ro", "-a", ""));
        assert!(names("", "", "prod-b", "PROD-B"));
        assert!(!names("u", "", "", ""));
        assert!(!names("", "x", "", ""));
        assert!(!names("", "", "prod-c", ""));
        assert!(!names("", "", "", "prod-c"));
    }

    #[test]
    fn a_second_click_reverses_the_order() {
        let wanted = Wanted {
            page: Some(7),
            q: "x".into(),
            ..Wanted::default()
        };
        let once = wanted.sorted_by(Sort::Elections);
        assert_eq!(once.link(), "/distributor/ha_tracker?q=x&sort=elections");
        let twice = once.sorted_by(Sort::Elections);
        let reversed = "/distributor/ha_tracker?q=x&sort=elections&order=asc";
        assert_eq!(twice.link(), reversed);
        assert_eq!(twice.sorted_by(Sort::Elections).link(), once.link());
    }
}
