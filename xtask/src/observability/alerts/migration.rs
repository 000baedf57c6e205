//! A migration between stores; only with `kvstore.store: multi`.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "migration",
    title: "A migration between stores",
    alerts: &[
        Alert {
            name: "HaDistributorMirrorWritesFail",
            severity: Severity::Warning,
            hold: "5m",
            expr: "sum by (namespace, job, instance, kv_name) (rate(cortex_multikv_mirror_write_errors_total{@}[5m])) > 0",
            summary: "Distributor {{ $labels.instance }} cannot write to the secondary store",
            description: "Writes to the secondary store fail. Elections work, but the next step of the migration is not safe.",
            runbook: Runbook {
                meaning: "The secondary store is slow or unavailable. Its entries grow old; on step 3, so does the way back.",
                look: "`distributor migration status` and `/distributor/multi_kv` have the last error. On steps 1 and 2 the secondary is memberlist: `/memberlist`. On steps 3 and 4 it is the old store.",
                repair: "Repair the secondary. What was missed is copied by the next comparison. **Do not take the next step** until `migration status` says `SAFE`.",
                false_alarms: "The old store was shut down on step 3: take step 4.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_multikv_mirror_write_errors_total{@, instance="d0", kv_name="distributor-hatracker"}"#,
                    "0+5x30",
                )],
                at: "15m",
                labels: r#"@, instance="d0", kv_name="distributor-hatracker""#,
            },
        },
        Alert {
            name: "HaDistributorStoresDiverge",
            severity: Severity::Warning,
            hold: "15m",
            expr: r#"sum by (namespace, job, instance, kv_name) (cortex_multikv_divergent_keys{@, reason=~"missing|older"}) > 0"#,
            summary: "The secondary store lacks {{ $value }} elections of {{ $labels.instance }}",
            description: "The secondary store is behind the primary for more than 15 minutes. The next step of the migration is not safe.",
            runbook: Runbook {
                meaning: "Entries of the primary are missing or older in the secondary, and the backfill does not catch up.",
                look: "`distributor migration status` lists the keys; `/distributor/multi_kv` shows both values. The log names keys that cannot be decoded or copied.",
                repair: "See [troubleshooting](migrate-to-memberlist.md#troubleshooting). Remove values that are not elections from the primary store.",
                false_alarms: "Distributors that are on different steps for long: finish the rollout.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_multikv_divergent_keys{@, instance="d0", kv_name="distributor-hatracker", reason="missing"}"#,
                    "3x40",
                )],
                at: "20m",
                labels: r#"@, instance="d0", kv_name="distributor-hatracker""#,
            },
        },
        Alert {
            name: "HaDistributorComparisonStale",
            severity: Severity::Warning,
            hold: "5m",
            expr: r"
                time() - cortex_multikv_last_comparison_timestamp_seconds{@} > 900
                and on (namespace, job, instance, kv_name)
                cortex_multikv_mirror_enabled{@} == 1",
            summary: "Distributor {{ $labels.instance }} has not compared its two stores for 15 minutes",
            description: "Comparisons of the stores fail on {{ $labels.instance }}, so it is not known whether the secondary is complete.",
            runbook: Runbook {
                meaning: "A comparison reads both stores completely. One of them does not answer.",
                look: "`/distributor/multi_kv` has the last error; `cortex_kv_request_duration_seconds_count{status_code=\"500\"}` by `role` says which store fails.",
                repair: "Repair that store. Do not take the next step of the migration meanwhile.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_multikv_last_comparison_timestamp_seconds{@, instance="d0", kv_name="distributor-hatracker"}"#,
                        "60x60",
                    ),
                    (
                        r#"cortex_multikv_mirror_enabled{@, instance="d0", kv_name="distributor-hatracker"}"#,
                        "1x60",
                    ),
                ],
                at: "30m",
                labels: r#"@, instance="d0", kv_name="distributor-hatracker""#,
            },
        },
        Alert {
            name: "HaDistributorMigrationStepsDiffer",
            severity: Severity::Warning,
            hold: "1h",
            expr: r"
                max by (namespace, job) (instance:ha_distributor_migration_step)
                - min by (namespace, job) (instance:ha_distributor_migration_step)
                > 0",
            summary: "Distributors of {{ $labels.job }} are on different steps of a migration",
            description: "A rollout of a step of the migration was not completed for an hour.",
            runbook: Runbook {
                meaning: "Neighbouring steps work together, so nothing is lost. But the next step is not safe, and distributors that are two steps apart would not see each other's elections.",
                look: "`distributor migration status` names the distributors and their steps.",
                repair: "Bring all to the same step: finish the rollout, or roll it back.",
                false_alarms: "Two deployments with stores of different kinds below one `job`.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_multikv_primary_store{@, instance="d0", kv_name="distributor-hatracker", store="memberlist"}"#,
                        "0x90",
                    ),
                    (
                        r#"cortex_multikv_mirror_enabled{@, instance="d0", kv_name="distributor-hatracker"}"#,
                        "1x90",
                    ),
                    (
                        r#"cortex_multikv_primary_store{@, instance="d1", kv_name="distributor-hatracker", store="memberlist"}"#,
                        "1x90",
                    ),
                    (
                        r#"cortex_multikv_mirror_enabled{@, instance="d1", kv_name="distributor-hatracker"}"#,
                        "1x90",
                    ),
                ],
                at: "70m",
                labels: "@",
            },
        },
    ],
};
