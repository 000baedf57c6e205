//! How each replica sends.

use super::{Kind, Panel, Query, Row, Unit};

pub(super) const REPLICAS: Row = Row {
    title: "Replicas",
    panels: &[
        Panel {
            title: "Redundancy: replicas seen",
            description: "Replicas of each HA cluster that any distributor has seen within 15 minutes. 1: there is nothing to fail over to; start the standby, or compare its external labels.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: r#"bottomk(20, max by (user, cluster) (cortex_ha_tracker_replicas_seen{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}",
            }],
        },
        Panel {
            title: "Failovers by cause",
            description: "arrival: a request came while the elected replica was overdue; poll: it was elected without one; by_hand: an operator asked for it.",
            kind: Kind::Lines,
            unit: Unit::Count,
            width: 12,
            queries: &[Query {
                expr: "sum by (cause) (increase(cortex_ha_tracker_failovers_total{@}[$__rate_interval]))",
                legend: "{{cause}}",
            }],
        },
        Panel {
            title: "Cadence: send interval of each replica",
            description: "Mean time between two requests. Two and a half times this, if that is longer than the failover timeout, is how long the replica may be silent. Needs distributor.ha_tracker.enable_replica_metrics: true.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"topk(40, min by (user, cluster, replica) (cortex_ha_tracker_replica_send_interval_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}: {{replica}}",
            }],
        },
        Panel {
            title: "Skew: newest sample against the clock",
            description: "How far the newest sample of a replica was ahead when it arrived; negative: how old it was. Above 0: the clock of the replica is ahead; synchronize it by NTP. Far below: it is catching up. Needs distributor.ha_tracker.enable_replica_metrics: true.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"topk(40, max by (user, cluster, replica) (cortex_ha_tracker_replica_clock_ahead_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}: {{replica}}",
            }],
        },
        Panel {
            title: "Silence of each replica",
            description: "Time since its last request to any distributor. Needs distributor.ha_tracker.enable_replica_metrics: true.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"topk(40, time() - max by (user, cluster, replica) (cortex_ha_tracker_replica_last_seen_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}: {{replica}}",
            }],
        },
        Panel {
            title: "Time since a replica was refused",
            description: "Since it last got 429 or 5xx. A replica that was refused waits before it tries again, and is not considered silent meanwhile. Needs distributor.ha_tracker.enable_replica_metrics: true.",
            kind: Kind::Lines,
            unit: Unit::Seconds,
            width: 12,
            queries: &[Query {
                expr: r#"topk(40, time() - max by (user, cluster, replica) (cortex_ha_tracker_replica_last_refused_timestamp_seconds{@, user=~"$tenant", cluster=~"$cluster"}))"#,
                legend: "{{user}} / {{cluster}}: {{replica}}",
            }],
        },
    ],
};
