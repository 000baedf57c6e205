//! Elections, deduplication, store, downstreams and limits.

use super::{CLUSTER, Dashboard, JOB, Kind, NAMESPACE, Panel, Query, Row, TENANT, Unit};

const OK_UNLESS_ANY: &[(&str, Option<f64>)] = &[("green", None), ("red", Some(1.0))];

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "deploy/observability/dashboards/ha-tracker.json",
    uid: "ha-distributor-tracker",
    title: "HA distributor / HA tracker",
    description: "Which replica of each HA pair is elected, what is deduplicated, and how the store, the downstreams and the limits are doing.",
    variables: &[NAMESPACE, JOB, TENANT, CLUSTER],
    rows: &[
        OVERVIEW,
        ELECTIONS,
        super::replicas::REPLICAS,
        super::failovers::FAILOVERS,
        DEDUPLICATION,
        PUSHES,
        DOWNSTREAM,
        STORE,
        LIMITS,
    ],
};

const OVERVIEW: Row = Row {
    title: "At a glance",
    panels: &[
        Panel {
            title: "Distributors",
            description: "How many answer scrapes. Fewer than you run: see the runbook of HaDistributorDown.",
            kind: Kind::Stat(&[("red", None), ("green", Some(1.0))]),
            unit: Unit::Count,
            width: 4,
            queries: &[Query {
                expr: "sum(up{@})",
                legend: "up",
            }],
        },
        Panel {
            title: "HA clusters",
            description: "Clusters with an election. A number that grows without new pairs: the cluster label varies (a pod's name?).",
            kind: Kind::Stat(&[("blue", None)]),
            unit: Unit::Count,
            width: 4,
            queries: &[Query {
                expr: r#"count(count by (user, cluster) (cortex_ha_tracker_elected_replica_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "clusters",
            }],
        },
        Panel {
            title: "Silent clusters",
            description: "The elected replica has been silent for two minutes, and no other one took over. Open /distributor/ha_tracker: either no replica sends, or elections do not work.",
            kind: Kind::Stat(OK_UNLESS_ANY),
            unit: Unit::Count,
            width: 4,
            queries: &[Query {
                expr: r#"sum(time() - max by (user, cluster) (cortex_ha_tracker_elected_replica_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}) > bool 120)"#,
                legend: "silent",
            }],
        },
        Panel {
            title: "Clusters without a standby",
            description: "Clusters of which at most one replica was seen within 15 minutes by all distributors. Start the other one, or compare its external labels.",
            kind: Kind::Stat(&[("green", None), ("orange", Some(1.0))]),
            unit: Unit::Count,
            width: 4,
            queries: &[Query {
                expr: r#"sum(max by (user, cluster) (cortex_ha_tracker_replicas_seen{@, user=~"$tenant", cluster=~"$cluster"}) < bool 2)"#,
                legend: "no standby",
            }],
        },
        Panel {
            title: "Elections, last hour",
            description: "Each is a failover, which can leave a gap. Many of one cluster: see the runbook of HaDistributorElectionsFlap.",
            kind: Kind::Stat(&[("green", None), ("orange", Some(1.0))]),
            unit: Unit::Count,
            width: 4,
            queries: &[Query {
                expr: r#"sum(max by (user, cluster) (changes(cortex_ha_tracker_last_election_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}[1h])))"#,
                legend: "elections",
            }],
        },
        Panel {
            title: "Versions",
            description: "Distributors by version. More than one for long: a rollout is not complete.",
            kind: Kind::Stat(&[("blue", None)]),
            unit: Unit::Count,
            width: 4,
            queries: &[Query {
                expr: "count by (version) (cortex_build_info{@})",
                legend: "{{version}}",
            }],
        },
    ],
};

