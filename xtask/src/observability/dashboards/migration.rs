//! A migration from Consul or etcd to memberlist.

use super::{Dashboard, JOB, Kind, NAMESPACE, Panel, Query, Row, Unit};
use crate::observability::records::MIGRATION_STEP;

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "deploy/observability/dashboards/migration.json",
    uid: "ha-distributor-migration",
    title: "HA distributor / Migration",
    description: "Moving the elections from Consul or etcd to memberlist: the step of each distributor, and whether the next one is safe. `distributor migration status` decides.",
    variables: &[NAMESPACE, JOB],
    rows: &[PROGRESS, STORES],
};

const STEPS: &[(&str, &str, &str)] = &[
    ("0", "0: old store alone", "blue"),
    ("1", "1: multi, mirroring off", "light-blue"),
    ("2", "2: mirroring to memberlist", "yellow"),
    ("3", "3: memberlist is primary", "light-green"),
    ("4", "4: mirroring off", "green"),
    ("5", "5: memberlist alone", "dark-green"),
];

const PROGRESS: Row = Row {
    title: "Progress",
    panels: &[
        Panel {
            title: "Next step",
            description: "What the metrics say: SAFE if all distributors are scraped and on one step, the secondary lacks nothing, no write to it failed for 5 minutes, and it was compared within 10 minutes. Ask `distributor migration status` before you take the step: it checks more. Needs the recording rules.",
            kind: Kind::Timeline(&[("0", "STOP", "red"), ("1", "SAFE", "green")]),
            unit: Unit::Count,
            width: 24,
            queries: &[Query {
                expr: "job:ha_distributor_migration_safe{@}",
                legend: "{{job}}",
            }],
        },
        Panel {
            title: "Step of each distributor",
            description: "All must be on the same step before the next one. A fleet that never had another store is on step 5.",
            kind: Kind::Timeline(STEPS),
            unit: Unit::Count,
            width: 24,
            queries: &[Query {
                expr: MIGRATION_STEP,
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Keys that the secondary lacks",
            description: "Missing or older in the secondary: must be 0 on every distributor before the next step.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: r#"sum by (instance) (cortex_multikv_divergent_keys{@, reason=~"missing|older"})"#,
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Divergent keys by reason",
            description: "`newer`: another distributor has written it and not mirrored it yet. `extra`: left over in the secondary, harmless.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "max by (reason) (cortex_multikv_divergent_keys{@})",
                legend: "{{reason}}",
            }],
        },
        Panel {
            title: "Keys that have not been copied yet",
            description: "The backfill of the secondary: must reach 0.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (cortex_multikv_backfill_pending_keys{@})",
                    legend: "{{instance}} waiting",
                },
                Query {
                    expr: "sum by (instance) (increase(cortex_multikv_backfill_failed_keys_total{@}[$__rate_interval]))",
                    legend: "{{instance}} failed",
                },
                Query {
                    expr: "sum by (instance) (increase(cortex_multikv_backfill_copied_keys_total{@}[$__rate_interval]))",
                    legend: "{{instance}} copied",
                },
            ],
        },
        Panel {
            title: "Time since the last comparison",
            description: "Both stores are compared every few minutes while mirroring is on. If it grows, a store does not answer.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: "time() - max by (instance) (cortex_multikv_last_comparison_timestamp_seconds{@} > 0)",
                legend: "{{instance}}",
            }],
        },
    ],
};

const STORES: Row = Row {
    title: "Stores",
    panels: &[
        Panel {
            title: "Primary store",
            description: "The store that each distributor reads.",
            kind: Kind::Table,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "max by (instance, store) (cortex_multikv_primary_store{@} == 1)",
                legend: "",
            }],
        },
        Panel {
            title: "Writes to the secondary",
            description: "Failures: do not continue.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[
                Query {
                    expr: "sum by (instance) (rate(cortex_multikv_mirror_writes_total{@}[$__rate_interval]))",
                    legend: "{{instance}}",
                },
                Query {
                    expr: "sum by (instance) (rate(cortex_multikv_mirror_write_errors_total{@}[$__rate_interval]))",
                    legend: "{{instance}} failed",
                },
            ],
        },
        Panel {
            title: "Writes that wait",
            description: "Keys that wait to be written to the secondary. If they grow, it is slow.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "sum by (instance) (cortex_multikv_mirror_pending_keys{@})",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Calls by store and role",
            description: "500: the call failed.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: "sum by (type, role, status_code) (rate(cortex_kv_request_duration_seconds_count{@}[$__rate_interval]))",
                legend: "{{type}} ({{role}}) {{status_code}}",
            }],
        },
        Panel {
            title: "Members of the gossip cluster",
            description: "Must be the number of distributors, on each of them, from step 1 on.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "memberlist_client_cluster_members_count{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Elections",
            description: "A step causes none: only your pairs do.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "sum(max by (user, cluster) (changes(cortex_ha_tracker_last_election_timestamp_seconds{@}[$__rate_interval])))",
                legend: "elections",
            }],
        },
    ],
};
