//! The store of the elections, whichever it is.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "store",
    title: "The store of the elections",
    alerts: &[
        Alert {
            name: "HaDistributorStoreFailing",
            severity: Severity::Critical,
            hold: "5m",
            expr: r#"job_type:ha_distributor_store_errors:ratio_rate5m{role="primary"} > 0.1"#,
            summary: "The store of the elections ({{ $labels.type }}) fails {{ $value | humanizePercentage }} of the calls",
            description: "While the store fails, nothing fails over, and new HA clusters get 503. Known clusters continue with the elected replica.",
            runbook: Runbook {
                meaning: "Calls to Consul, etcd or the gossip cluster fail or time out. Elections stay as they are: if an elected replica stops now, its samples are missing until the store answers.",
                look: "The log line `the HA tracker's store is failing` has the error. `type` is the store: look at Consul (`consul members`, its leader), etcd (`etcdctl endpoint status`), or `/memberlist`.",
                repair: "Repair the store or the network to it. The distributors need no restart. After the outage a failover waits once until every distributor must have refreshed its entries.",
                false_alarms: "A restart of a store that has a single server.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_kv_request_duration_seconds_count{@, instance="d0", operation="CAS", status_code="200", type="consul", role="primary", kv_name="distributor-hatracker"}"#,
                        "0+10x30",
                    ),
                    (
                        r#"cortex_kv_request_duration_seconds_count{@, instance="d0", operation="CAS", status_code="500", type="consul", role="primary", kv_name="distributor-hatracker"}"#,
                        "0+10x30",
                    ),
                ],
                at: "15m",
                labels: r#"@, type="consul", role="primary""#,
            },
        },
        Alert {
            name: "HaDistributorStoreSlow",
            severity: Severity::Warning,
            hold: "10m",
            expr: r#"histogram_quantile(0.99, sum by (namespace, job, type, le) (rate(cortex_kv_request_duration_seconds_bucket{@, role="primary", operation="CAS"}[5m]))) > 1"#,
            summary: "The store of the elections ({{ $labels.type }}) is slow",
            description: "1 % of the writes take longer than {{ $value | humanizeDuration }}. Senders of new HA clusters wait for them, and failovers come later.",
            runbook: Runbook {
                meaning: "Compare-and-swaps on the store take longer than a second.",
                look: "The store's own dashboards: disk latency of etcd (`etcd_disk_wal_fsync_duration_seconds`) and of Consul's leader, and the network between.",
                repair: "Faster disks, or fewer other users of the store. [Gossip](migrate-to-memberlist.md) needs no store at all.",
                false_alarms: "A store in another region.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_kv_request_duration_seconds_bucket{@, instance="d0", operation="CAS", status_code="200", type="etcd", role="primary", kv_name="distributor-hatracker", le="1"}"#,
                        "0+50x40",
                    ),
                    (
                        r#"cortex_kv_request_duration_seconds_bucket{@, instance="d0", operation="CAS", status_code="200", type="etcd", role="primary", kv_name="distributor-hatracker", le="10"}"#,
                        "0+60x40",
                    ),
                    (
                        r#"cortex_kv_request_duration_seconds_bucket{@, instance="d0", operation="CAS", status_code="200", type="etcd", role="primary", kv_name="distributor-hatracker", le="+Inf"}"#,
                        "0+60x40",
                    ),
                ],
                at: "20m",
                labels: r#"@, type="etcd""#,
            },
        },
    ],
};