const ELECTIONS: Row = Row {
    title: "Elections",
    panels: &[
        Panel {
            title: "Elected replica",
            description: "The replica whose samples are accepted, over time. Two rows of one cluster at the same time: distributors disagree, and both replicas are stored (HaDistributorElectionsDiffer). Needs distributor.ha_tracker.enable_elected_replica_metric: true.",
            kind: Kind::Timeline(&[("1", "elected", "green")]),
            unit: Unit::Count,
            width: 24,
            queries: &[Query {
                expr: r#"max by (user, cluster, replica) (cortex_ha_tracker_elected_replica_status{@, user=~"$tenant", cluster=~"$cluster"} == 1)"#,
                legend: "{{user}} / {{cluster}}: {{replica}}",
            }],
        },
        Panel {
            title: "Silence of the elected replica",
            description: "Age of its last recorded sample. It moves between 0 and the update timeout (15 s) while all is well, and its peak before an election is the silence that led to it. What stays high has no replica to fail over to.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"topk(20, time() - max by (user, cluster) (cortex_ha_tracker_elected_replica_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}",
            }],
        },
        Panel {
            title: "Elections",
            description: "Elections of another replica. One is a failover; several of one cluster in a row mean that replicas send too rarely for the failover timeout.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: r#"topk(20, max by (user, cluster) (changes(cortex_ha_tracker_last_election_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}[$__rate_interval])))"#,
                legend: "{{user}} / {{cluster}}",
            }],
        },
        Panel {
            title: "Last elections",
            description: "Clusters by the time since their last election. The log line `elected a replica` has replicas and silence.",
            kind: Kind::Table,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"bottomk(50, time() - max by (user, cluster) (cortex_ha_tracker_last_election_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "",
            }],
        },
        Panel {
            title: "Time until an election arrives",
            description: "Age of the recorded sample time when a change arrives from the store, 99th percentile. Above some seconds: the store is slow, or clocks differ.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: "histogram_quantile(0.99, sum by (instance, le) (rate(cortex_ha_tracker_elected_replica_change_propagation_time_seconds_bucket{@}[$__rate_interval])))",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Clock skew",
            description: "By how much another distributor's clock is ahead, at least; 0 below 5 s. The one that reports it is behind. Synchronize the clocks by NTP.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: "max by (instance) (cortex_ha_tracker_clock_skew_seconds{@})",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Clean-up",
            description: "Clusters that were silent for long are marked, then deleted. Failures: see the runbook of HaDistributorCleanupFailing.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[
                Query {
                    expr: "sum(increase(cortex_ha_tracker_replicas_cleanup_marked_for_deletion_total{@}[$__rate_interval]))",
                    legend: "marked",
                },
                Query {
                    expr: "sum(increase(cortex_ha_tracker_replicas_cleanup_deleted_total{@}[$__rate_interval]))",
                    legend: "deleted",
                },
                Query {
                    expr: "sum(increase(cortex_ha_tracker_replicas_cleanup_delete_failed_total{@}[$__rate_interval]))",
                    legend: "failed",
                },
            ],
        },
    ],
};

const DEDUPLICATION: Row = Row {
    title: "Deduplication",
    panels: &[
        Panel {
            title: "Deduplicated share",
            description: "Share of the samples with HA labels that are dropped, by tenant. With n replicas per cluster it is (n − 1) / n, which is drawn beside it for the replicas that were seen within 15 minutes. Lower: a standby is missing, or labels are wrong and samples are stored twice. Higher: the elected replica of a cluster is silent.",
            kind: Kind::Lines,
            unit: Unit::Share,
            width: 12,
            queries: &[
                Query {
                    expr: r#"
                        sum by (user) (rate(cortex_distributor_deduped_samples_total{@, user=~"$tenant"}[$__rate_interval]))
                        / (
                          sum by (user) (rate(cortex_distributor_samples_in_total{@, user=~"$tenant"}[$__rate_interval]))
                          - sum by (user) (rate(cortex_distributor_non_ha_samples_received_total{@, user=~"$tenant"}[$__rate_interval]))
                          > 0
                        )"#,
                    legend: "{{user}}",
                },
                Query {
                    expr: r#"1 - 1 / (avg by (user) (max by (user, cluster) (cortex_ha_tracker_replicas_seen{@, user=~"$tenant"})) > 0)"#,
                    legend: "{{user}}: (n − 1) / n",
                },
            ],
        },
        Panel {
            title: "Deduplicated samples",
            description: "Samples of standbys, by HA cluster. 0 for a cluster: its standby does not send.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: r#"topk(20, sum by (user, cluster) (rate(cortex_distributor_deduped_samples_total{@, user=~"$tenant", cluster=~"$cluster"}[$__rate_interval])))"#,
                legend: "{{user}} / {{cluster}}",
            }],
        },
        Panel {
            title: "Samples without HA labels",
            description: "Samples of tenants with HA tracking that lack one of the two labels, and are stored without deduplication. If they come from a pair, they are stored twice: correct its external labels.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: r#"sum by (user) (rate(cortex_distributor_non_ha_samples_received_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                legend: "{{user}}",
            }],
        },
        Panel {
            title: "Mixed requests",
            description: "Requests whose first series decided for series of other replicas or clusters. Anything but 0: set ha_tracker_per_sample_dedupe for the tenant.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: r#"sum by (user) (rate(cortex_distributor_mixed_requests_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                legend: "{{user}}",
            }],
        },
    ],
};

