//! Elections: who is elected, and whether anything stands by.

use crate::observability::rules::{Alert, Fires, Group, Runbook, Severity};

pub(super) const GROUP: Group = Group {
    name: "elections",
    title: "Elections",
    alerts: &[
        Alert {
            name: "HaDistributorElectedReplicaSilent",
            severity: Severity::Critical,
            hold: "2m",
            expr: "job_user_cluster:ha_distributor_elected_silence:seconds > 120",
            summary: "No samples of HA cluster {{ $labels.cluster }} (tenant {{ $labels.user }})",
            description: "The elected replica of {{ $labels.cluster }} has been silent for {{ $value | humanizeDuration }}, and no other replica has taken over.",
            runbook: Runbook {
                meaning: "The elected replica has been silent for much longer than the failover timeout (30 s by default), and no other replica was elected. Either all replicas are silent, or elections do not work.",
                look: "`/distributor/ha_tracker?cluster=…`: *Silent* means that no replica sends; *Failover due* that another one sends and is not elected. In the second case, see [HaDistributorStoreFailing](#hadistributorstorefailing): while the store fails, elections stay as they are.",
                repair: "Start the Prometheus servers of the pair, and check the network between them and the distributors. Their logs have `remote write` errors if they cannot connect. If all their requests are refused, the [log of the distributor](operate.md#refused-requests-in-the-log) says why.",
                false_alarms: "A cluster that was shut down on purpose: its election is deleted after about an hour, and the alert ends. Senders that write less often than every two minutes. An `ha_tracker_failover_timeout` of more than a minute.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_elected_replica_timestamp_seconds{@, instance="d0", user="t", cluster="c"}"#,
                    "0+60x5 300x30",
                )],
                at: "12m",
                labels: r#"@, user="t", cluster="c""#,
            },
        },
        Alert {
            name: "HaDistributorRedundancyLost",
            severity: Severity::Warning,
            hold: "10m",
            expr: r"
                max by (namespace, job, user, cluster) (cortex_ha_tracker_replicas_seen{@}) < 2
                and on (namespace, job, user, cluster)
                job_user_cluster:ha_distributor_elected_silence:seconds < 120",
            summary: "HA cluster {{ $labels.cluster }} (tenant {{ $labels.user }}) has only one replica",
            description: "Only the elected replica of {{ $labels.cluster }} sends. If it stops, there is no other one to fail over to.",
            runbook: Runbook {
                meaning: "The elected replica sends, but no distributor has seen another replica for 15 minutes: the standby is down, cannot reach the distributors, or has wrong labels.",
                look: "`/distributor/ha_tracker?cluster=…` lists the replicas and when each was last seen. In the standby: `prometheus_remote_storage_samples_failed_total`, `prometheus_remote_storage_samples_pending`, and its log.",
                repair: "Start the standby. If it runs and sends, compare its external labels with those of the elected one: the cluster label must be equal, the replica label different. Two senders with the same replica name count as one, and all their samples are stored twice.",
                false_alarms: "A cluster with a single replica on purpose: exclude it with a silence on `cluster`. A standby that writes less often than every 15 minutes.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_ha_tracker_replicas_seen{@, instance="d0", user="t", cluster="c"}"#,
                        "1x60",
                    ),
                    (
                        r#"cortex_ha_tracker_elected_replica_timestamp_seconds{@, instance="d0", user="t", cluster="c"}"#,
                        "0+60x60",
                    ),
                ],
                at: "15m",
                labels: r#"@, user="t", cluster="c""#,
            },
        },
        Alert {
            name: "HaDistributorReplicaClockAhead",
            severity: Severity::Warning,
            hold: "10m",
            expr: "max by (namespace, job, user, cluster, replica) (cortex_ha_tracker_replica_clock_ahead_seconds{@}) > 1",
            summary: "The clock of replica {{ $labels.replica }} of {{ $labels.cluster }} (tenant {{ $labels.user }}) is ahead",
            description: "Samples of {{ $labels.replica }} are {{ $value | humanizeDuration }} in the future when they arrive. After a failover from it, samples of the other replica are older than those that are stored.",
            runbook: Runbook {
                meaning: "Samples are made before they are sent, so one that is later than the distributor's clock has a wrong time.",
                look: "`timedatectl` or `chronyc tracking` on the host of this Prometheus, and on that of the distributor: if the clocks of all replicas seem ahead, the distributor's is behind.",
                repair: "Synchronize the clocks of all hosts by NTP.",
                false_alarms: "Exporters that set timestamps in the future. The alert needs `enable_replica_metrics: true`; without it, it never fires.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_replica_clock_ahead_seconds{@, instance="d0", user="t", cluster="c", replica="a"}"#,
                    "3x30",
                )],
                at: "15m",
                labels: r#"@, user="t", cluster="c", replica="a""#,
            },
        },
        Alert {
            name: "HaDistributorElectionsDiffer",
            severity: Severity::Critical,
            hold: "2m",
            expr: "count by (namespace, job, user, cluster) (count by (namespace, job, user, cluster, replica) (cortex_ha_tracker_elected_replica_status{@} == 1)) > 1",
            summary: "Distributors accept different replicas of HA cluster {{ $labels.cluster }} (tenant {{ $labels.user }})",
            description: "{{ $value }} replicas of {{ $labels.cluster }} are elected at the same time, by different distributors: its samples are stored twice.",
            runbook: Runbook {
                meaning: "Distributors disagree about who is elected for more than two minutes: they do not share one store, or a partition of the gossip cluster separates them. Both replicas' samples are stored.",
                look: "`count by (replica, instance) (cortex_ha_tracker_elected_replica_status == 1)` for the cluster says who accepts whom. `/memberlist` of each distributor must list all others. With Consul or etcd: do all have the same `prefix` and addresses? During a migration: `distributor migration status`.",
                repair: "Restore the network between the distributors (TCP and UDP, port 7946), or correct `join_members`, `cluster_label`, keys or the store's address. When they see each other again, the later election wins within a second.",
                false_alarms: "Two deployments that are independent on purpose but share one `job`. The alert needs `enable_elected_replica_metric: true`; without it, it never fires.",
            },
            fires: Fires {
                series: &[
                    (
                        r#"cortex_ha_tracker_elected_replica_status{@, instance="d0", user="t", cluster="c", replica="a"}"#,
                        "1x30",
                    ),
                    (
                        r#"cortex_ha_tracker_elected_replica_status{@, instance="d1", user="t", cluster="c", replica="b"}"#,
                        "1x30",
                    ),
                ],
                at: "10m",
                labels: r#"@, user="t", cluster="c""#,
            },
        },
        Alert {
            name: "HaDistributorElectionsFlap",
            severity: Severity::Warning,
            hold: "0s",
            expr: "max by (namespace, job, user, cluster) (changes(cortex_ha_tracker_last_election_timestamp_seconds{@}[30m])) > 3",
            summary: "HA cluster {{ $labels.cluster }} (tenant {{ $labels.user }}) fails over again and again",
            description: "{{ $value }} elections of {{ $labels.cluster }} in 30 minutes. Each can leave a gap.",
            runbook: Runbook {
                meaning: "The elected replica changes often: replicas send so rarely, or so late, that each seems silent in turn.",
                look: "The log lines `elected a replica` say how long the elected one had been silent. Compare with the scrape interval and with `batch_send_deadline` of the senders. Did the downstream fail meanwhile ([HaDistributorDownstreamFailing](#hadistributordownstreamfailing))? Senders that back off look silent.",
                repair: "Raise `ha_tracker_failover_timeout` of the tenant above the longest pause between two requests of a replica. Restart or resize a Prometheus that stalls.",
                false_alarms: "A rollout of the pair, repeated within half an hour.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_last_election_timestamp_seconds{@, instance="d0", user="t", cluster="c"}"#,
                    "0x5 300x3 480x3 660x3 840x3 1000x20",
                )],
                at: "25m",
                labels: r#"@, user="t", cluster="c""#,
            },
        },
        Alert {
            name: "HaDistributorFailover",
            severity: Severity::Info,
            hold: "0s",
            expr: "max by (namespace, job, user, cluster) (changes(cortex_ha_tracker_last_election_timestamp_seconds{@}[10m])) > 0",
            summary: "HA cluster {{ $labels.cluster }} (tenant {{ $labels.user }}) has failed over",
            description: "Another replica of {{ $labels.cluster }} was elected in the last 10 minutes. Queries over that time can show a gap.",
            runbook: Runbook {
                meaning: "The elected replica was silent for longer than the failover timeout, and another one took over. This is what the pair is for; the alert explains gaps and dips that other alerts react to.",
                look: "The log line `elected a replica` has the replicas and the silence, `stored the first samples after a failover` the gap, as has `min by (user, cluster) (cortex_ha_tracker_last_failover_gap_seconds)`. [How long the gap is](operate.md#the-gap-that-a-failover-leaves).",
                repair: "Nothing, unless it repeats. Find out why the former replica stopped: its own log, its host, its network. If gaps matter: [lossless mode](failover.md#without-loss).",
                false_alarms: "A planned restart of the elected Prometheus that took longer than the failover timeout.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_last_election_timestamp_seconds{@, instance="d0", user="t", cluster="c"}"#,
                    "0x5 300x30",
                )],
                at: "10m",
                labels: r#"@, user="t", cluster="c""#,
            },
        },
        Alert {
            name: "HaDistributorClockSkew",
            severity: Severity::Warning,
            hold: "5m",
            expr: "cortex_ha_tracker_clock_skew_seconds{@} > 5",
            summary: "The clock of {{ $labels.instance }} is behind that of another distributor",
            description: "Another distributor's clock is ahead of that of {{ $labels.instance }} by {{ $value | humanizeDuration }} at least. Failovers come late, and after an election both replicas can be stored.",
            runbook: Runbook {
                meaning: "Times that another distributor wrote into an election lie in the future of this one.",
                look: "`timedatectl` or `chronyc tracking` on the hosts. The distributor that reports skew is behind; the one that reports none is ahead.",
                repair: "Synchronize the clocks of all hosts by NTP.",
                false_alarms: "None known: differences below 5 s are not reported.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_clock_skew_seconds{@, instance="d0"}"#,
                    "12x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorCleanupFailing",
            severity: Severity::Warning,
            hold: "0s",
            expr: "increase(cortex_ha_tracker_replicas_cleanup_delete_failed_total{@}[1h]) > 0",
            summary: "Distributor {{ $labels.instance }} cannot delete old elections",
            description: "Elections of clusters that no longer exist stay in the store, and count against ha_max_clusters.",
            runbook: Runbook {
                meaning: "The clean-up found clusters that were silent for long, and the store refused to delete them.",
                look: "The log lines about the clean-up, with the store's error; `cortex_kv_request_duration_seconds{status_code=\"500\"}`.",
                repair: "Repair the store: [HaDistributorStoreFailing](#hadistributorstorefailing). With Consul or etcd, the credentials need the right to delete below the prefix. The next clean-up tries again.",
                false_alarms: "A single failure while the store was restarted.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_replicas_cleanup_delete_failed_total{@, instance="d0"}"#,
                    "0x5 2x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
        Alert {
            name: "HaDistributorUndecodableElections",
            severity: Severity::Warning,
            hold: "0s",
            expr: "increase(cortex_ha_tracker_replica_desc_failed_type_assertions_total{@}[15m]) > 0",
            summary: "Distributor {{ $labels.instance }} reads values from the store that are not elections",
            description: "Values below the HA tracker's prefix cannot be decoded. Their clusters are treated as new ones.",
            runbook: Runbook {
                meaning: "Another program writes below the prefix of the HA tracker, or a value is damaged.",
                look: "The log names the keys. With Consul: `consul kv get -recurse <prefix>`; with etcd: `etcdctl get --prefix <prefix>`.",
                repair: "Delete these keys, or give the other program another prefix.",
                false_alarms: "None known.",
            },
            fires: Fires {
                series: &[(
                    r#"cortex_ha_tracker_replica_desc_failed_type_assertions_total{@, instance="d0"}"#,
                    "0x5 3x30",
                )],
                at: "10m",
                labels: r#"@, instance="d0""#,
            },
        },
    ],
};
