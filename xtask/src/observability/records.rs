//! The recording rules: what several alerts and panels use.

use super::rules::Record;

/// The step of each distributor. With two stores: 1 without and 2 with mirroring to memberlist, 3 with
/// and 4 without mirroring to the old store.
pub(super) const MIGRATION_STEP: &str = r#"
                (
                  (1 - max by (namespace, job, instance) (cortex_multikv_primary_store{@, store="memberlist"}))
                  * (1 + max by (namespace, job, instance) (cortex_multikv_mirror_enabled{@}))
                  + max by (namespace, job, instance) (cortex_multikv_primary_store{@, store="memberlist"})
                  * (4 - max by (namespace, job, instance) (cortex_multikv_mirror_enabled{@}))
                )
                or 5 + 0 * max by (namespace, job, instance) (memberlist_client_cluster_members_count{@})
                or 0 * max by (namespace, job, instance) (cortex_build_info{@})"#;

pub(super) fn all() -> Vec<Record> {
    vec![
        Record {
            name: "job_user:ha_distributor_samples_in:rate5m",
            expr: "sum by (namespace, job, user) (rate(cortex_distributor_samples_in_total{@}[5m]))",
            meaning: "samples per second that arrive, by tenant",
        },
        Record {
            name: "job_user:ha_distributor_samples_received:rate5m",
            expr: "sum by (namespace, job, user) (rate(cortex_distributor_received_samples_total{@}[5m]))",
            meaning: "samples per second that are accepted, by tenant",
        },
        Record {
            name: "job_user_cluster:ha_distributor_samples_deduplicated:rate5m",
            expr: "sum by (namespace, job, user, cluster) (rate(cortex_distributor_deduped_samples_total{@}[5m]))",
            meaning: "samples per second that are deduplicated, by HA cluster",
        },
        Record {
            name: "job_user:ha_distributor_deduplicated:ratio_rate5m",
            expr: r"
                sum by (namespace, job, user) (job_user_cluster:ha_distributor_samples_deduplicated:rate5m)
                / (
                  job_user:ha_distributor_samples_in:rate5m
                  - sum by (namespace, job, user) (rate(cortex_distributor_non_ha_samples_received_total{@}[5m]))
                  > 0
                )",
            meaning: "share of the samples with HA labels that are deduplicated, by tenant; (n − 1) / n if all clusters have n replicas",
        },
        Record {
            name: "job_user_cluster:ha_distributor_elected_silence:seconds",
            expr: r"
                time()
                - max by (namespace, job, user, cluster) (cortex_ha_tracker_elected_replica_timestamp_seconds{@})",
            meaning: "age of the last recorded sample of the elected replica, by HA cluster; up to `ha_tracker_update_timeout` (15 s) plus its jitter when all is well",
        },
        Record {
            name: "job:ha_distributor_push_errors:ratio_rate5m",
            expr: r#"
                (
                  sum by (namespace, job) (rate(cortex_request_duration_seconds_count{@, route=~"api_v1_push|api_prom_push|/distributor.Distributor/Push", status_code=~"5..|Unavailable|Internal|DeadlineExceeded|Unknown|DataLoss"}[5m]))
                  or 0 * sum by (namespace, job) (rate(cortex_request_duration_seconds_count{@, route=~"api_v1_push|api_prom_push|/distributor.Distributor/Push"}[5m]))
                )
                / (
                  sum by (namespace, job) (rate(cortex_request_duration_seconds_count{@, route=~"api_v1_push|api_prom_push|/distributor.Distributor/Push"}[5m]))
                  > 0
                )"#,
            meaning: "share of the push requests that fail because of the distributor, its store or a downstream",
        },
        Record {
            name: "job_name:ha_distributor_downstream_errors:ratio_rate5m",
            expr: r#"
                (
                  sum by (namespace, job, name) (rate(cortex_distributor_downstream_request_duration_seconds_count{@, status_code=~"0|5.."}[5m]))
                  or 0 * sum by (namespace, job, name) (rate(cortex_distributor_downstream_request_duration_seconds_count{@}[5m]))
                )
                / (
                  sum by (namespace, job, name) (rate(cortex_distributor_downstream_request_duration_seconds_count{@}[5m]))
                  > 0
                )"#,
            meaning: "share of the requests to a downstream that it fails or does not answer",
        },
        Record {
            name: "job_name:ha_distributor_downstream_duration:p99_5m",
            expr: "histogram_quantile(0.99, sum by (namespace, job, name, le) (rate(cortex_distributor_downstream_request_duration_seconds_bucket{@}[5m])))",
            meaning: "99th percentile of the time until a downstream answers, in seconds",
        },
        Record {
            name: "job_type:ha_distributor_store_errors:ratio_rate5m",
            expr: r#"
                (
                  sum by (namespace, job, type, role) (rate(cortex_kv_request_duration_seconds_count{@, status_code="500"}[5m]))
                  or 0 * sum by (namespace, job, type, role) (rate(cortex_kv_request_duration_seconds_count{@}[5m]))
                )
                / (
                  sum by (namespace, job, type, role) (rate(cortex_kv_request_duration_seconds_count{@}[5m]))
                  > 0
                )"#,
            meaning: "share of the calls to the store of the elections that fail, by store and role",
        },
        Record {
            name: "instance:ha_distributor_migration_step",
            expr: MIGRATION_STEP,
            meaning: "step of a distributor on the way [to memberlist](migrate-to-memberlist.md), 0 to 5; a fleet that never had another store is on step 5",
        },
        Record {
            name: "job:ha_distributor_migration_safe",
            expr: r#"
                (max by (namespace, job) (instance:ha_distributor_migration_step) == bool min by (namespace, job) (instance:ha_distributor_migration_step))
                * min by (namespace, job) (up{@})
                * (
                  (sum by (namespace, job) (cortex_multikv_divergent_keys{@, reason=~"missing|older"}) == bool 0)
                  or 1 + 0 * max by (namespace, job) (instance:ha_distributor_migration_step)
                )
                * (
                  (sum by (namespace, job) (cortex_multikv_backfill_pending_keys{@}) == bool 0)
                  or 1 + 0 * max by (namespace, job) (instance:ha_distributor_migration_step)
                )
                * (
                  (sum by (namespace, job) (increase(cortex_multikv_mirror_write_errors_total{@}[5m])) == bool 0)
                  or 1 + 0 * max by (namespace, job) (instance:ha_distributor_migration_step)
                )
                * (
                  (max by (namespace, job) (time() - cortex_multikv_last_comparison_timestamp_seconds{@} and on (namespace, job, instance) cortex_multikv_mirror_enabled{@} == 1) < bool 600)
                  or 1 + 0 * max by (namespace, job) (instance:ha_distributor_migration_step)
                )"#,
            meaning: "1 if the metrics speak for the next step of a migration: all distributors are scraped and on one step, the secondary lacks nothing, no write to it failed for 5 minutes, and it was compared within 10 minutes; `distributor migration status` checks more and decides",
        },
    ]
}