const PUSHES: Row = Row {
    title: "Pushes",
    panels: &[
        Panel {
            title: "Samples",
            description: "What arrives, what is accepted, and what is deduplicated.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[
                Query {
                    expr: r#"sum(rate(cortex_distributor_samples_in_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                    legend: "in",
                },
                Query {
                    expr: r#"sum(rate(cortex_distributor_received_samples_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                    legend: "accepted",
                },
                Query {
                    expr: r#"sum(rate(cortex_distributor_deduped_samples_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                    legend: "deduplicated",
                },
            ],
        },
        Panel {
            title: "Answers",
            description: "Push requests by answer. 202: deduplicated. 4xx: the sender drops the samples; the log says why. 5xx: the sender retries.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[Query {
                expr: r#"sum by (status_code) (rate(cortex_request_duration_seconds_count{@, route=~"api_v1_push|api_prom_push|/distributor.Distributor/Push"}[$__rate_interval]))"#,
                legend: "{{status_code}}",
            }],
        },
        Panel {
            title: "Time until the answer",
            description: "Includes the downstream's time: senders are answered after it has answered.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 8,
            queries: &[
                Query {
                    expr: r#"histogram_quantile(0.99, sum by (le) (rate(cortex_request_duration_seconds_bucket{@, route=~"api_v1_push|api_prom_push|/distributor.Distributor/Push"}[$__rate_interval])))"#,
                    legend: "99 %",
                },
                Query {
                    expr: r#"histogram_quantile(0.5, sum by (le) (rate(cortex_request_duration_seconds_bucket{@, route=~"api_v1_push|api_prom_push|/distributor.Distributor/Push"}[$__rate_interval])))"#,
                    legend: "50 %",
                },
            ],
        },
        Panel {
            title: "Delay of samples",
            description: "How late accepted samples arrive. It grows when senders catch up after an outage.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 8,
            queries: &[
                Query {
                    expr: "histogram_quantile(0.99, sum by (le) (rate(cortex_distributor_sample_delay_seconds_bucket{@}[$__rate_interval])))",
                    legend: "99 %",
                },
                Query {
                    expr: "histogram_quantile(0.5, sum by (le) (rate(cortex_distributor_sample_delay_seconds_bucket{@}[$__rate_interval])))",
                    legend: "50 %",
                },
            ],
        },
        Panel {
            title: "Discarded samples",
            description: "By reason. The log has a line per tenant and cause, with the answer and the client's address.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[Query {
                expr: r#"sum by (user, reason) (rate(cortex_discarded_samples_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                legend: "{{user}}: {{reason}}",
            }],
        },
        Panel {
            title: "Samples by distributor",
            description: "Does the load balancer spread the senders? Connections stay where they are: after a restart, one distributor can have few.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[Query {
                expr: r#"sum by (instance) (rate(cortex_distributor_samples_in_total{@, user=~"$tenant"}[$__rate_interval]))"#,
                legend: "{{instance}}",
            }],
        },
    ],
};

const DOWNSTREAM: Row = Row {
    title: "Downstreams",
    panels: &[
        Panel {
            title: "Requests by answer",
            description: "0: no answer (network, TLS, timeout). 4xx: the data, the address or the credentials. 5xx: the backend's own failure; senders retry.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: "sum by (name, status_code) (rate(cortex_distributor_downstream_request_duration_seconds_count{@}[$__rate_interval]))",
                legend: "{{name}}: {{status_code}}",
            }],
        },
        Panel {
            title: "Time until the answer",
            description: "99th percentile. Above some seconds senders fall behind; beyond remote_timeout (20 s) they get 503.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: "histogram_quantile(0.99, sum by (name, le) (rate(cortex_distributor_downstream_request_duration_seconds_bucket{@}[$__rate_interval])))",
                legend: "{{name}}",
            }],
        },
    ],
};

