//! Failovers without loss: what they would lose, and whether they end.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "failover",
    title: "Failover without loss",
    alerts: &[
        Alert {
            name: "HaDistributorFailoverLostSamples",
            severity: Severity::Critical,
            hold: "0s",
            expr: r#"increase(ha_failover_released_requests_total{@, reason="lost"}[15m]) > 0"#,
            summary: "A failover lost held samples on {{ $labels.instance }}",
            description: "{{ $labels.instance }} held about {{ $value | humanize }} requests of a replica that is now elected, and could not forward them. Their samples were acknowledged and are missing in the backend.",
            runbook: Runbook {
                meaning: "`ha_failover_mode: lossless`: an election took place without this distributor, so that others had already continued when it could have forwarded what it held. Either it could not reach the store or the other distributors for more than 2.5 s, or a distributor that does not take part in these failovers (Mimir's, or one whose tenant is in classic mode) elected the replica.",
                look: "`increase(ha_failover_plans_total{reason=\"foreign\"}[1h])`: elections by others. `ha_failover_store_failures_total` and the condition of the store on the index page: the connection. The log lines `elected a replica` and `stored the first samples after a failover` have tenant, cluster and time; `cortex_ha_tracker_last_failover_gap_seconds` has what is missing.",
                repair: "Store or network: [HaDistributorStoreFailing](#hadistributorstorefailing). Elections by others: set the same `limits.ha_failover_mode` in all distributors of the fleet, and use `classic` while Mimir's distributors serve the same clusters ([what is lost when](failover.md#what-is-still-lost-and-when)). The samples cannot be brought back from here; the other replica of the pair may still have them in its own storage.",
                false_alarms: "A switch of the mode while replicas fail over.",
            },
            fires: Fires {
                series: &[(
                    r#"ha_failover_released_requests_total{@, instance="d0", reason="lost"}"#,
                    "0x5 3x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0", reason="lost""#,
            },
        },
        Alert {
            name: "HaDistributorFailoverHoldTooSmall",
            severity: Severity::Warning,
            hold: "5m",
            expr: r#"rate(ha_failover_released_requests_total{@, reason=~"evicted|expired"}[5m]) > 0"#,
            summary: "Distributor {{ $labels.instance }} cannot hold what a failover needs",
            description: "{{ $labels.instance }} drops held requests ({{ $labels.reason }}) before the elected replica has sent as much. Nothing is lost yet; a failover now would lose these samples.",
            runbook: Runbook {
                meaning: "`ha_failover_mode: lossless`: requests of standbys are held until the elected replica has delivered samples of the same time. `evicted`: more than `limits.ha_failover_hold_bytes` of the tenant, or `distributor.ha_failover.max_hold_bytes` of the process, would be held, so the oldest is dropped. `expired`: a request was held for more than twice the failover timeout and 15 s.",
                look: "`ha_failover_held_bytes` against the two settings. Why so much is held: the elected replica lags behind the standby (its `prometheus_remote_storage_highest_timestamp_in_seconds` minus `prometheus_remote_storage_queue_highest_sent_timestamp_seconds`; `lastSeen` and the age of its samples on `/distributor/ha_tracker`), or this distributor sees only the standby and not the elected replica.",
                repair: "The elected replica lags: give it more shards or CPU, or [hand the election over](failover.md#by-hand) to the other one. The distributor sees one replica only: that is normal behind a balancer of connections with few connections; raise the bound. Else raise `limits.ha_failover_hold_bytes`: two megabytes per second for a million series at 15 s ([bounds](failover.md#bounds)).",
                false_alarms: "The elected replica sends what it has queued after an outage: it ends with the queue.",
            },
            fires: Fires {
                series: &[(
                    r#"ha_failover_released_requests_total{@, instance="d0", reason="evicted"}"#,
                    "0x5 0+60x30",
                )],
                at: "20m",
                labels: r#"@, instance="d0", reason="evicted""#,
            },
        },
        Alert {
            name: "HaDistributorFailoverStalled",
            severity: Severity::Critical,
            hold: "5m",
            expr: "min_over_time(ha_failover_transitions{@}[5m]) > 0",
            summary: "Failovers do not end on {{ $labels.instance }}",
            description: "For ten minutes, {{ $value }} clusters or more have been changing their elected replica on {{ $labels.instance }}. Their senders get 503 and keep their samples for about two hours.",
            runbook: Runbook {
                meaning: "`ha_failover_mode: lossless`: a failover takes seconds. One that does not end waits for the store, for a distributor that lives but does not answer, or for the downstream, which must take the held samples first.",
                look: "`sum by (reason) (rate(ha_failover_deferred_requests_total[5m]))`. `election` or `opening`: the store (`ha_failover_store_failures_total`, the index page). `replay`: the downstream refuses held samples (`ha_failover_replay_failures_total`, [HaDistributorDownstreamFailing](#hadistributordownstreamfailing)).",
                repair: "Repair the store or the downstream; failovers then end by themselves. A distributor that hangs: restart it. If samples must flow at once, set `ha_failover_mode: classic` for the tenant at run time: what is held is then dropped.",
                false_alarms: "A fleet with many thousand clusters that was just started, or in which pairs come and go all the time.",
            },
            fires: Fires {
                series: &[(r#"ha_failover_transitions{@, instance="d0"}"#, "0x5 2x40")],
                at: "30m",
                labels: r#"@, instance="d0""#,
            },
        },
    ],
};
