//! The dashboards: typed panels, and Grafana's JSON.

mod failovers;
mod gossip;
mod ha_tracker;
mod json;
mod migration;
mod replicas;

use anyhow::Result;

pub(super) struct Dashboard {
    /// Relative to the root.
    pub(super) file: &'static str,
    /// Stays the same, so that links to the dashboard stay valid.
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    variables: &'static [Variable],
    rows: &'static [Row],
}

/// A variable that is filled from the labels of a metric; each allows several values and all.
struct Variable {
    name: &'static str,
    label: &'static str,
    /// For `label_values`.
    metric: &'static str,
    of_label: &'static str,
}

struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

struct Panel {
    title: &'static str,
    /// What it shows, what is good, and what to do if it is not.
    description: &'static str,
    kind: Kind,
    unit: Unit,
    /// Of 24 columns.
    width: u64,
    queries: &'static [Query],
}

/// What is drawn.
enum Kind {
    Lines,
    /// Lines on top of each other.
    Stacked,
    /// The last value, and its colour: values from the second on are of the colour beside them.
    Stat(&'static [(&'static str, Option<f64>)]),
    /// A row per series; values and their texts and colours.
    Timeline(&'static [(&'static str, &'static str, &'static str)]),
    /// A row per series, with its labels as columns.
    Table,
}

#[derive(Clone, Copy)]
enum Unit {
    Count,
    Seconds,
    Bytes,
    BytesPerSecond,
    PerSecond,
    /// 0 to 1.
    Share,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "Bps",
            Self::PerSecond => "cps",
            Self::Share => "percentunit",
        }
    }
}

/// An expression, in which `@` is the choice of the variables for namespace and job.
struct Query {
    expr: &'static str,
    legend: &'static str,
}

/// What `@` stands for in dashboards.
const SELECTOR: &str = r#"namespace=~"$namespace", job=~"$job""#;

/// On every dashboard. Only distributors of this kind have a `rustversion`.
const NAMESPACE: Variable = Variable {
    name: "namespace",
    label: "Namespace",
    metric: r#"cortex_build_info{rustversion!=""}"#,
    of_label: "namespace",
};
const JOB: Variable = Variable {
    name: "job",
    label: "Job",
    metric: r#"cortex_build_info{rustversion!="", namespace=~"$namespace"}"#,
    of_label: "job",
};
const TENANT: Variable = Variable {
    name: "tenant",
    label: "Tenant",
    metric: "cortex_distributor_requests_in_total{@}",
    of_label: "user",
};
const CLUSTER: Variable = Variable {
    name: "cluster",
    label: "HA cluster",
    metric: r#"cortex_ha_tracker_elected_replica_timestamp_seconds{@, user=~"$tenant"}"#,
    of_label: "cluster",
};

pub(super) fn all() -> Vec<Dashboard> {
    vec![
        ha_tracker::DASHBOARD,
        gossip::DASHBOARD,
        migration::DASHBOARD,
    ]
}

/// A dashboard as Grafana imports it.
pub(super) fn render(dashboard: &Dashboard) -> Result<String> {
    let mut text = serde_json::to_string_pretty(&json::dashboard(dashboard))?;
    text.push('\n');
    Ok(text)
}
