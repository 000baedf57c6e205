//! The table of all paths of this server, from which router, metric labels, index and navigation
//! are derived.

/// A path of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Conditions that need attention, and all pages.
    Index,
    /// Elections.
    HaTracker,
    /// One cluster.
    Cluster,
    /// The history of elections.
    Elections,
    /// Why samples are dropped.
    Why,
    /// Handing one over by hand.
    HandOver,
    /// Gossip.
    Memberlist,
    /// The multi store.
    MultiKv,
    /// Whether it may get traffic.
    Ready,
    /// Whether the process answers, whatever its parts do.
    Healthz,
    /// Its parts.
    Services,
    /// Its metrics.
    Metrics,
    /// Its configuration.
    Config,
    /// Its runtime configuration.
    RuntimeConfig,
    /// Its version.
    BuildInfo,
    /// Remote write.
    Push,
    /// The same at another path, for senders that use it.
    Write,
    /// The icon that browsers request.
    Favicon,
}

/// Path and names of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The page.
    pub page: Page,
    /// Its path.
    pub path: &'static str,
    /// The `route` of its requests in metrics: as in dskit, slashes become underscores.
    pub label: &'static str,
    /// Its heading, and its name in the navigation; empty if it is not a page for people.
    pub title: &'static str,
    /// Its position in the navigation, from 1; 0 if it is not listed there.
    pub place: u8,
    /// Its description on the index; empty if it is not listed there.
    pub purpose: &'static str,
}

const fn route(page: Page, path: &'static str, label: &'static str) -> Route {
    Route {
        page,
        path,
        label,
        title: "",
        place: 0,
        purpose: "",
    }
}

impl Route {
    const fn titled(mut self, place: u8, title: &'static str) -> Self {
        self.place = place;
        self.title = title;
        self
    }

    const fn shows(mut self, purpose: &'static str) -> Self {
        self.purpose = purpose;
        self
    }
}

/// All paths, in the order of the index.
pub const ROUTES: [Route; 18] = [
    route(Page::Index, "/", "root").titled(1, "Index"),
    route(
        Page::HaTracker,
        "/distributor/ha_tracker",
        "distributor_ha_tracker",
    )
    .titled(2, "HA tracker")
    .shows(
        "Clusters: the elected replica, when each replica was seen, and which clusters need attention",
    ),
    route(
        Page::Why,
        "/distributor/ha_tracker/why",
        "distributor_ha_tracker_why",
    )
    .titled(3, "Why was this dropped?")
    .shows("What becomes of the samples of a tenant, cluster and replica, why, and what to do"),
    route(
        Page::Elections,
        "/distributor/ha_tracker/elections",
        "distributor_ha_tracker_elections",
    )
    .titled(4, "Elections")
    .shows("History of elections: which replica followed which, why, with silence and gap"),
    route(
        Page::Cluster,
        "/distributor/ha_tracker/cluster",
        "distributor_ha_tracker_cluster",
    )
    .titled(0, "Cluster"),
    route(
        Page::HandOver,
        "/distributor/ha_tracker/handover",
        "distributor_ha_tracker_handover",
    )
    .titled(0, "Hand over"),
    route(Page::Memberlist, "/memberlist", "memberlist")
        .titled(5, "Memberlist")
        .shows("Gossip: members, entries, messages"),
    route(
        Page::MultiKv,
        "/distributor/multi_kv",
        "distributor_multi_kv",
    )
    .titled(6, "Multi KV")
    .shows("Multi store: primary, secondary, mirroring, and what differs"),
    route(Page::Ready, "/ready", "ready")
        .shows("Whether this instance may get traffic, and why not"),
    route(Page::Healthz, "/healthz", "healthz")
        .shows("Answers while the process runs, ready or not: for liveness probes"),
    route(Page::Services, "/services", "services")
        .titled(7, "Services")
        .shows("Parts of this process and their state"),
    route(Page::Metrics, "/metrics", "metrics")
        .titled(10, "Metrics")
        .shows("Metrics for Prometheus"),
    route(Page::Config, "/config", "config")
        .titled(8, "Configuration")
        .shows(
            "Configuration in effect (?mode=diff: what differs from the defaults; ?mode=defaults)",
        ),
    route(Page::RuntimeConfig, "/runtime_config", "runtime_config")
        .titled(9, "Runtime configuration")
        .shows("Per-tenant overrides in effect (?mode=diff: what differs)"),
    route(
        Page::BuildInfo,
        "/api/v1/status/buildinfo",
        "api_v1_status_buildinfo",
    )
    .shows("Version of this build"),
    route(Page::Push, "/api/v1/push", "api_v1_push")
        .shows("Remote write 1.0 and 2.0 (POST; also /api/v1/write)"),
    route(Page::Write, "/api/v1/write", "api_v1_write"),
    route(Page::Favicon, "/favicon.ico", "favicon"),
];

impl Page {
    /// Its row of the table.
    pub fn route(self) -> &'static Route {
        // A test looks for each.
        ROUTES
            .iter()
            .find(|route| route.page == self)
            .unwrap_or(&ROUTES[0])
    }
}

/// The `route` label of requests to this path, which is one of a router's; bounded.
pub fn label_of(path: &str) -> &'static str {
    ROUTES
        .iter()
        .find(|route| route.path == path)
        .map_or("other", |route| route.label)
}

/// The entries of the navigation, in order.
pub(crate) fn navigation() -> impl Iterator<Item = &'static Route> {
    let mut places: Vec<_> = ROUTES.iter().filter(|route| route.place > 0).collect();
    places.sort_by_key(|route| route.place);
    places.into_iter()
}

/// The entries of the index, in order.
pub(crate) fn index() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| !route.purpose.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_one_row() {
        for route in &ROUTES {
            assert_eq!(route.page.route(), route);
            assert_eq!(label_of(route.path), route.label);
            let expected = route.path.trim_start_matches('/').replace('/', "_");
            match route.page {
                Page::Index => assert_eq!(route.label, "root"),
                Page::Favicon => assert_eq!(route.label, "favicon"),
                _ => assert_eq!(route.label, expected),
            }
        }
        assert_eq!(label_of("/{*anything}"), "other");
    }

    #[test]
    fn the_navigation_has_no_gap() {
        let places: Vec<u8> = navigation().map(|route| route.place).collect();
        assert_eq!(places, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(navigation().all(|route| !route.title.is_empty()));
    }
}
