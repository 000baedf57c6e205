//! What failovers cost, and what is held so that they cost nothing.

use super::{Kind, Panel, Query, Row, Unit};

pub(super) const FAILOVERS: Row = Row {
    title: "Failovers",
    panels: &[
        Panel {
            title: "What the last failover cost",
            description: "Sample time without samples between the last one forwarded of a replica and the first one of its successor, for each HA cluster that has failed over. In lossless mode a scrape interval and the guard at most; in classic mode about the failover timeout. Negative: samples of both replicas for that time.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"topk(20, min by (user, cluster) (cortex_ha_tracker_last_failover_gap_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}",
            }],
        },
        Panel {
            title: "Mean cost of failovers, last hour",
            description: "The mean of the gaps, by ha_failover_mode. Each distributor that forwards samples of both replicas counts a failover once.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: "
                    sum by (mode) (increase(cortex_ha_tracker_failover_gap_seconds_sum{@}[1h]))
                    / (sum by (mode) (increase(cortex_ha_tracker_failover_gap_seconds_count{@}[1h])) > 0)",
                legend: "{{mode}}",
            }],
        },
        Panel {
            title: "Held for failovers",
            description: "Bytes of standbys' requests that a distributor holds until the elected replica has delivered as much. It grows while an elected replica is late, and is bounded by limits.ha_failover_hold_bytes and distributor.ha_failover.max_hold_bytes. 0 in classic mode.",
            kind: Kind::Lines,
            unit: Unit::Bytes,
            width: 8,
            queries: &[Query {
                expr: "ha_failover_held_bytes{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Held requests, and what became of them",
            description: "passed: the elected replica delivered as much, as it should. evicted or expired: a failover now would lose samples; see the runbook of HaDistributorFailoverHoldTooSmall. lost: a failover did lose them.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[
                Query {
                    expr: "sum(rate(ha_failover_held_requests_total{@}[$__rate_interval]))",
                    legend: "held",
                },
                Query {
                    expr: "sum by (reason) (rate(ha_failover_released_requests_total{@}[$__rate_interval]))",
                    legend: "{{reason}}",
                },
                Query {
                    expr: "sum(rate(ha_failover_replayed_requests_total{@}[$__rate_interval]))",
                    legend: "forwarded after an election",
                },
            ],
        },
        Panel {
            title: "Requests answered with 503 for a failover",
            description: "By reason: the sender's queue keeps them. late: the elected replica is; election, opening, replay: a failover takes place, for some seconds; stalled: the downstream refuses the elected replica.",
            kind: Kind::Stacked,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[Query {
                expr: "sum by (reason) (rate(ha_failover_deferred_requests_total{@}[$__rate_interval]))",
                legend: "{{reason}}",
            }],
        },
        Panel {
            title: "Clusters in transition",
            description: "Clusters whose elected replica changes now, or whose term a distributor joins. What stays above 0: see the runbook of HaDistributorFailoverStalled.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 8,
            queries: &[Query {
                expr: "ha_failover_transitions{@}",
                legend: "{{instance}}",
            }],
        },
        Panel {
            title: "Plans",
            description: "Failovers in lossless mode that were begun; fixed: the boundary is known; withdrawn: the elected replica was seen or refused elsewhere, so nothing was elected; foreign: elected by a distributor that does not take part.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 8,
            queries: &[Query {
                expr: "sum by (reason) (increase(ha_failover_plans_total{@}[$__rate_interval]))",
                legend: "{{reason}}",
            }],
        },
        Panel {
            title: "Forwarded after an election",
            description: "Held samples that were stored, samples before a boundary that were dropped because the predecessor had delivered them, and attempts that failed and are repeated.",
            kind: Kind::Lines,
            unit: Unit::PerSecond,
            width: 8,
            queries: &[
                Query {
                    expr: "sum(rate(ha_failover_replayed_samples_total{@}[$__rate_interval]))",
                    legend: "stored",
                },
                Query {
                    expr: "sum(rate(ha_failover_boundary_samples_total{@}[$__rate_interval]))",
                    legend: "dropped before a boundary",
                },
                Query {
                    expr: "sum(rate(ha_failover_replay_failures_total{@}[$__rate_interval]))",
                    legend: "failed attempts",
                },
                Query {
                    expr: "sum(rate(ha_failover_replays_refused_total{@}[$__rate_interval]))",
                    legend: "refused for good",
                },
            ],
        },
    ],
};
