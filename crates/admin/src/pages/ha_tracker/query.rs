//! The parameters of the page.

use std::borrow::Cow;

use admin_api::ClusterState as State;
use serde::Deserialize;

use super::rows::{Row, Sort};
use crate::pages::parts::link;
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
    pub(super) state: Option<State>,
    #[serde(default)]
    pub(super) sort: Sort,
    /// From 1.
    pub(super) page: Option<usize>,
}

impl Wanted {
    /// Whether the filters on names match the row, in any state.
    pub(super) fn names(&self, row: &Row) -> bool {
        let mut replicas =
            std::iter::once(&row.desc.replica).chain(row.others.iter().map(|other| &other.replica));
        row.tenant.contains(&self.tenant)
            && row.cluster.contains(&self.cluster)
            && replicas.any(|replica| replica.contains(&self.replica))
    }

    /// By tenant and cluster, unless another order is requested.
    pub(super) fn for_programs(self) -> Self {
        let sort = match self.sort {
            Sort::Attention => Sort::Tenant,
            other => other,
        };
        Self { sort, ..self }
    }

    pub(super) fn covers(&self, row: &Row) -> bool {
        self.state.is_none_or(|state| state == row.state)
    }

    /// The link to the page with these rows.
    pub(super) fn link(&self) -> String {
        let page = self.page.filter(|page| *page > 1);
        let page = page.map_or(Cow::Borrowed(""), |page| page.to_string().into());
        link(
            Page::HaTracker.route().path,
            &[
                ("tenant", self.tenant.as_str().into()),
                ("cluster", self.cluster.as_str().into()),
                ("replica", self.replica.as_str().into()),
                ("state", self.state.map_or("", State::as_str).into()),
                ("sort", self.sort.as_str().into()),
                ("page", page),
            ],
        )
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.state.is_some()
            || !(self.tenant.is_empty() && self.cluster.is_empty() && self.replica.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::row;
    use super::*;

    #[test]
    fn filters_cover_all_names() {
        let row = row("prod", 1, Some(1), Some(1));
        let names = |tenant: &str, cluster: &str, replica: &str| {
            Wanted {
                tenant: tenant.into(),
                cluster: cluster.into(),
                replica: replica.into(),
                ..Wanted::default()
            }
            .names(&row)
        };
        assert!(names("", "", ""));
        assert!(names("t", "ro", "-a"));
        assert!(names("", "", "prod-b"));
        assert!(!names("u", "", ""));
        assert!(!names("", "x", ""));
        assert!(!names("", "", "prod-c"));
    }
}