const STORE: Row = Row {
    title: "Store of the elections",
    panels: &[
        Panel {
            title: "Calls",
            description: "By store, operation and result. 500: the call failed or timed out; while they all do, nothing fails over.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 12,
            queries: &[Query {
                expr: "sum by (type, operation, status_code) (rate(cortex_kv_request_duration_seconds_count{@}[$__rate_interval]))",
                legend: "{{type}} {{operation}} {{status_code}}",
            }],
        },
        Panel {
            title: "Time of a call",
            description: "99th percentile. Senders of new HA clusters wait for it; those of known ones do not.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: "histogram_quantile(0.99, sum by (type, operation, le) (rate(cortex_kv_request_duration_seconds_bucket{@}[$__rate_interval])))",
                legend: "{{type}} {{operation}}",
            }],
        },
    ],
};

const LIMITS: Row = Row {
    title: "Limits and resources",
    panels: &[
        Panel {
            title: "Requests in flight, of the limit",
            description: "At 100 % requests get 503. They wait mostly for the downstream.",
            kind: Kind::Lines,
            unit: Unit::Share,
            width: 8,
            queries: &[Query {
                expr: r#"
                    cortex_distributor_inflight_push_requests{@}
                    / on (namespace, job, instance)
                    (cortex_distributor_instance_limits{@, limit="max_inflight_push_requests"} > 0)"#,
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Memory of requests in flight, of the limit",
            description: "From 75 % on, requests of more than 2 MiB get 503; at 100 % all do.",
            kind: Kind::Lines,
            unit: Unit::Share,
            width: 8,
            queries: &[Query {
                expr: r#"
                    cortex_distributor_inflight_push_requests_bytes{@}
                    / on (namespace, job, instance)
                    (cortex_distributor_instance_limits{@, limit="max_inflight_push_requests_bytes"} > 0)"#,
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Rejected by a limit of the instance",
            description: "Requests that got 503 because of a limit of the instance. Repair a slow downstream, add distributors, or raise the limit that is named.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[Query {
                expr: "sum by (instance, reason) (rate(cortex_distributor_instance_rejected_requests_total{@}[$__rate_interval]))",
                legend: "{{instance}}: {{reason}}",
            }],
        },
        Panel {
            title: "Connections, of the limit",
            description: "At the limit, each new connection closes an idle one.",
            kind: Kind::Lines,
            unit: Unit::Share,
            width: 8,
            queries: &[Query {
                expr: "cortex_tcp_connections{@} / (cortex_tcp_connections_limit{@} > 0)",
                legend: "{{instance}} {{protocol}}",
            }],
        },
        Panel {
            title: "CPU",
            description: "Processors in use. It grows with the bytes that arrive. At the limit of the container, answers and gossip become late: add distributors, or raise the limit.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 8,
            queries: &[Query {
                expr: "rate(process_cpu_seconds_total{@}[$__rate_interval])",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Memory",
            description: "Resident memory. It grows with the requests in flight, and is given back within seconds.",
            kind: Kind::Lines,
            unit: Unit::Bytes,
            width: 8,
            queries: &[Query {
                expr: "process_resident_memory_bytes{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Open files, of the limit",
            description: "Mostly connections. At 100 % no connection can be accepted: raise the limit (LimitNOFILE).",
            kind: Kind::Lines,
            unit: Unit::Share,
            width: 8,
            queries: &[Query {
                expr: "process_open_fds{@} / process_max_fds{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Runtime configuration",
            description: "Distributors by the hash of the runtime configuration in effect. More than one for long: not all have loaded the same files.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 8,
            queries: &[
                Query {
                    expr: "count by (sha256) (cortex_runtime_config_hash{@})",
                    legend: "{{sha256}}",
                },
                Query {
                    expr: "sum(cortex_runtime_config_last_reload_successful{@} == bool 0)",
                    legend: "refuse their file",
                },
            ],
        },
        Panel {
            title: "Log lines dropped",
            description: "Standard error is not read fast enough.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[Query {
                expr: "rate(cortex_distributor_log_lines_dropped_total{@}[$__rate_interval])",
                legend: "{{instance}}",
            }],
        },
    ],
};
