//! Links between the pages of the tracker.

use crate::pages::parts::link;
use crate::routes::Page;

/// The page of one cluster.
pub(super) fn cluster(tenant: &str, cluster: &str) -> String {
    named(Page::Cluster, tenant, cluster, "")
}

/// Why samples are dropped.
pub(super) fn why(tenant: &str, cluster: &str, replica: &str) -> String {
    named(Page::Why, tenant, cluster, replica)
}

fn named(page: Page, tenant: &str, cluster: &str, replica: &str) -> String {
    let names = [
        ("tenant", tenant.into()),
        ("cluster", cluster.into()),
        ("replica", replica.into()),
    ];
    link(page.route().path, &names)
}
